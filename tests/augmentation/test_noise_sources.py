"""One table of noise kinds serves training and evaluation."""

import numpy as np
import pytest
import soundfile

from avsr.augmentation import NOISE_KINDS, NoiseCorpora, noise_sources, open_noise
from avsr.augmentation.noise_sources import CLIP_SECONDS, FileNoise, UtteranceNoise
from avsr.evaluation.noise import Noise, NoiseLibrary
from avsr.training.noise_clips import make_noises

RATE = 16_000
HUM = np.resize(np.repeat([0.1, -0.1], 20), RATE)  # a constant would be no sound


class ThreeTalkers:
    """Utterance i is 0.4 s of the constant (i + 1) / 10."""

    def __len__(self):
        return 3

    def waveform(self, index):
        return np.full(6400, (index + 1) / 10, np.float32)


@pytest.fixture
def musan(tmp_path):
    """Twenty speakers with one recording each."""
    speech = tmp_path / "musan/speech/x"
    speech.mkdir(parents=True)
    for number in range(20):
        soundfile.write(speech / f"{number}.wav", HUM[: RATE // 4], RATE)
    return tmp_path / "musan"


class Click:
    """A kind of noise that is computed: a single impulse."""

    def sample(self, num_samples, rng):
        return np.eye(1, num_samples, dtype=np.float32)[0], []

    def sample_pool(self, rng):
        return [self.sample(RATE, rng)[0]]

    def describe(self):
        return {"source": "computed", "rule": None, "talkers": 1, "files": []}


def test_a_new_kind_is_one_entry_of_the_table(monkeypatch):
    monkeypatch.setitem(NOISE_KINDS, "click", lambda kind, corpora: Click())
    (clip,) = make_noises(ThreeTalkers(), ["click"], 1)["click"]
    assert clip[0] == 1.0
    assert not clip[1:].any()
    library = NoiseLibrary(["click"])
    speech = np.full(1000, 0.01, np.float32)
    mixed, pieces = library.mix(speech, Noise(kind="click", snr_db=0.0), "u1")
    assert np.flatnonzero(mixed != speech).tolist() == [0]
    assert pieces == []
    assert library.manifest["kinds"]["click"]["source"] == "computed"


@pytest.mark.parametrize("kind", ["babble", "speech"])
def test_training_makes_talkers_of_its_own_utterances(kind):
    built_in = open_noise(kind, NoiseCorpora())
    assert isinstance(built_in, FileNoise)
    assert built_in.source == "built in"
    source = open_noise(kind, NoiseCorpora(utterances=ThreeTalkers()))
    assert isinstance(source, UtteranceNoise)
    waveform, pieces = source.sample(RATE, np.random.default_rng(0))
    assert waveform.shape == (RATE,)
    assert len({piece["utterance"] for piece in pieces}) == {"babble": 3, "speech": 1}[kind]


def test_training_and_test_draw_from_disjoint_files_of_musan(musan, monkeypatch):
    monkeypatch.setattr(noise_sources, "POOL_BABBLE", 3)
    pools = {}
    for split in ("train", "test"):
        source = open_noise("babble", NoiseCorpora(musan=musan, split=split))
        pools[split] = set(source.files)
        clips = source.sample_pool(np.random.default_rng(0))
        assert [len(clip) for clip in clips] == [CLIP_SECONDS * RATE] * 3
    assert len(pools["train"]) == 16
    assert len(pools["test"]) == 2
    assert not pools["train"] & pools["test"]


def test_one_file_is_noise_for_training_too(tmp_path):
    soundfile.write(tmp_path / "rain.wav", HUM, RATE)
    kind = str(tmp_path / "rain.wav")
    (clip,) = make_noises(ThreeTalkers(), [kind], 1)[kind]
    np.testing.assert_allclose(np.abs(clip), 0.1, atol=1e-4)


def test_a_folder_called_like_a_kind_is_a_folder_in_training(tmp_path, monkeypatch):
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music/a.wav", HUM, RATE)
    monkeypatch.chdir(tmp_path)
    assert len(make_noises(ThreeTalkers(), ["music"], 1)["music"]) == 1
