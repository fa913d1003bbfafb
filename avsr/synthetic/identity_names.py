"""Names of identities by split: a name decides the whole head, and no two splits share one."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avsr.errors import CorpusError


@dataclass(frozen=True)
class IdentityNames:
    """The names of one kind of heads, such as "mesh-train-0000"."""

    prefix: str  # "mesh-", or empty
    sizes: Mapping[str, int]  # split -> number of identities
    digits: int  # of a number

    def names(self, split: str) -> tuple[str, ...]:
        """Return all names of a split; raise CorpusError for an unknown split."""
        if split not in self.sizes:
            raise CorpusError(f"unknown split '{split}': use one of {', '.join(self.sizes)}")
        return tuple(self._name(split, number) for number in range(self.sizes[split]))

    def draw(self, split: str, rng: np.random.Generator) -> str:
        """Draw a name of a split, by one draw of ``rng``; raise CorpusError as ``names`` does."""
        names = self.names(split)
        return names[rng.integers(len(names))]

    def parse(self, name: str) -> tuple[str, int]:
        """Return split and seed of a name; raise CorpusError for an unknown name."""
        match = re.fullmatch(rf"{self.prefix}(\w+)-(\d{{{self.digits}}})", name)
        if not match or match[1] not in self.sizes or int(match[2]) >= self.sizes[match[1]]:
            ranges = ", ".join(
                f"{self._name(split, 0)} to {self._name(split, size - 1)}"
                for split, size in self.sizes.items()
            )
            raise CorpusError(f"unknown identity '{name}': names run from {ranges}")
        return match[1], int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")

    def _name(self, split: str, number: int) -> str:
        return f"{self.prefix}{split}-{number:0{self.digits}d}"
