"""Texts as token ids -> n-gram language model -> scores of prefixes for the beam search.

Interpolated Kneser-Ney smoothing with one discount per order (Kneser and Ney 1995; Chen and
Goodman 1999, section 3): n-grams of the highest order count as often as they occur, shorter ones as
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
MAX_CACHED_ROWS = 20_000  # next-token distributions that a model caches
ARRAYS = ("tokens", "num_children", "log_probs", "backoffs")


@dataclass(frozen=True, eq=False)
class NgramModel:
    """An n-gram language model: a trie, breadth first, children in the order of their tokens.

    Node 0 is the root, the empty context. It has a child for each of the V tokens, so node 1 + v is
    the unigram v.
    """

    bos: int
    """Id of the token that texts start with; it is never predicted."""
    tokens: np.ndarray
    """(nodes,) uint16: last token of each n-gram; 0 at the root."""
    num_children: np.ndarray
    """(nodes,) uint16: number of tokens that follow each n-gram in the texts."""
    log_probs: np.ndarray
    """(nodes,) float16: natural log of P(last token | tokens before it)."""
    backoffs: np.ndarray
    """(nodes,) float16: natural log of the probability that a context leaves to its suffix."""

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
        """Estimate a model from texts.

        Args:
            sentences: Token ids of each sentence, without ``bos`` and ``eos``.
            order: Length of the longest n-grams, at least 2.
            vocabulary_size: V; all ids are below it.
            bos: Id of the token that texts start with.
            eos: Id of the token that ends a text.
            min_count: N-grams of three tokens and more that occur less often are left out.

        Raises:
            ConfigError: There is no sentence, or the order is below 2.
        """
        if order < 2:
            raise ConfigError(f"language model: the order is {order}, it must be at least 2")
        texts = [np.array([bos, *sentence, eos], np.int64) for sentence in sentences]
        if not texts:
            raise ConfigError("language model: there is no text to count")
        levels = _count(texts, order, vocabulary_size)
        probs = np.zeros(1)
        tokens, num_children, log_probs, backoffs = [np.zeros(1)], [], [np.zeros(1)], []
        # Index of each n-gram of the level above among those that stay; -1: left out.
        parent_index = np.zeros(1, np.int64)
        for k, level in enumerate(levels):
            counts = level.occurrences
            if k + 1 < order:
                after = np.bincount(levels[k + 1].suffixes, minlength=len(counts))
                counts = np.where(level.first == bos, counts if k else 0, after)
            share = np.maximum(counts - _discount(counts), 0)
            share /= np.bincount(level.parents, counts, len(parent_index))[level.parents]
            stays = level.occurrences >= (min_count if k > 1 else 0)
            left = 1 - np.bincount(level.parents, share * stays, len(parent_index))
            lower = probs[level.suffixes] if k else (level.tokens != bos) / (vocabulary_size - 1)
            probs = share + left[level.parents] * lower
            in_trie = parent_index >= 0
            children = np.bincount(level.parents, stays, len(parent_index))[in_trie]
            num_children.append(children)
            backoffs.append(np.where(children > 0, left[in_trie], 1))
            tokens.append(level.tokens[stays])
            log_probs.append(probs[stays])
            parent_index = np.where(stays, stays.cumsum() - 1, -1)
        leaves = np.zeros(int((parent_index >= 0).sum()))
        with np.errstate(divide="ignore"):
            return cls(
                bos=bos,
                tokens=np.concatenate(tokens).astype(np.uint16),
                num_children=np.concatenate([*num_children, leaves]).astype(np.uint16),
                log_probs=np.log(np.concatenate(log_probs)).astype(np.float16),
                backoffs=np.log(np.concatenate([*backoffs, leaves + 1])).astype(np.float16),
            )

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return int(self.num_children[ROOT])

    def start(self) -> int:
        """Return the node before a text's first token."""
        return self.step(ROOT, self.bos)

    def step(self, node: int, token: int) -> int:
        """Return the node after ``token``: the longest context that something follows."""
        child = self._child(node, token)
        while child == ROOT:
            node = int(self._suffixes[node])
            child = self._child(node, token)
        while child != ROOT and not self.num_children[child]:
            child = int(self._suffixes[child])
        return child

    def row(self, node: int) -> np.ndarray:
        """Return (V,) float32 natural-log probabilities of the next token; do not change them."""
        row = self._rows.get(node)
        if row is None:
            first = int(self._first[node])
            children = slice(first, first + int(self.num_children[node]))
            if node == ROOT:
                row = np.zeros(self.vocabulary_size, np.float32)
            else:
                row = self.row(int(self._suffixes[node])) + np.float32(self.backoffs[node])
            row[self.tokens[children]] = self.log_probs[children]
            if len(self._rows) >= MAX_CACHED_ROWS:
                self._rows.clear()
            self._rows[node] = row
        return row

    def log_prob(self, tokens: Sequence[int]) -> float:
        """Return the natural-log probability of a text whose last token is ``eos``."""
        node, total = self.start(), 0.0
        for token in tokens:
            total += float(self.row(node)[token])
            node = self.step(node, token)
        return total

    def _child(self, node: int, token: int) -> int:
        """The n-gram ``node`` with ``token`` after it; the root if there is none."""
        first, count = int(self._first[node]), int(self.num_children[node])
        index = int(self.tokens[first : first + count].searchsorted(token))
        if index < count and self.tokens[first + index] == token:
            return first + index
        return ROOT

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _first(self) -> np.ndarray:
        """(nodes,) index of the first child of each node."""
        return 1 + self.num_children.cumsum(dtype=np.int64) - self.num_children

    @cached_property
    def _suffixes(self) -> np.ndarray:
        """(nodes,) index of each n-gram without its first token."""
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
    """Make the content of a safetensors file.

    Args:
        models: One model per language code.
    """
    return save(
        {
            f"{code}.{name}": getattr(model, name)
            for code, model in models.items()
            for name in ARRAYS
        }
    )


