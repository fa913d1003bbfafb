"""Pieces and their frames -> words with times."""

import math
from collections.abc import Sequence

from avsr.rates import FPS
from avsr.transcript.result import Word

WORD_START = "\u2581"  # how sentencepiece writes the space before a word


def time_words(pieces: Sequence[str], spans: Sequence[tuple[int, int, float]]) -> tuple[Word, ...]:
    """Words of sentencepiece ``pieces``, each with its span: first frame, frame behind, confidence.

    Frames are at 25 Hz, as ``search.align`` gives them. A word lasts from the start of its first
    piece to the end of its last one; its confidence is their geometric mean.
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
        # A lone space before the first letters of its word says nothing about when they sound.
        sounding = [spans[i] for i in group if pieces[i] != WORD_START]
        if text:
            confidence = math.prod(c for _, _, c in sounding) ** (1 / len(sounding))
            words.append(Word(text, sounding[0][0] / FPS, sounding[-1][1] / FPS, confidence))
    return tuple(words)
