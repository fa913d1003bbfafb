import numpy as np
import pytest
import torch

from avsr.augmentation.masking import mask_fbank
from avsr.corpus import Record, ShardWriter, open_shards
from avsr.decoder import EOS, PAD, Tokenizer
from avsr.training.batches import BatchPlan
from avsr.training.collate import BatchMaker, phone_targets
from avsr.training.config import StageConfig
from avsr.training.dataset import Utterances
from avsr.training.lips import LipsReader, VisualFeatures, corrupt_mouth, draw_corruptions
from avsr.training.losses import NO_TARGET

STAGE = StageConfig(name="s", updates=1, noise_probability=0.0)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["ab cd abcd", "dc ba"] * 20, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("corpus")
    with ShardWriter(folder, "train") as writer:
        for i, (text, language, seconds) in enumerate((("ab cd", "de", 0.8), ("dc", "en", 0.4))):
            writer.write(
                Record(
                    utterance_id=f"u{i}",
                    media="x.tar",
                    start=0.0,
                    end=seconds,
                    text=text,
                    language=language,
                    split="train",
                    speaker="s",
                    phones=[{"phone": "ab"[i], "start": 0.02, "end": 0.1}] if i == 0 else None,
                ),
                rng.normal(0, 0.1, int(16000 * seconds)).clip(-1, 1),
                rng.integers(0, 255, (int(25 * seconds), 96, 96), np.uint8),
            )
    return Utterances(list(open_shards(folder, "train")), ("de", "en"))


def test_half_frames_get_the_phone_that_they_lie_in():
    phones = [
        {"phone": "b", "start": 0.02, "end": 0.06},
        {"phone": "", "start": 0.06, "end": 0.1},
        {"phone": "x", "start": 0.1, "end": 0.14},
        {"phone": "a", "start": 0.14, "end": 9.0},
    ]
    targets = phone_targets(phones, {"": 0, "a": 1, "b": 2}, 4)
    assert targets == [NO_TARGET, 2, 2, 0, 0, NO_TARGET, NO_TARGET, 1]


def test_utterances_of_unknown_phones_have_no_target(data, tokenizer):
    make = BatchMaker(data, tokenizer, {}, STAGE, [1], False, data.phone_ids)
    phones = make(BatchPlan(0, "audio", (0, 1))).phones
    assert phones.shape == (2, 40)
    assert phones[0].tolist() == [NO_TARGET] + [0] * 4 + [NO_TARGET] * 35
    assert (phones[1] == NO_TARGET).all()


@pytest.mark.parametrize(("modality", "inputs"), [("av", "am"), ("audio", "a"), ("video", "m")])
def test_a_batch_holds_what_its_modality_needs(data, tokenizer, modality, inputs):
    make = BatchMaker(data, tokenizer, {}, STAGE, [1], False, {})
    batch = make(BatchPlan(0, modality, (0, 1)))
    assert (batch.fbank is not None) == ("a" in inputs)
    assert (batch.mouth is not None) == ("m" in inputs)
    assert batch.lengths.tolist() == [20, 10]
    assert batch.padding_mask.sum(1).tolist() == [0, 10]
    assert batch.languages.tolist() == [0, 1]
    assert batch.tokens_in[:, 0].tolist() == [EOS, EOS]
    for row, text in zip(batch.targets.tolist(), ("ab cd", "dc"), strict=True):
        tokens = [t for t in row if t != PAD]
        assert tokens == [*tokenizer.encode(text), EOS]
    if batch.mouth is not None:
        assert batch.mouth.shape == (2, 20, 88, 88)
        assert not batch.mouth[1, 10:].any()


def test_randomness_is_a_function_of_seed_and_step(data, tokenizer):
    stage = StageConfig(name="s", updates=1, noise_probability=1.0)
    babble = [np.random.default_rng(3).normal(0, 0.1, 8000).astype(np.float32)]
    make = BatchMaker(data, tokenizer, {"babble": babble}, stage, [1], True, {})
    one, same, other = (make(BatchPlan(step, "av", (0, 1))) for step in (4, 4, 5))
    assert torch.equal(one.fbank, same.fbank)
    assert torch.equal(one.mouth, same.mouth)
    assert not torch.equal(one.fbank, other.fbank)


def test_masks_take_one_stretch_of_time_and_of_frequency():
    fbank = torch.ones(60, 104)
    for seed in range(20):
        fbanks = mask_fbank(fbank, torch.Generator().manual_seed(seed)).view(60, 4, 26)
        times = (fbanks == 0).all(2).all(1).nonzero().flatten()
        bins = (fbanks == 0).all(0).all(0).nonzero().flatten()
        assert len(times) <= 8
        assert len(bins) <= 6
        for masked in (times, bins):
            assert not len(masked) or len(masked) == masked[-1] - masked[0] + 1
    assert (fbank == 1).all()


def test_a_mask_over_the_lips_is_one_stretch_of_zeros(data, tokenizer):
    stage = StageConfig(name="s", updates=1, noise_probability=0.0, mask_probability=1.0)
    make = BatchMaker(data, tokenizer, {}, stage, [1], True, {})
    widths = set()
    for step in range(12):
        mouth = make(BatchPlan(step, "video", (0,))).mouth[0]
        hidden = (mouth == 0).all(2).all(1).nonzero().flatten().tolist()
        assert hidden == list(range(hidden[0], hidden[-1] + 1)) if hidden else True
        widths.add(len(hidden))
    assert len(widths) > 1
    assert max(widths) <= 20 // 6


def test_lips_come_early_or_late(data):
    stage = StageConfig(
        name="s",
        updates=1,
        noise_probability=0.0,
        mask_probability=0.0,
        offset_probability=1.0,
        offset_ms=80.0,
    )
    data.visual = VisualFeatures(arrays=[np.arange(10.0)[None, :, None]])
    shifts = set()
    for seed in range(30):
        lips = LipsReader(data, stage, True).read(0, 10, "av", np.random.default_rng(seed))
        shift = int(lips.moments[5] - 5)
        assert lips.moments.tolist() == [min(max(i + shift, 0), 9) for i in range(10)]
        assert lips.frames[:, 0].tolist() == lips.moments.tolist()
        shifts.add(shift)
    assert shifts == {-2, -1, 0, 1, 2}
    plain = LipsReader(data, stage, False).read(0, 10, "av", np.random.default_rng(0))
    data.visual = None
    assert plain.frames[:, 0].tolist() == list(range(10))


def test_a_share_of_the_videos_is_corrupted(data):
    mouth = data.mouth(0)
    unchanged = [
        torch.equal(
            corrupt_mouth(mouth, draw_corruptions(20, 0.3, np.random.default_rng(seed))).frames,
            mouth,
        )
        for seed in range(100)
    ]
    assert 60 <= sum(unchanged) <= 80
    assert draw_corruptions(20, 0.0, np.random.default_rng(0)) == ()


def test_kinds_of_noise_are_taken_by_their_shares(data, tokenizer):
    quiet, loud = np.full(100, 0.1, np.float32), np.full(100, -0.1, np.float32)
    stage = StageConfig(
        name="s", updates=1, noise_probability=1.0, noises={"babble": 3.0, "speech": 1.0}
    )
    make = BatchMaker(data, tokenizer, {"babble": [quiet], "speech": [loud]}, stage, [1], False, {})
    is_quiet = []

    def mix(waveform, noise, snr_db, offset):
        is_quiet.append(noise is quiet)
        return waveform

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avsr.training.collate.mix_at_snr", mix)
        for step in range(200):
            make(BatchPlan(step, "audio", (1,)))
    assert 0.65 < np.mean(is_quiet) < 0.85
