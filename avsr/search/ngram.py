"""Texts as token ids -> n-gram language model -> scores of prefixes for the beam search.

Kneser-Ney smoothing, interpolated, with one discount per order (Kneser and Ney 1995; Chen and
Goodman 1999, section 3): n-grams of the highest order count as often as they occur, lower ones as
often as they follow different tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from avsr.errors import ConfigError, ModelError

ROOT = 0
MOST_ROWS = 20_000  # distributions that a model keeps after they were asked for
ARRAYS = ("tokens", "num_children", "log_probs", "backoffs")


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A trie of n-grams, breadth first, children by token; node 0 is the empty context.

    The root has a child for each of the V tokens, so node 1 + v is the unigram v.
    """

    bos: int
    """The token that texts begin with; it is never predicted."""
    tokens: np.ndarray
    """(nodes,) uint16: last token of each n-gram; 0 at the root."""
    num_children: np.ndarray
    """(nodes,) uint16: tokens that were seen to follow each n-gram."""
    log_probs: np.ndarray
    """(nodes,) float16: natural log of P(last token | those before)."""
    backoffs: np.ndarray
    """(nodes,) float16: natural log of the share that a context leaves to its suffix."""

    @classmethod
    def train(
        cls,
        sentences: Iterable[Sequence[int]],
        *,
        order: int,
        vocabulary_size: int,
        bos: int,
        eos: int,
        min_count: int = 1,
    ) -> Self:
        """Count ``sentences``, token ids below ``vocabulary_size`` without ``bos`` and ``eos``.

        N-grams of three tokens and more that occur less than ``min_count`` times are left out.
        Raises ConfigError without a sentence, or for an order below 2.
        """
        if order < 2:
            raise ConfigError(f"language model: the order is {order}, it must be at least 2")
        texts = [np.array([bos, *sentence, eos], np.int64) for sentence in sentences]
        if not texts:
            raise ConfigError("language model: there is no text to count")
        levels = _count(texts, order, vocabulary_size)
        probs = np.zeros(1)
        tokens, num_children, log_probs, backoffs = [np.zeros(1)], [], [np.zeros(1)], []
        place = np.zeros(1, np.int64)  # of the nodes of the level above that are kept, else -1
        for k, level in enumerate(levels):
            counts = level.occurrences
            if k + 1 < order:
                after = np.bincount(levels[k + 1].suffixes, minlength=len(counts))
                counts = np.where(level.first == bos, counts if k else 0, after)
            share = np.maximum(counts - _discount(counts), 0)
            share /= np.bincount(level.parents, counts, len(place))[level.parents]
            kept = level.occurrences >= (min_count if k > 1 else 0)
            left = 1 - np.bincount(level.parents, share * kept, len(place))
            lower = probs[level.suffixes] if k else (level.tokens != bos) / (vocabulary_size - 1)
            probs = share + left[level.parents] * lower
            used = np.bincount(level.parents, kept, len(place))[place >= 0]
            num_children.append(used)
            backoffs.append(np.where(used > 0, left[place >= 0], 1))
            tokens.append(level.tokens[kept])
            log_probs.append(probs[kept])
            place = np.where(kept, kept.cumsum() - 1, -1)
        bottom = np.zeros(int((place >= 0).sum()))
        with np.errstate(divide="ignore"):
            return cls(
                bos=bos,
                tokens=np.concatenate(tokens).astype(np.uint16),
                num_children=np.concatenate([*num_children, bottom]).astype(np.uint16),
                log_probs=np.log(np.concatenate(log_probs)).astype(np.float16),
                backoffs=np.log(np.concatenate([*backoffs, bottom + 1])).astype(np.float16),
            )

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return int(self.num_children[ROOT])

    def start(self) -> int:
        """The node before a text's first token."""
        return self.step(ROOT, self.bos)

    def step(self, node: int, token: int) -> int:
        """The node after ``token``: the longest known context that something follows."""
        found = self._child(node, token)
        while found == ROOT:
            node = int(self._suffixes[node])
            found = self._child(node, token)
        while found != ROOT and not self.num_children[found]:
            found = int(self._suffixes[found])
        return found

    def row(self, node: int) -> np.ndarray:
        """(V,) float32 natural-log probabilities of the token after a node; read-only."""
        row = self._rows.get(node)
        if row is None:
            first = int(self._first[node])
            children = slice(first, first + int(self.num_children[node]))
            if node == ROOT:
                row = np.zeros(self.vocabulary_size, np.float32)
            else:
                row = self.row(int(self._suffixes[node])) + np.float32(self.backoffs[node])
            row[self.tokens[children]] = self.log_probs[children]
            if len(self._rows) >= MOST_ROWS:
                self._rows.clear()
            self._rows[node] = row
        return row

    def log_prob(self, tokens: Sequence[int]) -> float:
        """Natural log of the probability of a text whose last token is ``eos``."""
        node, total = self.start(), 0.0
        for token in tokens:
            total += float(self.row(node)[token])
            node = self.step(node, token)
        return total

    def _child(self, node: int, token: int) -> int:
        """The n-gram that goes on with ``token``; the root if there is none."""
        first, count = int(self._first[node]), int(self.num_children[node])
        place = int(self.tokens[first : first + count].searchsorted(token))
        if place < count and self.tokens[first + place] == token:
            return first + place
        return ROOT

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _first(self) -> np.ndarray:
        """(nodes,) the first child of each node."""
        return 1 + self.num_children.cumsum(dtype=np.int64) - self.num_children

    @cached_property
    def _suffixes(self) -> np.ndarray:
        """(nodes,) each n-gram without its first token."""
        size = self.vocabulary_size
        parents = np.repeat(np.arange(len(self.tokens)), self.num_children)
        keys = parents * size + self.tokens[1:]
        suffixes = np.zeros(len(self.tokens), np.int64)
        level = slice(1 + size, 1 + size + int(self.num_children[1 : 1 + size].sum()))
        while level.start < level.stop:
            above = suffixes[parents[level.start - 1 : level.stop - 1]]
            suffixes[level] = 1 + keys.searchsorted(above * size + self.tokens[level])
            below = int(self.num_children[level].sum())
            level = slice(level.stop, level.stop + below)
        return suffixes


