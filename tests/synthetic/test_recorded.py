import numpy as np
import pytest

from avsr.corpus import Record, ShardWriter, read_shards
from avsr.errors import AvsrError, CorpusError
from avsr.synthetic.recorded import align_corpus
from avsr.synthetic.speech import Speech, synthesize_speech
from avsr.synthetic.voices import Voice

pytest.importorskip("espeakng_loader")

TEXTS = {"a": "hello my friend", "b": "good morning everybody", "c": "too short"}


def align(waveform: np.ndarray, text: str, language: str) -> Speech:
    """Know the answer: the recordings are synthetic."""
    if text == TEXTS["c"]:
        raise AvsrError("the recording is too short")
    speech = synthesize_speech(text, language, Voice("m1"))
    assert len(waveform) >= len(speech.waveform)
    return speech


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded")
    with ShardWriter(root, "train") as writer:
        for name, text in TEXTS.items():
            waveform = synthesize_speech(text, "en", Voice("m1")).waveform
            waveform = np.pad(waveform, (0, -len(waveform) % 640))
            record = Record(
                utterance_id=name,
                media="train/000000.tar",
                end=len(waveform) / 16_000,
                text=text,
                language="en",
                split="train",
                speaker="m1",
            )
            writer.write(record, waveform, None)
    return root


def test_recordings_get_phones_words_and_lips(source, tmp_path):
    records = align_corpus(source, tmp_path, align)
    samples = list(read_shards(tmp_path, "train"))
    assert [sample.record for sample in samples] == records
    for sample in samples[:2]:
        text = sample.record.text
        speech = synthesize_speech(text, "en", Voice("m1"))
        assert [word["word"] for word in sample.record.words] == text.split()
        assert [p["phone"] for p in sample.record.phones] == [p.symbol for p in speech.phones]
        assert sample.record.phones[-1]["end"] == pytest.approx(speech.phones[-1].end, abs=1e-3)
        assert sample.mouth.shape == (round(sample.record.end * 25), 96, 96)
    assert samples[2].record.phones is None
    assert samples[2].mouth is None
    originals = list(read_shards(source, "train"))
    for sample, original in zip(samples, originals, strict=True):
        np.testing.assert_array_equal(sample.waveform, original.waveform)
    assert align_corpus(source, tmp_path, align) == records


def test_without_video_there_are_times_only(source, tmp_path):
    align_corpus(source, tmp_path, align, video_fraction=0.0)
    samples = list(read_shards(tmp_path, "train"))
    assert [sample.mouth is None for sample in samples] == [True] * 3
    assert samples[0].record.phones


def test_mistakes_are_named(source, tmp_path):
    with pytest.raises(CorpusError, match="video_fraction within 0 to 1"):
        align_corpus(source, tmp_path / "out", align, video_fraction=2.0)
    with pytest.raises(CorpusError, match="is the corpus itself"):
        align_corpus(source, source, align)
    align_corpus(source, tmp_path / "lips", align)
    with pytest.raises(CorpusError, match="has video already"):
        align_corpus(tmp_path / "lips", tmp_path / "out", align)
    with pytest.raises(CorpusError, match="written with other options"):
        align_corpus(source, tmp_path / "lips", align, seed=1)
    assert not (tmp_path / "out").exists()
