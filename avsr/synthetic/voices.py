"""Voices of espeak-ng: any language with one of its voice variants, with random variation.

Variants are split by name into train / valid / test, identically for all languages. Variants that
differ in little but a number ("iven", "iven2") form a family and stay in one split, so that a test
voice has no near-duplicate in training.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from avsr.errors import AvsrError

SPLITS = ("train", "valid", "test")
TEST_VOICES = 10  # at least; families are not split
VALID_VOICES = 8
RATE = (120, 200)  # words a minute
PITCH = (35, 65)  # of espeak's 0-99, 50 is the variant's own pitch
PITCH_RANGE = (30, 75)  # of espeak's 0-99, 50 is the variant's own intonation
FORMANT = (0.92, 1.08)  # factor on all frequencies, as of a longer or shorter vocal tract

# fmt: off
VARIANTS = (
    "Alex", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2",
    "Henrique", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Mike", "Mr serious", "Nguyen", "Reed",
    "Storm", "Tweaky", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris",
    "croak", "david", "ed", "edward", "edward2", "f1", "f4", "fast", "grandma", "grandpa",
    "gustave", "ian", "iven", "iven2", "iven3", "iven4", "john", "kaukovalta", "klatt", "klatt2",
    "klatt3", "klatt4", "klatt5", "klatt6", "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7",
    "m8", "marcelo", "max", "michel", "miguel", "mike2", "norbert", "pablo", "paul", "pedro",
    "quincy", "rob", "robert", "shelby", "steph", "steph2", "steph3", "travis",
)
# fmt: on
_BREATH = "breath noise from uninitialised memory: other samples in every process"
DROPPED = {
    **dict.fromkeys(("Alicia", "f2", "f3", "f5", "sandro", "victor"), _BREATH),
    "whisper": "no voicing",
    "whisperf": "no voicing",
    "caleb": "no voicing",
    "RicishayMax": "echo",
    "RicishayMax2": "echo",
    "RicishayMax3": "echo",
    "Marco": "echo, stretched by a third",
    "UniRobot": "robot",
    "anikaRobot": "robot",
    "announcer": "public-address effect",
    "Demonic": "effect",
    "zac": "cartoon pitch and formants",
    **{f"robosoft{number}": "robot" for number in ("", 2, 3, 4, 5, 6, 7, 8)},
}


@dataclass(frozen=True)
class Voice:
    """Parameters of a voice; the language is given with the text."""

    variant: str  # of espeak-ng, as in espeak-ng-data/voices/!v
    rate: int = 160  # words a minute
    pitch: int = 50  # 0-99
    pitch_range: int = 50  # 0-99
    formant: float = 1.0  # factor on all frequencies

    @property
    def name(self) -> str:
        """The variant as a speaker name without spaces, such as "mr_serious"."""
        return self.variant.lower().replace(" ", "_")


def voice_variants(split: str) -> tuple[str, ...]:
    """Return the sorted names of the variants of a split; raise AvsrError for an unknown split."""
    if split not in SPLITS:
        raise AvsrError(f"unknown split '{split}': use one of {', '.join(SPLITS)}")
    return _splits()[split]


def draw_voice(split: str, rng: np.random.Generator) -> Voice:
    """Draw a variant of a split with random rate, pitch, intonation and formants.

    Args:
        split: train, valid or test.
        rng: Used for five draws.

    Raises:
        AvsrError: For an unknown split.
    """
    variants = voice_variants(split)
    return Voice(
        variants[int(rng.integers(len(variants)))],
        rate=int(rng.integers(RATE[0], RATE[1] + 1)),
        pitch=int(rng.integers(PITCH[0], PITCH[1] + 1)),
        pitch_range=int(rng.integers(PITCH_RANGE[0], PITCH_RANGE[1] + 1)),
        formant=round(float(rng.uniform(*FORMANT)), 3),
    )


def voice_family(variant: str) -> str:
    """Return the family of a variant; m1 to m8, f1 and f4 are different voices, one family each."""
    stem = variant.lower().rstrip("0123456789")
    return variant if stem in ("m", "f") else stem


@functools.cache
def _splits() -> dict[str, tuple[str, ...]]:
    """Assign the families to splits in the order of the hash of their names."""
    families: dict[str, list[str]] = {}
    for variant in VARIANTS:
        families.setdefault(voice_family(variant), []).append(variant)
    shuffled = sorted(families, key=lambda family: hashlib.sha256(family.encode()).digest())
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for family in shuffled:
        if len(splits["test"]) < TEST_VOICES:
            splits["test"] += families[family]
        elif len(splits["valid"]) < VALID_VOICES:
            splits["valid"] += families[family]
        else:
            splits["train"] += families[family]
    return {split: tuple(sorted(names)) for split, names in splits.items()}