def load_ngrams(path: Path, bos: int) -> dict[str, NgramModel]:
    """Read a file of ``pack_ngrams``.

    Args:
        path: The safetensors file.
        bos: Id of the token that texts start with.

    Returns:
        One model per language code.

    Raises:
        ModelError: The file is broken.
    """
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
    """All n-grams of one length in the texts, sorted by parent, then by token."""

    parents: np.ndarray
    """Index of the n-gram without its last token, in the level above."""
    tokens: np.ndarray
    first: np.ndarray
    """First token of each n-gram."""
    suffixes: np.ndarray
    """Index of the n-gram without its first token, in the level above."""
    occurrences: np.ndarray


def _count(texts: list[np.ndarray], order: int, vocabulary_size: int) -> list[_Level]:
    """Count the n-grams of each length from 1 to ``order``."""
    stream = np.concatenate(texts)
    remaining = np.concatenate([np.arange(len(text), 0, -1) for text in texts])
    vocabulary = np.arange(vocabulary_size)
    root = np.zeros(vocabulary_size, np.int64)
    occurrences = np.bincount(stream, minlength=vocabulary_size)
    levels = [_Level(root, vocabulary, vocabulary, root, occurrences)]
    indices = stream  # of the n-gram that begins at each position
    for length in range(2, order + 1):
        begins = np.flatnonzero(remaining >= length)
        keys = indices[begins] * vocabulary_size + stream[begins + length - 1]
        unique, first, inverse, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        positions = begins[first]
        levels.append(
            _Level(
                parents=unique // vocabulary_size,
                tokens=unique % vocabulary_size,
                first=stream[positions],
                suffixes=indices[positions + 1],
                occurrences=counts,
            )
        )
        indices = np.zeros(len(stream), np.int64)
        indices[begins] = inverse
    return levels


def _discount(counts: np.ndarray) -> float:
    """n1 / (n1 + 2 n2) for n1 n-grams that count once and n2 twice; 1/2 if either is 0."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


@dataclass(frozen=True)
class NgramPrefixes:
    """Language model scores of N token prefixes; a ``Scorer``."""

    models: tuple[NgramModel | None, ...]
    """Model of each prefix; None scores every text 0."""
    nodes: tuple[int, ...]
    """Node of each prefix in its model."""
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
        """Start with an empty prefix for each utterance.

        Args:
            models: Language model of each utterance, or None.
            vocabulary_size: V.
            eos: Id of the token that ends a text.
            device: Where scores are computed.
        """
        nodes = tuple(ROOT if model is None else model.start() for model in models)
        totals = torch.zeros(len(models), dtype=torch.float64, device=device)
        rows = _rows(models, nodes, vocabulary_size, device)
        return cls(models=tuple(models), nodes=nodes, eos=eos, totals=totals, rows=rows)

    def scores(self, tokens: Tensor) -> Tensor:
        """Score every prefix with one more token, see ``Scorer.scores``."""
        return self.totals[:, None] + self.rows.gather(1, tokens)

    def ends(self) -> Tensor:
        """Score every prefix as a whole text, see ``Scorer.ends``."""
        return self.totals + self.rows[:, self.eos]

    def extend(self, rows: Tensor, tokens: Tensor) -> "NgramPrefixes":
        """Append a token to each of the prefixes ``rows``, see ``Scorer.extend``."""
        totals = self.totals[rows] + self.rows[rows, tokens]
        indices, last = rows.tolist(), tokens.tolist()
        models = tuple(self.models[row] for row in indices)
        nodes = tuple(
            ROOT if model is None else model.step(self.nodes[row], token)
            for model, row, token in zip(models, indices, last, strict=True)
        )
        scores = _rows(models, nodes, self.rows.shape[1], self.rows.device)
        return NgramPrefixes(models=models, nodes=nodes, eos=self.eos, totals=totals, rows=scores)


def _rows(
    models: Sequence[NgramModel | None],
    nodes: Sequence[int],
    vocabulary_size: int,
    device: torch.device,
) -> Tensor:
    """(N, V) float64 scores of every next token; 0 without a model."""
    zeros = np.zeros(vocabulary_size, np.float32)
    rows = [zeros if m is None else m.row(n) for m, n in zip(models, nodes, strict=True)]
    return torch.from_numpy(np.stack(rows)).to(device, torch.float64)