def pack_ngrams(models: Mapping[str, NgramModel]) -> bytes:
    """The content of a safetensors file that holds one model per language code."""
    return save(
        {
            f"{code}.{name}": getattr(model, name)
            for code, model in models.items()
            for name in ARRAYS
        }
    )


def load_ngrams(path: Path, bos: int) -> dict[str, NgramModel]:
    """Read what ``pack_ngrams`` made; raise ModelError if the file is broken."""
    try:
        arrays = load_file(path)
        codes = sorted({key.split(".")[0] for key in arrays})
        models = {
            code: NgramModel(bos=bos, **{name: arrays.pop(f"{code}.{name}") for name in ARRAYS})
            for code in codes
        }
    except (SafetensorError, KeyError) as error:
        raise ModelError(f"{path} is broken: {error}") from error
    for code, model in models.items():
        shapes = {getattr(model, name).shape for name in ARRAYS}
        if arrays or shapes != {(1 + int(model.num_children.sum()),)}:
            raise ModelError(f"{path} is broken: its arrays for '{code}' do not fit each other")
    return models


@dataclass(frozen=True)
class _Level:
    """All n-grams of one length in the texts, by parent, then by token."""

    parents: np.ndarray
    """Number of the n-gram without its last token in the level above."""
    tokens: np.ndarray
    first: np.ndarray
    """First token of each."""
    suffixes: np.ndarray
    """Number of the n-gram without its first token in the level above."""
    occurrences: np.ndarray


def _count(texts: list[np.ndarray], order: int, vocabulary_size: int) -> list[_Level]:
    stream = np.concatenate(texts)
    room = np.concatenate([np.arange(len(text), 0, -1) for text in texts])
    everything = np.arange(vocabulary_size)
    nothing = np.zeros(vocabulary_size, np.int64)
    occurrences = np.bincount(stream, minlength=vocabulary_size)
    levels = [_Level(nothing, everything, everything, nothing, occurrences)]
    numbers = stream  # of the n-gram that begins at each position
    for length in range(2, order + 1):
        begins = np.flatnonzero(room >= length)
        keys = numbers[begins] * vocabulary_size + stream[begins + length - 1]
        unique, where, inverse, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        where = begins[where]
        levels.append(
            _Level(
                parents=unique // vocabulary_size,
                tokens=unique % vocabulary_size,
                first=stream[where],
                suffixes=numbers[where + 1],
                occurrences=counts,
            )
        )
        numbers = np.zeros(len(stream), np.int64)
        numbers[begins] = inverse
    return levels


def _discount(counts: np.ndarray) -> float:
    """n1 / (n1 + 2 n2), from how many n-grams count once and twice; 1/2 where none does."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


@dataclass(frozen=True)
class NgramPrefixes:
    """N prefixes, of any of B utterances, with what is needed to score their extensions."""

    models: tuple[NgramModel | None, ...]
    """Model of each prefix; None scores everything 0."""
    nodes: tuple[int, ...]
    """Where in its model each prefix stands."""
    eos: int
    """Id of the token that ends a text."""
    totals: Tensor
    """(N,) float64 natural-log probability of each prefix."""
    rows: Tensor
    """(N, V) float64 natural-log probability of every next token."""

    @classmethod
    def start(
        cls,
        models: Sequence[NgramModel | None],
        vocabulary_size: int,
        eos: int,
        device: torch.device,
    ) -> Self:
        """Empty prefixes, one per utterance."""
        nodes = tuple(ROOT if model is None else model.start() for model in models)
        totals = torch.zeros(len(models), dtype=torch.float64, device=device)
        rows = _rows(models, nodes, vocabulary_size, device)
        return cls(models=tuple(models), nodes=nodes, eos=eos, totals=totals, rows=rows)

    def scores(self, tokens: Tensor) -> Tensor:
        """(N, K) float64: each prefix with one more token, ``tokens`` (N, K)."""
        return self.totals[:, None] + self.rows.gather(1, tokens)

    def ends(self) -> Tensor:
        """Score every hypothesis as a finished one, see ``Scorer.ends``."""
        return self.totals + self.rows[:, self.eos]

    def extend(self, rows: Tensor, tokens: Tensor) -> "NgramPrefixes":
        """Prefixes ``rows`` (M,), each with one more token, ``tokens`` (M,)."""
        totals = self.totals[rows] + self.rows[rows, tokens]
        kept, last = rows.tolist(), tokens.tolist()
        models = tuple(self.models[row] for row in kept)
        nodes = tuple(
            ROOT if model is None else model.step(self.nodes[row], token)
            for model, row, token in zip(models, kept, last, strict=True)
        )
        scores = _rows(models, nodes, self.rows.shape[1], self.rows.device)
        return NgramPrefixes(models=models, nodes=nodes, eos=self.eos, totals=totals, rows=scores)


def _rows(
    models: Sequence[NgramModel | None],
    nodes: Sequence[int],
    vocabulary_size: int,
    device: torch.device,
) -> Tensor:
    silent = np.zeros(vocabulary_size, np.float32)
    rows = [silent if m is None else m.row(n) for m, n in zip(models, nodes, strict=True)]
    return torch.from_numpy(np.stack(rows)).to(device, torch.float64)
