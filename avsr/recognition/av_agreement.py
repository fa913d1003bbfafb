"""Who speaks: the network's judgement, where several mouths move with the sound.

The CTC head is run twice, for the letters v of the sound alone and for those of a face's lips
alone. How much likelier both are together than by chance is the evidence of a frame,

    log sum_v p(v | sound) p(v | lips) / p(v),    p(v) the mean of p(v | lips) over the frames:

zero for a mouth that rests or cannot be read, more for the one that speaks, less for one that says
something else. In 288 pairs of synthetic talks of one length (unseen voices and faces) and 120 of
GRID clips (most of them training data of the bundled model) the mean over a talk was larger for the
right mouth in all of them, over a single second in 99.5 and 88 %; by the curves of mouth and
loudness alone (face/active_speaker.py) in 90 and 89 %, over a second 81 and 71 %, and by the sum of
both in 99.3 and 100 %, over a second 99 and 90 %.
"""

from collections.abc import Callable

import numpy as np

from avsr.audio import vowel_level
from avsr.face import Agree, FaceTrack, FaceTracks, MouthTrack, choose_face
from avsr.face.active_speaker import MOST_LAG
from avsr.model.network import AVSRModel
from avsr.recognition.encoding import encode, extract_visual_features
from avsr.recognition.recording import Recording

PROBABILITY_FLOOR = 1e-6  # added to p(v), so that nothing is divided by zero


def choose_speaker(
    model: AVSRModel | Callable[[], AVSRModel] | None,
    faces: FaceTracks,
    choice: str,
    waveform: np.ndarray | None,
) -> MouthTrack:
    """Choose the face whose lips are read, one at any time.

    Args:
        model: Network to ask in doubt, or a function that loads it then. None: mouth and loudness
            decide alone.
        faces: The faces of a segment.
        choice: As ``TranscribeOptions.face``.
        waveform: (S,) sound of the segment at 16 kHz; None without sound.
    """
    level = None if waveform is None else vowel_level(waveform)
    return choose_face(faces, choice, level, lips_agreement(model, waveform))


def lips_agreement(
    model: AVSRModel | Callable[[], AVSRModel] | None, waveform: np.ndarray | None
) -> Agree | None:
    """Make the function that judges how well the lips of a track go with ``waveform`` (S,).

    It returns the evidence (2 * MOST_LAG + 1, N) of the N frames of a track, for lips that come
    MOST_LAG frames early to as many late. The sound is encoded at the first call. None if there is
    no sound, no model, or no CTC head to judge by.
    """
    if model is None or waveform is None or not len(waveform):
        return None
    if not isinstance(model, AVSRModel):
        return _lazy_agreement(model, waveform)
    network = model
    if not network.has("ctc"):
        return None
    sound_letters: list[np.ndarray] = []

    def agree(track: FaceTrack) -> np.ndarray:
        if not sound_letters:
            recording = Recording(name="", waveform=waveform, mouth=None)
            sound_letters.append(letter_probs(network, recording))
        (sound,) = sound_letters
        visual = extract_visual_features(network, track.mouth)
        recording = Recording(name="", waveform=None, mouth=track.mouth, visual=visual)
        lips = letter_probs(network, recording)
        return lag_evidence(sound, lips, np.arange(-MOST_LAG, MOST_LAG + 1), track.start)[0]

    return agree


def letter_probs(model: AVSRModel, recording: Recording) -> np.ndarray:
    """Probability (T, V) of each letter in each frame, by the CTC head."""
    log_probs = encode(model, [recording]).ctc_log_probs
    assert log_probs is not None
    return log_probs[0].exp().float().cpu().numpy()


def lag_evidence(
    sound: np.ndarray, lips: np.ndarray, lags: np.ndarray, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compare the letters of sound and lips at several lags.

    Args:
        sound: (T, V) letters of the sound.
        lips: (N, V) letters of the lips.
        lags: (L,) frames by which the lips come late.
        start: Frame of the sound in which the lips begin.

    Returns:
        The evidence (L, N) of each frame of the lips, in nats, 0 where there is no sound; and
        whether there is sound (L, N).
    """
    ratio = lips / (lips.mean(axis=0) + PROBABILITY_FLOOR)
    heard = start + np.arange(len(lips)) - lags[:, None]  # frame of the sound
    inside = (heard >= 0) & (heard < len(sound))
    evidence = np.zeros(heard.shape)
    for row, frames in enumerate(inside):
        joint = (sound[heard[row, frames]] * ratio[frames]).sum(axis=1)
        evidence[row, frames] = np.log(joint + PROBABILITY_FLOOR)
    return evidence, inside


def _lazy_agreement(load: Callable[[], AVSRModel], waveform: np.ndarray) -> Agree:
    """The same for a model that is loaded only if it is asked."""

    def agree(track: FaceTrack) -> np.ndarray:
        judge = lips_agreement(load(), waveform)
        assert judge is not None
        return judge(track)

    return agree
