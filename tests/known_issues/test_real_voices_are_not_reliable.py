"""For real speech the bundled model made up text in a wrong language, with a certainty up to 1.00.

Of each language of one source one clip is read, 41 in all. The whole measurement is
``recipes/synthetic/reliability.py``.
"""

import json
from pathlib import Path

from avsr.corpus import read_manifest
from avsr.corpus.manifest import resolve_media
from avsr.language import UNKNOWN
from avsr.recognition.batching import transcribe_batches
from avsr.recognition.options import TranscribeOptions
from avsr.transcript import Transcript

EXAMPLES = sorted((Path(__file__).parents[2] / "demo/examples").glob("*.mp4"))
MIN_FLAGGED = 0.9
MAX_WRONG = 0.05


def transcribe(model, paths, modality) -> list[Transcript]:
    files = [str(path) for path in paths]
    options = TranscribeOptions(modality=modality)
    return [*transcribe_batches(model.network, files, options)]


def test_real_voices_are_marked_and_named_no_wrong_language(model, voices_dir):
    rows = map(json.loads, (voices_dir / "manifest.jsonl").read_text("utf-8").splitlines())
    clips = {row["language"]: row["file"] for row in rows if row["source"] == "gcompris"}
    results = transcribe(model, [voices_dir / name for name in clips.values()], "audio")
    flagged = [result.reliable is False for result in results]
    assert sum(flagged) >= MIN_FLAGGED * len(clips)
    wrong = [
        result.language not in (UNKNOWN, language)
        for result, language in zip(results, clips, strict=True)
    ]
    assert sum(wrong) <= MAX_WRONG * len(clips)
    assert all(result.advice for result in results if result.reliable is False)


def test_the_examples_are_not(model):
    results = transcribe(model, EXAMPLES, "av")
    assert [result.reliable for result in results] == [True] * len(EXAMPLES)
    assert all(result.reliability_reasons == () and not result.advice for result in results)


def test_the_speaker_that_it_was_trained_on_is_not(model, grid_dir):
    manifest = grid_dir / "manifest.jsonl"
    records = [record for record in read_manifest(manifest) if record.split == "valid"][::10]
    results = transcribe(model, [resolve_media(manifest, record) for record in records], "av")
    assert all(result.reliable for result in results)
