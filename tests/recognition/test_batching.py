"""Files in batches: each has the transcript that it has alone, in its place, whatever is around."""

import threading
from pathlib import Path

import pytest

from avsr.errors import MediaError
from avsr.hub import load_network
from avsr.media.media_info import probe
from avsr.recognition import batching as batch
from avsr.recognition.batching import BATCH_FILES, transcribe_batches
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_file

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
CODES = ("de", "es", "en", "fr", "it")


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


def test_together_as_one_by_one(model, tmp_path, monkeypatch):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    videos = [str(EXAMPLES / f"{code}.mp4") for code in CODES]
    videos[2:2] = [str(bad)]
    sizes = []
    whole = batch.transcribe_batch
    monkeypatch.setattr(
        batch, "transcribe_batch", lambda m, b, o: sizes.append(len(b)) or whole(m, b, o)
    )
    results = list(transcribe_batches(model, videos, TranscribeOptions()))
    assert sizes == [2, 3], "what cannot be read is no part of a batch"
    assert isinstance(results[2], MediaError)
    for video, result in zip(videos, results, strict=True):
        if result is not results[2]:
            alone = transcribe_file(model, video, TranscribeOptions())
            assert (result.file, result.text, result.language) == (
                video,
                alone.text,
                alone.language,
            )
            for word, other in zip(result.words, alone.words, strict=True):
                assert (word.text, word.start, word.end) == (other.text, other.start, other.end)
            assert result.warnings == alone.warnings


def test_a_failure_in_a_batch_costs_one_file(model, monkeypatch):
    whole = batch.transcribe_batch

    def fail(network, segments, options):
        if any("es.mp4" in segment.recording.name for segment in segments):
            raise RuntimeError("no")
        return whole(network, segments, options)

    monkeypatch.setattr(batch, "transcribe_batch", fail)
    videos = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es", "en")]
    options = TranscribeOptions(modality="audio", beam_size=1)
    first, second, third = transcribe_batches(model, videos, options)
    assert first.text
    assert isinstance(second, RuntimeError)
    assert third.text


def test_files_are_read_a_batch_ahead_and_no_further(model, monkeypatch):
    read = []
    real = batch.read_segments

    def reading(*arguments):
        read.append(threading.current_thread() is threading.main_thread())
        return real(*arguments)

    monkeypatch.setattr(batch, "read_segments", reading)
    videos = [str(EXAMPLES / "de.mp4")] * (4 * BATCH_FILES)
    results = transcribe_batches(model, videos, TranscribeOptions(modality="audio", beam_size=1))
    next(results)
    assert not any(read)
    assert len(read) <= 2 * BATCH_FILES + 2
    results.close()
    assert len(read) < len(videos)


def test_what_is_long_is_transcribed_alone_in_its_place(model, monkeypatch):
    long = probe(EXAMPLES / "es.mp4").duration
    monkeypatch.setattr(batch, "is_one_segment", lambda model, info, options: info.duration != long)
    videos = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es", "en")]
    options = TranscribeOptions(modality="audio", beam_size=1)
    results = list(transcribe_batches(model, videos, options))
    assert [result.file for result in results] == videos


def test_other_codes_of_a_language_are_understood(model):
    videos = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es")]
    options = TranscribeOptions(modality="audio", language="DEU", beam_size=1)
    assert [result.language for result in transcribe_batches(model, videos, options)] == ["de"] * 2
