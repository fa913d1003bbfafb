"""Corruptions of lips as training draws them, and what is known of the frames afterwards."""

import dataclasses

import numpy as np
import pytest
import torch

from avsr.augmentation.corruption import AMOUNTS, Corruption
from avsr.augmentation.lips import Lips
from avsr.augmentation.random_corruption import (
    CLEAR,
    RANGES,
    UNREADABLE,
    ClipCorruption,
    corrupt_lips,
    drop_lips,
    sample_corruptions,
)

NAN = float("nan")


def mouths(frames: int = 40) -> torch.Tensor:
    """Frames of which each has its own grey, with a bright and a dark stripe."""
    crops = torch.arange(frames, dtype=torch.uint8)[:, None, None].repeat(1, 96, 96)
    crops[:, 30:40], crops[:, 60:70] = 250, 60
    return crops


def clip_corruption(text, first=0, last=40, seed=3):
    return ClipCorruption(corruption=Corruption.parse(text), first=first, last=last, seed=seed)


def equal(one: torch.Tensor, other: list[float]) -> bool:
    return np.array_equal(one.numpy(), np.array(other), equal_nan=True)


def test_clear_lips_can_be_read():
    assert Lips.clear(mouths()).readable().tolist() == [1] * 40


def test_lips_of_another_moment_help_if_it_is_near():
    lips = Lips.clear(torch.arange(8.0))
    assert equal(lips.shift(0).readable(), [1] * 8)
    assert equal(lips.shift(1).readable(), [NAN] * 7 + [1])  # the last frame is repeated
    assert equal(lips.shift(2).readable(), [NAN] * 7 + [1])
    late = lips.shift(-3)
    assert late.frames.tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    assert equal(late.readable(), [1, NAN, NAN, 0, 0, 0, 0, 0])
    # Back in step they can be read again, but for the frames that were lost.
    assert equal(late.shift(3).readable(), [1] * 5 + [NAN, NAN, 0])


