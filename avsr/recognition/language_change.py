"""Find where the language changes inside a segment (code-switching without a pause).

If the beginning and the end of a segment differ in language, the change is where the classifier is
surest of both sides.
"""

from typing import TYPE_CHECKING

import numpy as np

from avsr.audio import vowel_level
from avsr.rates import FPS
from avsr.recognition.encoding import encode
from avsr.recognition.recording import Recording, cut_recording

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

MIN_FRAMES = FPS  # frames of a language; fewer are a word, or say nothing
MAX_END_FRAMES = 2 * FPS  # frames of each end whose language is compared
STEP = 5  # frames between two candidates
MAX_CANDIDATES = 20  # each takes the encoder twice over the segment
MIN_BOTH = 0.92  # probability on both sides; 2 of 72 segments in one language reached it
SNAP_FRAMES = 2 * STEP  # frames around the change within which the quietest one is the cut


def language_change(model: "AVSRModel", recording: Recording) -> int | None:
    """Find the frame at which the language of a recording changes; None if it does not.

    At most one change is found, with at least a second on either side. Both sides are encoded
    separately: in one piece every feature carries the language of the longer side.
    """
    length = recording.num_frames
    if not model.has("classifier") or length < 2 * MIN_FRAMES:
        return None
    end = min(max(MIN_FRAMES, length // 4), MAX_END_FRAMES)
    ends = [cut_recording(recording, 0, end), cut_recording(recording, length - end, length)]
    (first, _), (last, _) = _languages(model, ends)
    if first == last:
        return None
    step = max(STEP, -(-length // MAX_CANDIDATES))
    candidates = list(range(MIN_FRAMES, length - MIN_FRAMES + 1, step))
    before = _languages(model, [cut_recording(recording, 0, frame) for frame in candidates])
    after = _languages(model, [cut_recording(recording, frame, length) for frame in candidates])
    best = MIN_BOTH
    change: int | None = None
    for frame, left, right in zip(candidates, before, after, strict=True):
        if left[0] != right[0] and min(left[1], right[1]) > best:
            best, change = min(left[1], right[1]), frame
    if change is None or recording.waveform is None:
        return change
    level = vowel_level(recording.waveform)
    start = max(MIN_FRAMES, change - SNAP_FRAMES)
    nearby = level[start : max(start + 1, min(length - MIN_FRAMES, change + SNAP_FRAMES) + 1)]
    return start + int(np.argmin(nearby)) if len(nearby) else change


def _languages(model: "AVSRModel", recordings: list[Recording]) -> list[tuple[int, float]]:
    """The likeliest language of each recording and its probability."""
    probs = encode(model, recordings, "auto").language_probs.max(-1)
    return list(zip(probs.indices.tolist(), probs.values.tolist(), strict=True))
