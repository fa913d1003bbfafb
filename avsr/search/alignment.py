"""CTC log-probabilities and the tokens of a hypothesis -> the frames of each token."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor


class TokenSpan(NamedTuple):
    """The frames in which CTC emits a token: a peak, often shorter than the sound."""

    start_frame: int
    """First frame of the token."""
    end_frame: int
    """Frame after the last one."""
    confidence: float
    """Mean probability of the token in its frames, 0 to 1."""


def align(ctc_log_probs: Tensor, tokens: Sequence[int], blank: int) -> list[TokenSpan] | None:
    """Find the frames of each token along the most likely CTC path (Viterbi alignment).

    Args:
        ctc_log_probs: (T, V) natural-log probabilities, 25 frames per second.
        tokens: Token ids of the hypothesis.
        blank: Column of the CTC blank.

    Returns:
        One span per token, or None if no path has a probability above zero: T is too short for the
        tokens (a repeated token needs a blank before it), or one of them has no probability.
    """
    log_probs = ctc_log_probs.detach().double().cpu().numpy()
    num_frames = len(log_probs)
    if not tokens:
        return []
    # States: a blank before, between and after the tokens; state 2i + 1 is token i.
    labels = np.full(2 * len(tokens) + 1, blank)
    labels[1::2] = tokens
    skips = np.full(len(labels), -np.inf)  # different tokens need no blank between them
    skips[3::2] = np.where(labels[3::2] != labels[1:-2:2], 0.0, -np.inf)

    best = np.full(len(labels) + 2, -np.inf)  # two more in front make shifts slices
    best[2] = 0.0  # before the first frame; from here to the first blank or token 0
    moves = np.zeros((num_frames, len(labels)), np.int8)
    columns = np.arange(len(labels))
    for frame, emitted in enumerate(log_probs[:, labels]):
        options = np.stack([best[2:], best[1:-1], best[:-2] + skips])
        moves[frame] = options.argmax(0)
        best[2:] = options[moves[frame], columns] + emitted
    state = len(labels) - (1 if best[-1] >= best[-2] else 2)
    if best[state + 2] == -np.inf:
        return None

    path = np.empty(num_frames, np.int64)
    for frame in range(num_frames - 1, -1, -1):
        path[frame] = state
        state -= moves[frame, state]
    spans = []
    for i, token in enumerate(tokens):
        frames = np.flatnonzero(path == 2 * i + 1)
        confidence = float(np.exp(log_probs[frames, token]).mean())
        spans.append(TokenSpan(int(frames[0]), int(frames[-1]) + 1, min(confidence, 1.0)))
    return spans
