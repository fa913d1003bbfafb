"""Which language is spoken: what votes, how votes are joined, and how much is in memory."""

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import avsr
from avsr.interop import import_model
from avsr.media import read_waveform
from avsr.recognition import language_id
from avsr.recognition.language_id import (
    PIECE_SECONDS,
    combine_votes,
    ecapa_probabilities,
    identify_file,
    identify_recording,
    load_language_model,
    speech_pieces,
)
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import Recording

VIDEO = Path(__file__).parents[2] / "demo/examples/ar.mp4"
SECOND = 16_000


@pytest.fixture(scope="module")
def speech():
    """(S,) float32, a sentence."""
    return read_waveform(VIDEO)


@pytest.fixture(scope="module")
def model(tmp_path_factory, speechbrain):
    folder = tmp_path_factory.mktemp("ecapa")
    speechbrain.write(folder / "source", filters=60)
    import_model(folder / "source", folder / "lid")
    return load_language_model(folder / "lid", "cpu")


def silence(seconds):
    return np.zeros(round(seconds * SECOND), np.float32)


def music(seconds):
    """Chords of steady tones."""
    time = np.arange(round(seconds * SECOND)) / SECOND
    return (0.1 * sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330))).astype(np.float32)


def write_wav(path, waveform):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SECOND)
        file.writeframes((waveform * 32767).astype("<i2").tobytes())


def test_votes_are_weighted_by_the_length_of_speech():
    votes = [(1.0, {"en": 0.2, "de": 0.8}), (3.0, {"en": 0.6, "de": 0.4})]
    assert combine_votes(votes) == pytest.approx({"en": 0.5, "de": 0.5})
    votes = [(9.0, {"en": 1.0, "de": 0.0}), (1.0, {"en": 0.0, "de": 1.0})]
    assert list(combine_votes(votes).items()) == [("en", 0.9), ("de", 0.1)]
    assert combine_votes([]) == {}


def test_silence_and_music_do_not_vote(speech, model):
    alone = list(speech_pieces([speech]))
    among = [silence(5), music(10), silence(1), speech, silence(1), music(10), silence(5)]
    ((end, samples),) = speech_pieces([np.concatenate(among)])
    assert len(samples) == pytest.approx(len(alone[0][1]), abs=SECOND // 4)
    assert 16 < end < 17 + len(speech) / SECOND
    assert list(speech_pieces([silence(5), music(5)])) == []
    for nothing in (np.concatenate([silence(5), music(5)]), None):
        recording = Recording(name="", waveform=nothing, mouth=None)
        assert identify_recording(model, recording) == {}


def test_short_neighbours_are_joined_and_long_speech_is_cut(speech):
    pause = silence(1)
    parts = [part for _ in range(12) for part in (speech, pause)]
    pieces = [samples for _, samples in speech_pieces(parts)]
    lengths = [len(samples) / SECOND for samples in pieces]
    assert max(lengths) <= PIECE_SECONDS
    assert all(a + b > PIECE_SECONDS for a, b in pairwise(lengths))
    one = len(next(iter(speech_pieces([speech])))[1]) / SECOND
    assert sum(lengths) == pytest.approx(12 * one, rel=0.15)


def test_a_stream_is_judged_while_it_is_read(speech):
    read = 0

    def chunks():
        nonlocal read
        for _ in range(40):
            yield np.concatenate([speech, silence(1)])
            read += 1

    positions = [read for _ in speech_pieces(chunks())]
    assert positions[0] < 10
    assert all(later - earlier < 10 for earlier, later in pairwise(positions))


def test_a_file_gets_the_mean_of_its_pieces(speech, model, tmp_path):
    waveform = np.concatenate([part for _ in range(9) for part in (speech, silence(1.0))])
    write_wav(tmp_path / "long.wav", waveform)
    pieces = [samples for _, samples in speech_pieces([read_waveform(tmp_path / "long.wav")])]
    assert len(pieces) > 1
    votes = [(len(samples) / SECOND, ecapa_probabilities(model, samples)) for samples in pieces]
    options = TranscribeOptions()
    probs = identify_file(model, tmp_path / "long.wav", options)
    assert probs == pytest.approx(combine_votes(votes))
    assert list(probs.values()) == sorted(probs.values(), reverse=True)
    recording = Recording(name="", waveform=read_waveform(tmp_path / "long.wav"), mouth=None)
    assert identify_recording(model, recording) == pytest.approx(probs)
    assert identify_file(model, VIDEO, TranscribeOptions(modality="video")) == {}
    write_wav(tmp_path / "silent.wav", silence(3))
    assert identify_file(model, tmp_path / "silent.wav", options) == {}


def test_a_long_recording_is_judged_by_its_speech_with_any_model(speech, tmp_path):
    """The bundled model too is asked piece by piece, and never for all of a long file at once."""
    waveform = np.concatenate([music(12), speech, silence(2), speech, music(12)])
    write_wav(tmp_path / "long.wav", waveform)
    lengths = []
    encode = language_id.encode_checked

    def counting(model, recordings, options):
        lengths.extend(recording.duration for recording in recordings)
        return encode(model, recordings, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_id, "encode_checked", counting)
        probs = avsr.detect_language(tmp_path / "long.wav")
        assert sum(probs.values()) == pytest.approx(1.0)
        assert sum(lengths) == pytest.approx(2 * len(speech) / SECOND, abs=2.0)
        lengths.clear()
        write_wav(tmp_path / "music.wav", music(30))
        assert avsr.detect_language(tmp_path / "music.wav") == {}
        assert lengths == []


def test_a_language_id_model_is_asked_by_its_name(model, tmp_path, speechbrain):
    speechbrain.write(tmp_path / "source", ["ja: Japanese", "en"], probs=[0.97, 0.03], filters=60)
    import_model(tmp_path / "source", tmp_path / "lid")
    probs = avsr.detect_language(VIDEO, model=tmp_path / "lid")
    assert probs == pytest.approx({"ja": 0.97, "en": 0.03}, abs=1e-4)
