"""The model that ships: loads with no download and does what its card says."""

from pathlib import Path

import pytest

import avsr
from avsr.corpus.manifest import resolve_media
from avsr.evaluation import word_errors
from avsr.hub import ASSETS, BUNDLED, DEFAULT_MODEL
from avsr.languages import MUAVIC_LANGUAGES
from avsr.recognition.inference import recognize
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording

EXAMPLES = sorted((Path(__file__).parents[1] / "demo" / "examples").glob("*.mp4"))
RIGHT_LANGUAGES = 8  # of the nine examples
GRID_AV_WER = 0.08
GRID_VIDEO_WER = 0.45
pytestmark = pytest.mark.skipif(
    not (ASSETS / BUNDLED[DEFAULT_MODEL]).is_dir(), reason="no bundled model yet"
)


def test_it_is_small_and_says_what_it_is():
    folder = ASSETS / BUNDLED[DEFAULT_MODEL]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6
    card = (folder / "README.md").read_text()
    assert "Apache-2.0" in card
    assert "GRID" in card
    assert "CC BY 4.0" in card


def test_it_knows_nine_languages(model):
    assert model.languages == MUAVIC_LANGUAGES


def test_there_is_an_example_per_language():
    assert {path.stem.split("-")[0] for path in EXAMPLES} == set(MUAVIC_LANGUAGES)
    assert all(path.stat().st_size < 200_000 for path in EXAMPLES)


def test_languages_of_the_examples_are_found(model):
    found = [model.transcribe(path, beam_size=1) for path in EXAMPLES]
    right = [path.stem.split("-")[0] == r.language for path, r in zip(EXAMPLES, found, strict=True)]
    assert sum(right) >= RIGHT_LANGUAGES
    assert all(result.modality == "av" for result in found)
    assert all(result.text for result in found)


def test_module_functions_use_it():
    english = next(path for path in EXAMPLES if path.stem == "en")
    assert avsr.transcribe(english).text
    assert next(iter(avsr.detect_language(english))) in MUAVIC_LANGUAGES


@pytest.mark.parametrize(("modality", "most"), [("av", GRID_AV_WER), ("video", GRID_VIDEO_WER)])
def test_real_speech_it_was_not_trained_on(model, grid_dir, grid_recordings, modality, most):
    records, recordings = zip(*grid_recordings, strict=True)
    if modality == "video":
        paths = [resolve_media(grid_dir / "manifest.jsonl", record) for record in records]
        recordings = [read_recording(path, modality) for path in paths]
    results = recognize(model.network, recordings, TranscribeOptions(modality=modality))
    counts = [word_errors(a.text, b.text) for a, b in zip(records, results, strict=True)]
    assert sum(c.errors for c in counts) / sum(c.length for c in counts) <= most
