import numpy as np
import pytest
import soundfile

from avsr.augmentation.noise_sources import CLIP_SECONDS
from avsr.corpus import Record, ShardWriter, open_shards
from avsr.errors import ConfigError
from avsr.training.dataset import Utterances
from avsr.training.noise_clips import make_noises


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    with ShardWriter(folder, "train") as writer:
        for i in range(3):
            record = Record(
                utterance_id=f"u{i}",
                media="x.tar",
                end=0.4,
                text="a",
                language="en",
                split="train",
                speaker="s",
            )
            writer.write(record, np.full(6400, 0.1 * (i + 1), np.float32), None)
    return Utterances(list(open_shards(folder, "train")), ("en",))


def test_speech_is_one_talker_and_babble_all_of_them(utterances):
    noises = make_noises(utterances, ["speech", "babble", "speech"], 1)
    assert sorted(noises) == ["babble", "speech"]
    levels = sorted(round(float(clip.mean()), 1) for clip in noises["speech"])
    assert levels == [0.1, 0.2, 0.3]
    assert all(len(clip) == CLIP_SECONDS * 16_000 for clip in noises["babble"])
    again = make_noises(utterances, ["babble"], 1)["babble"]
    np.testing.assert_array_equal(again, noises["babble"])


def test_a_folder_gives_pieces_of_its_sound_files(utterances, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "LICENSE").write_text("free")
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "deep/long.wav", rng.normal(0, 0.1, 8000 * 25), 8000)
    soundfile.write(tmp_path / "short.flac", rng.normal(0, 0.1, 16_000), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    clips = make_noises(utterances, [str(tmp_path)], 1)[str(tmp_path)]
    assert sorted(len(clip) for clip in clips) == [16_000, CLIP_SECONDS * 16_000]


def test_what_is_no_noise_is_named(utterances, tmp_path):
    with pytest.raises(ConfigError, match="'bable' is none of babble, speech, music, noise, nor a"):
        make_noises(utterances, ["bable"], 1)
    with pytest.raises(ConfigError, match="'music' is not built in: name a file or folder"):
        make_noises(utterances, ["music"], 1)
    with pytest.raises(ConfigError, match="holds no file with sound"):
        make_noises(utterances, [str(tmp_path)], 1)
