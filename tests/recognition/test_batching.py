"""Files in batches: each has the transcript that it has alone, in its place, whatever is around."""

import threading
from pathlib import Path

import pytest

from avsr import load_model
from avsr.errors import MediaError
from avsr.recognition import batching as batch
from avsr.recognition.batching import BATCH_FILES, transcribe_batches
from avsr.recognition.options import TranscribeOptions

EXAMPLES = Path(__file__).parents[1] / "demo/examples"
CODES = ("de", "es", "en", "fr", "it")


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


def test_together_as_one_by_one(model, tmp_path, monkeypatch):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    videos = [str(EXAMPLES / f"{code}.mp4") for code in CODES]
    videos[2:2] = [str(bad)]
    sizes = []
    recognize = batch.recognize
    monkeypatch.setattr(
        batch, "recognize", lambda m, b, o: sizes.append(len(b)) or recognize(m, b, o)
    )
    results = list(transcribe_batches(model, videos, TranscribeOptions()))
    assert sizes == [2, 3], "what cannot be read is no part of a batch"
    assert isinstance(results[2], MediaError)
    for video, result in zip(videos, results, strict=True):
        if result is not results[2]:
            alone = model.transcribe(video)
            assert (result.file, result.text, result.language) == (
                video,
                alone.text,
                alone.language,
            )
            for word, other in zip(result.words, alone.words, strict=True):
                assert (word.text, word.start, word.end) == (other.text, other.start, other.end)
            assert result.warnings == alone.warnings


def test_a_failure_in_a_batch_costs_one_file(model, monkeypatch):
    recognize = batch.recognize

    def fail(network, recordings, options):
        if any("es.mp4" in one.name for one in recordings):
            raise RuntimeError("no")
        return recognize(network, recordings, options)

    monkeypatch.setattr(batch, "recognize", fail)
    videos = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es", "en")]
    options = TranscribeOptions(modality="audio", beam_size=1)
    first, second, third = transcribe_batches(model, videos, options)
    assert first.text
    assert isinstance(second, RuntimeError)
    assert third.text


def test_files_are_read_a_batch_ahead_and_no_further(model, monkeypatch):
    read = []
    real = batch.read_recording

    def reading(path, *rest):
        read.append(threading.current_thread() is threading.main_thread())
        return real(path, *rest)

    monkeypatch.setattr(batch, "read_recording", reading)
    videos = [str(EXAMPLES / "de.mp4")] * (4 * BATCH_FILES)
    results = transcribe_batches(model, videos, TranscribeOptions(modality="audio", beam_size=1))
    next(results)
    assert not any(read)
    assert len(read) <= 2 * BATCH_FILES + 2
    results.close()
    assert len(read) < len(videos)


def test_what_is_long_is_transcribed_alone_in_its_place(model, monkeypatch):
    monkeypatch.setattr(batch, "is_long", lambda model, video, options: "es.mp4" in video)
    videos = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es", "en")]
    options = TranscribeOptions(modality="audio", beam_size=1)
    results = list(transcribe_batches(model, videos, options))
    assert [result.file for result in results] == videos
