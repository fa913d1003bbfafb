"""Sentencepiece pieces and their frames -> words with times."""

import math
from collections.abc import Sequence

from avsr.rates import FPS
from avsr.transcript.result import Word

WORD_START = "\u2581"  # stands for the space before a word in sentencepiece


def time_words(pieces: Sequence[str], spans: Sequence[tuple[int, int, float]]) -> tuple[Word, ...]:
    """Join pieces to words with times.

    A word lasts from the start of its first piece to the end of its last one. Its confidence is the
    geometric mean of theirs.

    Args:
        pieces: Sentencepiece pieces of a text.
        spans: For each piece its first frame, the frame after its last one, and its confidence, as
            ``avsr.search.align`` returns them; 25 frames per second.

    Returns:
        The words; a space alone is no word.

    Raises:
        ValueError: There are not as many spans as pieces.
    """
    if len(pieces) != len(spans):
        raise ValueError(f"{len(pieces)} pieces, but {len(spans)} spans")
    groups: list[list[int]] = []
    for i, piece in enumerate(pieces):
        if not groups or piece.startswith(WORD_START):
            groups.append([])
        groups[-1].append(i)
    words = []
    for group in groups:
        text = "".join(pieces[i] for i in group).removeprefix(WORD_START)
        # A separate piece for the space before a word does not tell when the word is spoken.
        spoken = [spans[i] for i in group if pieces[i] != WORD_START]
        if text:
            confidence = math.prod(c for _, _, c in spoken) ** (1 / len(spoken))
            words.append(Word(text, spoken[0][0] / FPS, spoken[-1][1] / FPS, confidence))
    return tuple(words)
