"""Parts in which the language changes, where no pause has parted the two: where, and in two.

The language classifier takes any stretch of the encoder's features. Those of the beginning and the
end of a part tell whether there may be a change; then it is looked for where both sides are surest.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avsr.audio import vowel_level
from avsr.encoder import EncoderOutput
from avsr.language import probabilities
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.recording import Recording
from avsr.threads import in_few_threads

if TYPE_CHECKING:
    from avsr.face import MouthTrack
    from avsr.model import AVSRModel
    from avsr.pipeline import Encoded

LEAST = FPS  # frames of a language; fewer are a word, or say nothing
STEP = 5  # frames, how finely a change is looked for
BOTH_SURE = 0.9  # probability of either language; one language alone looked like two with 0.57
NEAR = 2 * STEP  # frames within which the quietest one is the cut


@in_few_threads
@torch.inference_mode()
def language_change(
    model: "AVSRModel", encoded: "Encoded", index: int, recording: Recording
) -> int | None:
    """The frame at which the language of a recording of the batch changes; None if it does not.

    ``index`` is its row in ``encoded``. One change at most is found, with a second or more on
    either side.
    """
    length = int(encoded.lengths[index])
    if not model.has("classifier") or length < 2 * LEAST:
        return None
    output = encoded.output

    def side(first: int, last: int) -> tuple[int, float]:
        part = EncoderOutput(
            output.prompts[index : index + 1], output.features[index : index + 1, first:last], None
        )
        found = probabilities(model.language_logits(part), model.config.language_temperature)[0]
        return int(found.argmax()), float(found.max())

    end = max(LEAST, length // 4)
    if side(0, end)[0] == side(length - end, length)[0]:
        return None
    best = BOTH_SURE
    place: int | None = None
    for frame in range(LEAST, length - LEAST + 1, STEP):
        before, after = side(0, frame), side(frame, length)
        if before[0] != after[0] and min(before[1], after[1]) > best:
            best, place = min(before[1], after[1]), frame
    if place is None or recording.waveform is None:
        return place
    level = vowel_level(recording.waveform)
    first = max(LEAST, place - NEAR)
    nearby = level[first : max(first + 1, min(length - LEAST, place + NEAR) + 1)]
    return first + int(np.argmin(nearby)) if len(nearby) else place


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
