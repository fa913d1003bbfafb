"""Noise of a test: where it comes from, that it is the same for everybody, and its level."""

import json
import os

import numpy as np
import pytest
import soundfile

from avsr.audio import rms
from avsr.augmentation import active_rms, mix_at_snr
from avsr.augmentation.noise_files import musan_split, read_piece
from avsr.augmentation.noise_sources import NoiseCorpora, open_noise
from avsr.errors import ConfigError
from avsr.evaluation.noise import Noise, NoiseLibrary, check_noise, hashed_rng

RATE = 16_000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def level_db(mixed: np.ndarray, speech: np.ndarray) -> float:
    """Ratio of speech to what was added, in dB, whatever the sum was scaled by."""
    scale = np.dot(mixed, speech) / np.dot(speech, speech)
    return 20 * np.log10(scale * rms(speech) / rms(mixed - scale * speech))


@pytest.fixture
def musan(tmp_path):
    """Forty speakers with two recordings each, 30 pieces of music, in MUSAN's layout."""
    speech = tmp_path / "musan/speech/librivox"
    speech.mkdir(parents=True)
    lines = []
    for speaker in range(40):
        for number in range(2):
            name = f"speech-librivox-{2 * speaker + number:04d}"
            soundfile.write(speech / f"{name}.wav", tone(200 + 10 * speaker, 0.4), RATE)
            lines.append(f"{name} m english Reader_{speaker}")
    (speech / "ANNOTATIONS").write_text("\n".join(lines) + "\n")
    (speech / "LICENSE").write_text("free")
    music = tmp_path / "musan/music/fma"
    music.mkdir(parents=True)
    for number in range(30):
        soundfile.write(music / f"music-fma-{number:04d}.wav", tone(300 + number, 0.4), RATE)
    return tmp_path / "musan"


def test_the_hash_is_the_known_one():
    # sha256("0/u1/babble/-5") begins with these bytes, whatever machine or order.
    import hashlib

    digest = hashlib.sha256(b"0/u1/babble/-5").digest()[:16]
    expected = np.random.default_rng(int.from_bytes(digest, "big")).random(3)
    assert hashed_rng(0, "u1", "babble", "-5").random(3).tolist() == expected.tolist()


@pytest.mark.parametrize("snr_db", [-10.0, -5.0, 0.0, 5.0, 10.0])
@pytest.mark.parametrize("kind", ["babble", "speech"])
def test_the_ratio_is_met_to_a_hundredth(kind, snr_db):
    speech = 0.05 * tone(440, 1.3) * np.linspace(0, 1, int(1.3 * RATE), dtype=np.float32)
    mixed, pieces = NoiseLibrary([kind]).mix(speech, Noise(kind=kind, snr_db=snr_db), "u1")
    assert len(mixed) == len(speech)
    assert len(pieces) == 1
    ratio = 20 * np.log10(rms(speech) / rms(mixed - speech))  # too quiet for any scaling
    assert ratio == pytest.approx(snr_db, abs=0.01)


def test_a_sum_that_would_clip_is_scaled_as_a_whole():
    loud = np.sign(tone(440)) * 0.9
    mixed = mix_at_snr(loud, tone(3100), 0.0)
    assert abs(mixed).max() <= 1.0
    assert level_db(mixed, loud) == pytest.approx(0.0, abs=0.01)


def test_pauses_may_be_left_out_of_the_level():
    spoken = tone(400)
    clip = np.concatenate([spoken, np.zeros(RATE, np.float32)])
    assert active_rms(clip) == pytest.approx(rms(spoken), rel=1e-3)
    assert rms(clip) == pytest.approx(rms(spoken) / np.sqrt(2), rel=1e-3)
    noise = tone(3000, 2.0)
    over_clip, over_speech = (mix_at_snr(clip, noise, 0.0, pauses=p) for p in (True, False))
    assert rms(over_speech[RATE:]) / rms(over_clip[RATE:]) == pytest.approx(np.sqrt(2), rel=1e-3)
    assert active_rms(np.zeros(500)) == 0.0


def test_an_utterance_hears_the_same_whatever_else_is_asked(tmp_path):
    speech = tone(440)
    noise = Noise(kind="babble", snr_db=0.0)
    first, about = NoiseLibrary(["babble"]).mix(speech, noise, "u1")
    again, _ = NoiseLibrary(["speech", "babble"]).mix(speech, noise, "u1")
    np.testing.assert_array_equal(first, again)
    for changed in (
        NoiseLibrary(["babble"], seed=1).mix(speech, noise, "u1"),
        NoiseLibrary(["babble"]).mix(speech, noise, "u2"),
        NoiseLibrary(["babble"]).mix(speech, Noise(kind="babble", snr_db=5.0), "u1"),
    ):
        assert changed[1] != about


