"""Whose lips say what is heard: the model's word, where several mouths move with the sound.

The CTC head is asked twice, for the letters v of the sound alone and for those of a face's lips
alone. How much likelier both are together than by chance is the evidence of a frame,

    log sum_v p(v | sound) p(v | lips) / p(v),    p(v) the mean of p(v | lips) over the frames:

nothing for a mouth that rests or that cannot be read, more than that for the one that speaks, less
for one that says something else. In 288 pairs of synthetic talks of one length (unseen voices and
faces) and 120 of GRID clips (most of them training data of the bundled model) the mean over a talk
was larger for the right mouth in all of them, over a single second in 99.5 and 88 %; by the curves
of mouth and loudness alone (face/speaking.py) in 90 and 89 %, over a second 81 and 71 %, and by the
sum of both in 99.3 and 100 %, over a second 99 and 90 %.
"""

from typing import TYPE_CHECKING

import numpy as np

from avsr.face import Agree, FaceTrack
from avsr.face.active_speaker import MOST_LAG
from avsr.recognition.inference import encode, extract_visual_features
from avsr.recognition.recording import Recording

if TYPE_CHECKING:
    from avsr.model.network import AVSRModel

RAREST = 1e-6  # what is added to p(v), so that no letter is divided by nothing


def lips_agreement(model: "AVSRModel", waveform: np.ndarray | None) -> Agree | None:
    """What tells how well the lips of a track go with ``waveform`` (S,); None without CTC head.

    It hands out the evidence (2 * MOST_LAG + 1, N) of the N frames of the track, for lips
    that come MOST_LAG frames early to as many late. The network hears the sound at the first call.
    """
    if waveform is None or not len(waveform) or not model.has("ctc"):
        return None

    heard: list[np.ndarray] = []

    def letters(recording: Recording) -> np.ndarray:
        log_probs = encode(model, [recording]).ctc_log_probs
        assert log_probs is not None
        return log_probs[0].exp().float().cpu().numpy()

    def agree(track: FaceTrack) -> np.ndarray:
        if not heard:
            heard.append(letters(Recording(name="", waveform=waveform, mouth=None)))
        (sound,) = heard
        visual = extract_visual_features(model, track.mouth)
        lips = letters(Recording(name="", waveform=None, mouth=track.mouth, visual=visual))
        lips /= lips.mean(axis=0) + RAREST
        frames = track.start + np.arange(len(lips))
        found = np.zeros((2 * MOST_LAG + 1, len(lips)))
        for row, lag in enumerate(range(-MOST_LAG, MOST_LAG + 1)):
            there = (frames - lag >= 0) & (frames - lag < len(sound))
            together = (sound[frames[there] - lag] * lips[there]).sum(axis=1)
            found[row, there] = np.log(together + RAREST)
        return found

    return agree
