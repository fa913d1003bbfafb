from collections import Counter

import numpy as np

from avsr.training.batches import length_batches, plan_batches

LENGTHS = np.random.default_rng(0).integers(10, 100, 200)
HAS_VIDEO = np.arange(200) % 2 == 0
FRAMES = {"av": 300, "audio": 600, "video": 300}


def plans(updates=60, modalities=None, seed=(1, 2)):
    modalities = modalities or {"av": 0.5, "audio": 0.25, "video": 0.25}
    pool = np.arange(200)
    return list(plan_batches(LENGTHS, HAS_VIDEO, pool, modalities, FRAMES, seed, updates))


def test_an_epoch_visits_every_utterance_as_often_as_the_pool_says():
    pool = np.concatenate([np.arange(200), np.arange(20)])
    batches = length_batches(LENGTHS, pool, 500, np.random.default_rng(1))
    counts = Counter(index for batch in batches for index in batch)
    assert counts == Counter(pool.tolist())


def test_batches_hold_at_most_so_many_frames_with_padding():
    for plan in plans(200):
        longest = LENGTHS[list(plan.indices)].max()
        assert longest * len(plan.indices) <= FRAMES[plan.modality]


def test_an_utterance_longer_than_a_batch_stands_alone():
    batches = length_batches(np.array([50, 900, 40]), np.arange(3), 100, np.random.default_rng(0))
    assert (1,) in batches


def test_utterances_of_a_batch_are_of_similar_length():
    batches = length_batches(LENGTHS, np.arange(200), 500, np.random.default_rng(1))
    padding = sum(LENGTHS[list(b)].max() * len(b) - LENGTHS[list(b)].sum() for b in batches)
    assert padding < 0.1 * LENGTHS.sum()


def test_lips_come_from_utterances_with_video_only():
    indices = {"av": set(), "audio": set(), "video": set()}
    for plan in plans(300):
        indices[plan.modality].update(plan.indices)
    assert all(HAS_VIDEO[list(indices[m])].all() for m in ("av", "video"))
    assert not HAS_VIDEO[list(indices["audio"])].all()


def test_modalities_come_in_the_asked_shares():
    counts = Counter(plan.modality for plan in plans(2000))
    assert abs(counts["av"] / 2000 - 0.5) < 0.05
    assert abs(counts["video"] / 2000 - 0.25) < 0.05
    assert {plan.modality for plan in plans(50, {"audio": 1.0})} == {"audio"}


def test_same_seed_same_plans_and_a_longer_run_begins_alike():
    assert plans(30) == plans(60)[:30]
    assert plans(30) != plans(30, seed=(1, 3))