def test_what_replaces_lips_cannot_be_read():
    lips = Lips.clear(torch.ones(6, 2)).replace(2, 4, 0.0)
    assert lips.frames[:, 0].tolist() == [1, 1, 0, 0, 1, 1]
    assert equal(lips.readable(), [1, 1, 0, 0, 1, 1])
    assert equal(lips.loop(9, 3).clarity, [0, 1, 1, 1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("text", ["frozen:1", "dropped:0.7"])
def test_still_and_black_frames_show_another_moment(text, is_done):
    one = clip_corruption(text, 10, 30)
    crops = mouths()
    lips = corrupt_lips(Lips.clear(crops), [one], is_done=is_done)
    assert torch.equal(lips.frames, crops if is_done else crops[lips.moments])
    assert lips.clarity.tolist() == [1] * 40
    distance = (lips.moments - torch.arange(40)).abs()
    assert distance[:10].tolist() == distance[30:].tolist() == [0] * 10
    expected = [1 if d == 0 else NAN if d <= 2 else 0 for d in distance[10:30].tolist()]
    assert equal(lips.readable()[10:30], expected)
    assert {0.0, 1.0} <= set(lips.readable().tolist())


def test_if_all_frames_are_black_the_video_stands_still():
    lips = corrupt_lips(Lips.clear(mouths()), [clip_corruption("dropped:1")])
    assert lips.moments.tolist() == [0] * 40
    assert equal(lips.readable(), [1, NAN, NAN] + [0] * 37)


@pytest.mark.parametrize(
    ("text", "clarity"),
    [
        ("blur:1", 1),
        ("blur:5", NAN),
        ("blur:12", 0),
        ("resolution:30", 1),
        ("resolution:5", 0),
        ("compression:30", 1),
        ("compression:2", NAN),
        ("brightness:0.2", NAN),
        ("noise:8", 1),
    ],
)
def test_a_poor_picture_is_clear_unknown_or_unreadable(text, clarity):
    crops = mouths()
    lips = corrupt_lips(Lips.clear(crops), [clip_corruption(text, 5, 20)])
    changed = (lips.frames != crops).flatten(1).any(1)
    assert changed.tolist() == [5 <= i < 20 for i in range(40)]
    assert equal(lips.readable(), [clarity if 5 <= i < 20 else 1 for i in range(40)])
    assert torch.equal(crops, mouths())


def test_a_cover_counts_by_what_it_hides_of_the_lips():
    crops, seen = mouths(), set()
    for seed in range(80):
        one = clip_corruption(f"occlusion:{0.2 + seed % 8 / 10}", seed=seed)
        lips = corrupt_lips(Lips.clear(crops), [one])
        hidden = (lips.frames != crops)[:, 34:66, 24:72].float().mean().item()
        clarity = lips.clarity[0].item()
        seen.add(str(clarity))
        if clarity == 1:
            assert hidden <= 0.1
        if clarity == 0:
            assert hidden > 0.4  # of a pattern some grey levels are those of the crop
    assert seen == {"0.0", "1.0", "nan"}


def test_several_corruptions_add_up():
    both = [clip_corruption("blur:12", 0, 10), clip_corruption("frozen:1", 20, 30)]
    lips = corrupt_lips(Lips.clear(mouths()), both)
    expected = [0] * 10 + [1] * 10 + [1, NAN, NAN] + [0] * 7 + [1] * 10
    assert equal(lips.readable(), expected)


def test_what_training_draws_depends_on_length_and_seed_only():
    draws = [sample_corruptions(30, np.random.default_rng(seed)) for seed in range(300)]
    assert draws[:5] == [sample_corruptions(30, np.random.default_rng(seed)) for seed in range(5)]
    assert {len(draw) for draw in draws} == {1, 2, 3}
    ones = [one for draw in draws for one in draw]
    assert {one.corruption.kind for one in ones} == set(RANGES) == set(AMOUNTS) - {"offset"}
    assert all(Corruption.parse(str(one.corruption)) for one in ones)
    assert all(0 <= one.first < one.last <= 30 for one in ones)
    assert 0.3 < np.mean([one.last - one.first == 30 for one in ones]) < 0.7
    assert set(UNREADABLE) < set(CLEAR) < set(RANGES)


@pytest.mark.parametrize("frames", [1, 3, 9, 33])
def test_clips_of_any_length_are_corrupted(frames):
    for seed in range(15):
        corruptions = sample_corruptions(frames, np.random.default_rng(seed))
        lips = corrupt_lips(Lips.clear(mouths(frames)), corruptions)
        known = corrupt_lips(Lips.clear(torch.zeros(frames, 1)), corruptions, is_done=True)
        assert lips.frames.shape == (frames, 96, 96)
        assert lips.frames.dtype == torch.uint8
        assert equal(known.readable(), lips.readable().tolist())
        # A video that lacks its last frame is corrupted in the same way.
        shorter = corrupt_lips(Lips.clear(mouths(frames)[: frames - 1 or 1]), corruptions)
        assert len(shorter.frames) == (frames - 1 or 1)


def test_lost_spans_are_known():
    features = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    kinds = set()
    for seed in range(30):
        lips = drop_lips(Lips.clear(features), np.random.default_rng(seed))
        readable = lips.readable()
        same = (lips.frames == features).all(1)
        assert (readable[same] == 1).float().mean() > 0.9
        assert not (readable[~same] == 1).any()
        kinds |= {
            "zero" if (lips.frames == 0).any() else "",
            "moved" if (lips.moments != torch.arange(60)).any() else "",
            "noise" if not torch.isin(lips.frames[lips.clarity == 0], torch.zeros(1)).all() else "",
        }
    assert kinds == {"", "zero", "moved", "noise"}
    one = drop_lips(Lips.clear(features[:1]), np.random.default_rng(0))
    assert len(one.frames) == 1


def test_a_corruption_of_a_part_leaves_the_rest():
    one = clip_corruption("noise:50", 0, 20)
    frames = corrupt_lips(Lips.clear(mouths()), [one]).frames
    other = corrupt_lips(Lips.clear(mouths()), [dataclasses.replace(one, seed=4)]).frames
    assert torch.equal(frames[20:], mouths()[20:])
    assert not torch.equal(frames[:20], other[:20])
