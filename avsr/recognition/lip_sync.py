"""Sound and lips that do not run together: estimate the delay and move the lips.

Lips that come some frames early or late mislead a model more than no lips at all, and many videos
are so. The CTC head reads the letters of the sound alone and of the lips alone; the evidence that
both say the same (``av_agreement``) has a peak at the delay. Where there is no such peak the model
cannot judge this recording, because of its language, its face or its noise, and the lips stay.

The limits below leave alone what has no right delay: of 10,000 pairs of real voices in 42 languages
or synthetic ones with the lips of other synthetic heads or GRID clips 0.1 % are moved, most of them
shorter than a second. With the sound of another GRID sentence of the same speaker, which has nearly
the same words at the same times, 14 % are.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avsr.encoder.frontend import shift_frames
from avsr.rates import FPS
from avsr.recognition.av_agreement import lag_evidence, letter_probs
from avsr.recognition.encoding import extract_visual_features
from avsr.recognition.recording import Recording, cut_recording
from avsr.recognition.senses import encode_senses

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

MOST_FRAMES = 5  # 200 ms, early or late
LAGS = np.arange(-MOST_FRAMES - 1, MOST_FRAMES + 2)  # one more on either side, to see a peak
MIN_FRAMES = 1.8  # between frames too; of 100 GRID clips as published 3 come 1.7 or 1.8 early
MIN_PEAK = 0.25  # nats a frame; of lips of others 1 in 250 reaches it, of the right ones 19 in 20
MIN_RISE = 0.3  # nats a frame, from no delay to the peak
EXCERPT = 10 * FPS  # frames, from the middle of a segment, that are enough to tell
JUDGED = 15  # frames; less says too little
MAX_SEGMENTS = 3  # of a recording that are judged; the delay does not change within one


class Synchronizer:
    """Moves the lips of the segments of one recording. Without CTC head it leaves them alone.

    The evidence of its first segments is added up, so that a segment in which nothing can be told
    is moved like the others.
    """

    def __init__(self, model: "AVSRModel", *, check: bool = False) -> None:
        """``check``: whether sound and lips of all segments are encoded alone, for later use."""
        self.model, self.check = model, check
        self.delay = 0
        """Frames by which the lips come late (negative: early); 0 before anything is known."""
        self._evidence: list[np.ndarray] = []

    @property
    def warnings(self) -> list[str]:
        """A warning if lips were moved."""
        if self.delay == 0:
            return []
        order = "after" if self.delay > 0 else "before"
        milliseconds = abs(self.delay) * 1000 // FPS
        return [f"the lips come {milliseconds} ms {order} the sound; they were put right"]

    def align(self, recording: Recording) -> Recording:
        """Move the lips to where the sound is; the visual features of the result are set."""
        if recording.waveform is None or recording.mouth is None or not self.model.has("ctc"):
            return recording
        if self.check:
            recording = encode_senses(self.model, recording)
        visual = recording.visual
        if visual is None:
            visual = extract_visual_features(self.model, recording.mouth)
        if len(self._evidence) < MAX_SEGMENTS:
            self._evidence.append(measure_delays(self.model, replace(recording, visual=visual)))
            self.delay = find_delay(np.sum(self._evidence, axis=0))
        senses = recording.senses
        if self.delay:
            visual = shift_frames(visual, self.delay)
            senses = None if senses is None else senses.shift(self.delay)
        return replace(recording, visual=visual, senses=senses)


def sync_lips(model: "AVSRModel", recording: Recording, *, check: bool = False) -> Recording:
    """Move the lips of a recording to where the sound is, with a warning if that was needed."""
    synchronizer = Synchronizer(model, check=check)
    aligned = synchronizer.align(recording)
    return replace(aligned, warnings=(*aligned.warnings, *synchronizer.warnings))


def measure_delays(model: "AVSRModel", recording: Recording) -> np.ndarray:
    """Measure how well sound and lips agree at each delay of the lips.

    Args:
        model: A network with a CTC head.
        recording: Sound and lips; its ``visual`` is set. Its ``senses`` are used if they are.

    Returns:
        (2, lags): the evidence of the frames in which both are there, summed, in nats; and the
        number of these frames. One column for each of ``LAGS``.
    """
    length = recording.num_frames
    first = max(0, (length - EXCERPT) // 2)
    last = min(length, first + EXCERPT)
    if recording.senses is not None:
        sound, lips = (probs[first:last] for probs in recording.senses.letter_probs())
    else:
        excerpt = cut_recording(recording, first, last)
        sound = letter_probs(model, replace(excerpt, mouth=None, visual=None))
        lips = letter_probs(model, replace(excerpt, waveform=None))
    evidence, both = lag_evidence(sound, lips, LAGS)
    return np.stack([evidence.sum(axis=1), both.sum(axis=1)])


def find_delay(totals: np.ndarray) -> int:
    """Find the delay of the lips in frames, negative if they are early; 0 if it is not certain.

    Args:
        totals: (2, lags) as ``measure_delays`` returns it, or the sum of several.
    """
    evidence, frames = totals
    mean = evidence / np.maximum(frames, 1)
    in_step = MOST_FRAMES + 1
    peak = 1 + int(mean[1:-1].argmax())
    before, top, after = mean[peak - 1 : peak + 2]
    if frames[in_step] < JUDGED or top < MIN_PEAK or top - mean[in_step] < MIN_RISE:
        return 0
    if max(before, after) > top:  # it rises beyond the range
        return 0
    vertex = LAGS[peak] + 0.5 * (before - after) / (before - 2 * top + after)  # of a parabola
    return int(LAGS[peak]) if abs(vertex) >= MIN_FRAMES else 0