def test_musan_is_split_by_speaker_and_the_parts_are_disjoint(musan):
    parts = {split: musan_split(musan / "speech", split) for split in ("train", "valid", "test")}
    assert {split: len(names) for split, names in parts.items()} == {
        "train": 64,
        "valid": 8,
        "test": 8,
    }
    assert len({name for names in parts.values() for name in names}) == 80
    for names in parts.values():
        numbers = {int(name[-8:-4]) // 2 for name in names}
        assert len(numbers) == len(names) / 2, "both recordings of a speaker are in one part"
    assert len(musan_split(musan / "music", "test")) == 3
    with pytest.raises(ConfigError, match="no folder"):
        open_noise("noise", NoiseCorpora(musan=musan))


def test_musan_babble_is_of_thirty_talkers_of_the_test_part(musan):
    library = NoiseLibrary(["babble", "music"], musan=str(musan))
    mixed, pieces = library.mix(tone(440), Noise(kind="babble", snr_db=0.0), "u1")
    assert len(pieces) == 30
    assert {piece["file"] for piece in pieces} <= set(musan_split(musan / "speech", "test"))
    assert level_db(mixed, tone(440)) == pytest.approx(0.0, abs=0.1)
    entry = library.manifest["kinds"]["babble"]
    assert (entry["source"], entry["talkers"], len(entry["files"])) == ("MUSAN", 30, 8)
    assert "by speaker" in entry["rule"]


def test_any_rate_and_number_of_channels_will_do(tmp_path):
    stereo = np.stack([tone(1000, 2.0, 44_100)] * 2, 1)
    soundfile.write(tmp_path / "pub.wav", stereo, 44_100)
    mixed, pieces = NoiseLibrary([str(tmp_path)]).mix(
        tone(200), Noise(kind=str(tmp_path), snr_db=0.0), "u1"
    )
    assert pieces[0]["file"] == "pub.wav"
    spectrum = np.abs(np.fft.rfft(mixed))
    assert {int(hz) for hz in np.argsort(spectrum)[-2:]} == {200, 1000}
    one = NoiseLibrary([str(tmp_path / "pub.wav")])
    assert one.manifest["kinds"][str(tmp_path / "pub.wav")]["files"][0]["file"] == "pub.wav"


def test_a_short_noise_is_repeated(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.eye(1, 1600)[0] * 0.5, RATE)
    noise, _ = read_piece(tmp_path / "click.wav", 0.0, RATE)
    assert np.flatnonzero(noise).tolist() == list(range(0, RATE, 1600))


def test_bad_noise_is_named(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="holds no sound file"):
        NoiseLibrary([str(empty)])
    with pytest.raises(ConfigError, match="none of babble, speech, music, noise"):
        NoiseLibrary(["pub"])
    with pytest.raises(ConfigError, match="'music' is not built in: set 'musan'"):
        NoiseLibrary(["music"])
    silent = tmp_path / "silent"
    silent.mkdir()
    soundfile.write(silent / "nothing.wav", np.zeros(RATE), RATE)
    library = NoiseLibrary([str(silent)])
    with pytest.raises(ConfigError, match=r"nothing\.wav"):
        library.mix(tone(200, 2.0), Noise(kind=str(silent), snr_db=0.0), "u1")
    with pytest.raises(ConfigError, match="silent"):
        library.mix(tone(200, 0.5), Noise(kind=str(silent), snr_db=0.0), "u1")
    (silent / "text.wav").write_text("no sound")
    broken = NoiseLibrary([str(silent / "text.wav")])
    with pytest.raises(ConfigError, match=r"text\.wav"):
        broken.mix(tone(200), Noise(kind=str(silent / "text.wav"), snr_db=0.0), "u1")


def test_another_noise_than_that_of_the_manifest_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(300), RATE)
    kind = str(tmp_path)
    theirs = json.loads(json.dumps(NoiseLibrary([kind]).manifest))
    check_noise(NoiseLibrary([kind]).manifest, theirs, "noise.json")
    with pytest.raises(ConfigError, match="seed is 0 there, 3 here"):
        check_noise(NoiseLibrary([kind], seed=3).manifest, theirs, "noise.json")
    with pytest.raises(ConfigError, match="has no noise 'babble'"):
        check_noise(NoiseLibrary(["babble"]).manifest, theirs, "noise.json")
    soundfile.write(tmp_path / "a.wav", tone(301), RATE)
    with pytest.raises(ConfigError, match=r"'a\.wav' of noise .* is another file here"):
        check_noise(NoiseLibrary([kind]).manifest, theirs, "noise.json")


def test_real_recordings_are_mixed():
    folder = os.environ.get("AVSR_NOISE")
    if not folder:
        pytest.skip("AVSR_NOISE names no folder of noise recordings")
    library = NoiseLibrary([folder])
    speech = 0.05 * tone(440, 2.0)
    files = set()
    for number in range(40):
        mixed, pieces = library.mix(speech, Noise(kind=folder, snr_db=-5.0), f"u{number}")
        files.add(pieces[0]["file"])
        added = mixed - speech * np.dot(mixed, speech) / np.dot(speech, speech)
        assert 20 * np.log10(rms(speech) / rms(added)) == pytest.approx(-5.0, abs=0.3)
    assert len(files) == len(library.manifest["kinds"][folder]["files"])
