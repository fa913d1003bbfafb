"""Sound and lips that do not run together: find out by how much, and put the lips right.

Lips that come some frames early or late mislead a model more than no lips at all, and many videos
are so. The model itself hears and sees best when both run together: of several shifts the one is
taken for which its CTC head is surest, that is, whose mean entropy is lowest.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from avsr.encoder.frontend import shift_frames
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.recognition.inference import encode, extract_visual_features
from avsr.recognition.recording import Recording

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

MOST_FRAMES = 5  # 200 ms, early or late
EVEN_SHIFTS = range(-MOST_FRAMES + 1, MOST_FRAMES, 2)
ODD_SHIFTS = range(-MOST_FRAMES, MOST_FRAMES + 1, 2)
MARGIN = 0.1  # nats by which the entropy of a shift must be lower than without one
EXCERPT = 4 * FPS  # frames, from the middle, that are enough to tell
ESTIMATES = 3  # parts of a recording that are listened to; the offset does not change within one


class Synchronizer:
    """Moves the lips of the parts of one recording; without CTC head it leaves them alone."""

    def __init__(self, model: "AVSRModel") -> None:
        self.model = model
        self.found: list[int] = []

    @property
    def frames(self) -> int:
        """By how many frames the lips come late; negative: early. 0 before anything is known."""
        return statistics.median_low(self.found) if self.found else 0

    @property
    def notes(self) -> list[str]:
        """What to say of lips that were moved."""
        if self.frames == 0:
            return []
        return [_note(self.frames)]

    def align(self, recording: "Recording") -> "Recording":
        """The recording with its lips where the sound is, and what the front end sees in them."""
        if recording.waveform is None or recording.mouth is None or not self.model.has("ctc"):
            return recording
        visual = recording.visual
        if visual is None:
            visual = extract_visual_features(self.model, recording.mouth)
        if len(self.found) < ESTIMATES:
            self.found += estimate_lip_delays(self.model, [replace(recording, visual=visual)])
        if self.frames:
            visual = shift_frames(visual, self.frames)
        return replace(recording, visual=visual)


def sync_lips(model: "AVSRModel", recording: "Recording") -> "Recording":
    """The recording with its lips where the sound is, and a warning where they were not."""
    return sync_all_lips(model, [recording])[0]


def sync_all_lips(model: "AVSRModel", recordings: "Sequence[Recording]") -> "list[Recording]":
    """Recordings, each as ``sync_lips`` has it; the network takes them together."""
    both = [
        i
        for i, recording in enumerate(recordings)
        if recording.waveform is not None and recording.mouth is not None and model.has("ctc")
    ]
    found = list(recordings)
    for i in both:
        if found[i].visual is None:
            found[i] = replace(found[i], visual=extract_visual_features(model, found[i].mouth))
    for i, late in zip(both, estimate_lip_delays(model, [found[i] for i in both]), strict=True):
        if late:
            visual = found[i].visual
            assert visual is not None
            warnings = (*found[i].warnings, _note(late))
            found[i] = replace(found[i], visual=shift_frames(visual, late), warnings=warnings)
    return found


def _note(late: int) -> str:
    when = "after" if late > 0 else "before"
    return f"the lips come {abs(late) * 1000 // FPS} ms {when} the sound; they were put right"


def estimate_lip_delays(model: "AVSRModel", recordings: "Sequence[Recording]") -> list[int]:
    """Frames by which the lips of each recording, whose ``visual`` is known, come late.

    5 at most; negative: early; 0 where no shift is clearly better. Odd shifts are looked at where
    an even one is better than none. Of 517 recordings with lips moved by up to 5 frames that
    decides otherwise for 20, and sets one that all shifts had set right more than a frame beside.
    """
    return [_delay(model, recording) for recording in recordings]


def _delay(model: "AVSRModel", recording: "Recording") -> int:
    entropies = _entropies(model, recording, EVEN_SHIFTS)
    if _best(entropies) != 0:
        entropies |= _entropies(model, recording, ODD_SHIFTS)
    best = _best(entropies)
    return best if entropies[0] - entropies[best] > MARGIN else 0


def _best(entropies: dict[int, float]) -> int:
    return min(sorted(entropies), key=entropies.__getitem__)


def _entropies(
    model: "AVSRModel", recording: "Recording", shifts: Sequence[int]
) -> dict[int, float]:
    """Mean entropy, nats, of the CTC head for each shift of the lips."""

    log_probs = encode(model, [_excerpt(recording, shift) for shift in shifts]).ctc_log_probs
    assert log_probs is not None
    means = -(log_probs.exp() * log_probs).sum(-1).mean(-1)
    return dict(zip(shifts, means.tolist(), strict=True))


def _excerpt(recording: "Recording", shift: int) -> "Recording":
    """The middle of a recording, its lips moved."""
    visual, sound = recording.visual, recording.waveform
    assert visual is not None
    assert sound is not None
    first = max(0, (len(visual) - EXCERPT) // 2)
    last = min(len(visual), first + EXCERPT)
    return replace(
        recording,
        waveform=sound[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME],
        mouth=None if recording.mouth is None else recording.mouth[first:last],
        visual=shift_frames(visual, shift)[first:last],
    )
