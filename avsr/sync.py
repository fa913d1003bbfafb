"""Sound and lips that do not run together: find out by how much, and put the lips right.

Lips that come some frames early or late mislead a model more than no lips at all, and many videos
are so. The model itself hears and sees best when both run together: of several shifts the one is
taken for which its CTC head is surest, that is, whose mean entropy is lowest.
"""

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avsr.encoder import fill_blank, normalize_mouth
from avsr.rates import FPS, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from avsr.model import AVSRModel
    from avsr.recording import Recording

MOST_FRAMES = 5  # 200 ms, early or late
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
        late = "after" if self.frames > 0 else "before"
        ms = abs(self.frames) * 1000 // FPS
        return [f"the lips come {ms} ms {late} the sound; they were put right"]

    def align(self, recording: "Recording") -> "Recording":
        """The recording with its lips where the sound is, and what the front end sees in them."""
        if recording.waveform is None or recording.mouth is None or not self.model.has("ctc"):
            return recording
        visual = recording.visual
        if visual is None:
            visual = see(self.model, recording.mouth)
        if len(self.found) < ESTIMATES:
            self.found.append(lips_delay(self.model, recording, visual))
        if self.frames:
            visual = shifted(visual, self.frames)
        return replace(recording, visual=visual)


def in_step(model: "AVSRModel", recording: "Recording") -> "Recording":
    """The recording with its lips where the sound is, and a warning where they were not."""
    synchronizer = Synchronizer(model)
    aligned = synchronizer.align(recording)
    return replace(aligned, warnings=(*aligned.warnings, *synchronizer.notes))


@torch.inference_mode()
def see(model: "AVSRModel", mouth: object) -> Tensor:
    """Outputs (T, C) of the visual front end for mouth crops (T, 96, 96) uint8, on the CPU."""
    crops = normalize_mouth(fill_blank(torch.as_tensor(mouth)))
    return model.encoder.frontend(crops[None].to(model.device))[0].cpu()


def shifted(frames: Tensor, late: int) -> Tensor:
    """Frames (T, ...) that came ``late``, put right; the first or last one stands."""
    return frames[(torch.arange(len(frames)) + late).clamp(0, len(frames) - 1)]


@torch.inference_mode()
def lips_delay(model: "AVSRModel", recording: "Recording", visual: Tensor) -> int:
    """Frames by which the lips come late, 5 at most; negative: early. 0 where none is better."""
    from avsr.pipeline import encode

    assert recording.waveform is not None
    first = max(0, (len(visual) - EXCERPT) // 2)
    last = min(len(visual), first + EXCERPT)
    sound = recording.waveform[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
    shifts = range(-MOST_FRAMES, MOST_FRAMES + 1)
    parts = [
        replace(
            recording,
            waveform=sound,
            mouth=None if recording.mouth is None else recording.mouth[first:last],
            visual=shifted(visual, shift)[first:last],
        )
        for shift in shifts
    ]
    log_probs = encode(model, parts).ctc_log_probs
    assert log_probs is not None
    entropies = -(log_probs.exp() * log_probs).sum(-1).mean(-1)
    best = int(entropies.argmin())
    if float(entropies[MOST_FRAMES] - entropies[best]) <= MARGIN:
        return 0
    return shifts[best]
