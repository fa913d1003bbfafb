import os
from pathlib import Path

import numpy as np
import pytest

from avsr.errors import AvsrError
from avsr.synthetic.voices import (
    DROPPED,
    SPLITS,
    VARIANTS,
    draw_voice,
    voice_family,
    voice_variants,
)


def test_every_variant_of_espeak_is_used_or_dropped_with_a_reason():
    espeakng_loader = pytest.importorskip("espeakng_loader")
    there = os.listdir(Path(espeakng_loader.get_data_path()) / "voices" / "!v")
    assert sorted([*VARIANTS, *DROPPED]) == sorted(there)
    assert all(DROPPED.values())


def test_splits_share_no_variant_and_no_family():
    parts = {split: voice_variants(split) for split in SPLITS}
    assert sorted(sum(parts.values(), ())) == sorted(VARIANTS)
    families = [{voice_family(variant) for variant in parts[split]} for split in SPLITS]
    assert not families[0] & families[1]
    assert not families[0] & families[2]
    assert not families[1] & families[2]
    assert len(parts["train"]) / len(VARIANTS) > 0.75
    assert len(parts["valid"]) >= 8
    assert len(parts["test"]) >= 10


def test_the_split_is_the_one_that_published_numbers_stand_on():
    assert voice_variants("test") == (
        "AnxiousAndy", "Hugo", "Nguyen", "boris", "david", "m7", "paul", "steph", "steph2", "steph3"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "family"),
    [("iven4", "iven"), ("Mike", "mike"), ("mike2", "mike"), ("m4", "m4"), ("f1", "f1")],
)
def test_families(variant, family):
    assert voice_family(variant) == family


def test_draws_stay_in_the_split_and_within_bounds():
    rng = np.random.default_rng(0)
    voices = [draw_voice("test", rng) for _ in range(200)]
    assert {voice.variant for voice in voices} == set(voice_variants("test"))
    assert all(120 <= voice.rate <= 200 and 0.92 <= voice.formant <= 1.08 for voice in voices)
    assert len({voice.formant for voice in voices}) > 50
    assert voices == [draw_voice("test", np.random.default_rng(0)) for _ in range(1)] + voices[1:]


def test_unknown_split():
    with pytest.raises(AvsrError, match="unknown split 'dev'"):
        voice_variants("dev")
