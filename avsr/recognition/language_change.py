"""Parts in which the language changes, where no pause has parted the two: where, and in two.

The languages of its beginning and of its end tell whether there may be a change; then it is looked
for where both sides are surest.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avsr.audio import vowel_level
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.recognition.recording import Recording

if TYPE_CHECKING:
    from avsr.face import MouthTrack
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
    ends = [_cut(recording, 0, end), _cut(recording, length - end, length)]
    (first, _), (last, _) = _languages(model, ends)
    if first == last:
        return None
    step = max(STEP, -(-length // MOST_PLACES))
    places = list(range(LEAST, length - LEAST + 1, step))
    before = _languages(model, [_cut(recording, 0, frame) for frame in places])
    after = _languages(model, [_cut(recording, frame, length) for frame in places])
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
    from avsr.recognition.pipeline import encode

    probs = encode(model, recordings, "auto").language_probs.max(-1)
    return list(zip(probs.indices.tolist(), probs.values.tolist(), strict=True))


def split_recording(recording: Recording, frame: int) -> tuple[Recording, Recording]:
    """The recording before ``frame``, and from there on."""
    return _cut(recording, 0, frame), _cut(recording, frame, recording.num_frames)


def _cut(recording: Recording, first: int, last: int) -> Recording:
    sound, mouth, visual = recording.waveform, recording.mouth, recording.visual
    if sound is not None:
        until = len(sound) if last == recording.num_frames else last * SAMPLES_PER_FRAME
        sound = sound[first * SAMPLES_PER_FRAME : until]
    return replace(
        recording,
        waveform=sound,
        mouth=None if mouth is None else mouth[first:last],
        visual=None if visual is None else visual[first:last],
        track=None if recording.track is None else _cut_track(recording.track, first, last),
    )


def _cut_track(track: "MouthTrack", first: int, last: int) -> "MouthTrack":
    kept = track.tracks[first:last]
    there, numbers = np.unique(kept[kept >= 0], return_inverse=True)
    tracks = np.full_like(kept, -1)
    tracks[kept >= 0] = numbers
    return replace(
        track,
        mouth=track.mouth[first:last],
        found=track.found[first:last],
        boxes=track.boxes[first:last],
        tracks=tracks,
        landmarks=track.landmarks[first:last],
        matrices=track.matrices[first:last],
        faces=tuple(track.faces[number] for number in there) if track.faces else (),
    )
