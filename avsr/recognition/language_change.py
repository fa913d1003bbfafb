"""Parts in which the language changes, where no pause has parted the two: where, and in two.

The languages of its beginning and of its end tell whether there may be a change; then it is looked
for where both sides are surest.
"""

from typing import TYPE_CHECKING

import numpy as np

from avsr.audio import vowel_level
from avsr.rates import FPS
from avsr.recognition.inference import encode
from avsr.recognition.recording import Recording, cut_recording

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

LEAST = FPS  # frames of a language; fewer are a word, or say nothing
MOST_AT_END = 2 * FPS  # frames, of which the language of an end is told
STEP = 5  # frames, how finely a change is looked for
MOST_PLACES = 20  # at which it is looked for; each takes the encoder twice over the part
BOTH_SURE = 0.92  # probability of either language; 2 of 72 in one language looked like two with it
NEAR = 2 * STEP  # frames within which the quietest one is the cut


def language_change(model: "AVSRModel", recording: Recording) -> int | None:
    """The frame at which the language of a recording changes; None if it does not.

    One change at most is found, with a second or more on either side. Both sides are encoded by
    themselves: in one piece all features tell of the language of the most.
    """
    length = recording.num_frames
    if not model.has("classifier") or length < 2 * LEAST:
        return None
    end = min(max(LEAST, length // 4), MOST_AT_END)
    ends = [cut_recording(recording, 0, end), cut_recording(recording, length - end, length)]
    (first, _), (last, _) = _languages(model, ends)
    if first == last:
        return None
    step = max(STEP, -(-length // MOST_PLACES))
    places = list(range(LEAST, length - LEAST + 1, step))
    before = _languages(model, [cut_recording(recording, 0, frame) for frame in places])
    after = _languages(model, [cut_recording(recording, frame, length) for frame in places])
    best = BOTH_SURE
    place: int | None = None
    for frame, left, right in zip(places, before, after, strict=True):
        if left[0] != right[0] and min(left[1], right[1]) > best:
            best, place = min(left[1], right[1]), frame
    if place is None or recording.waveform is None:
        return place
    level = vowel_level(recording.waveform)
    start = max(LEAST, place - NEAR)
    nearby = level[start : max(start + 1, min(length - LEAST, place + NEAR) + 1)]
    return start + int(np.argmin(nearby)) if len(nearby) else place


def _languages(model: "AVSRModel", recordings: list[Recording]) -> list[tuple[int, float]]:
    """The likeliest language of each recording and its probability."""

    probs = encode(model, recordings, "auto").language_probs.max(-1)
    return list(zip(probs.indices.tolist(), probs.values.tolist(), strict=True))
