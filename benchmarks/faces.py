"""Two talking heads side by side, one audible at a time: accuracy of choosing the speaker.

Six pairs of synthetic heads talk in turns, four utterances per pair, with 0.8 s of silence between
them. While one talks, the other is still (``rest``), or moves its lips to other words without
sound (``mute``, like a second speaker who is faded out). Every segment of the transcript names the
face whose lips were read; it is correct if the sound is of that head.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAIRS = 6
TURNS = 4
PAUSE = 20  # frames between turns
LANGUAGES = ("de", "en", "es", "fr", "it", "ru")


def make_talk(path: Path, pair: int, *, mute: bool) -> list[tuple[float, float, int]]:
    """Write a video of two heads, 640x320 pixels.

    Returns:
        (start, end, face) of each utterance: seconds, and 1 for the left or 2 for the right face.
    """
    import numpy as np

    from avsr.media import write_video
    from avsr.rates import FPS, SAMPLES_PER_FRAME
    from avsr.synthetic import faces, make_utterance, visemes

    turns: list[tuple[float, float, int]] = []
    sound: list[np.ndarray] = []
    moves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])  # trajectories of both mouths
    silence = np.zeros((PAUSE * SAMPLES_PER_FRAME,), np.float32)
    rng = np.random.default_rng(pair)
    for number, talker in enumerate(_talkers(pair)):
        language = LANGUAGES[(pair + number) % len(LANGUAGES)]
        utterance = make_utterance(5, "test", language, TURNS * pair + number)
        other = make_utterance(6, "test", language, TURNS * pair + number)
        count = utterance.num_frames
        start = sum(len(part) for part in moves[0]) / FPS
        turns.append((start, start + count / FPS, talker))
        sound += [utterance.waveform, silence]
        mouth = visemes.mouth_trajectory(utterance.phones, count, rng)
        quiet = np.tile(visemes.REST, (count, 1))
        if mute:
            quiet = visemes.mouth_trajectory(other.phones, other.num_frames, rng)
            quiet = np.resize(quiet, (count, quiet.shape[1]))
        still = np.tile(visemes.REST, (PAUSE, 1))
        moves[talker - 1].extend([mouth, still])
        moves[2 - talker].extend([quiet, still])
    heads = [
        faces.render_frames(
            faces.make_identity(f"test-{2 * pair + side:03}"),
            np.concatenate(trajectories).astype(np.float32),
            np.random.default_rng(side),
        )
        for side, trajectories in enumerate(moves)
    ]
    frames = [np.hstack(both) for both in zip(*heads, strict=True)]
    write_video(path, frames, waveform=np.concatenate(sound), crf=20)
    return turns


def _talkers(pair: int) -> Iterator[int]:
    """Yield 1 and 2 in an order that alternation does not predict."""
    orders = ((1, 2, 1, 2), (2, 1, 2, 1), (1, 1, 2, 2), (2, 1, 1, 2))
    yield from orders[pair % len(orders)]


def _talker_at(turns: list[tuple[float, float, int]], time: float) -> int:
    """Return the face of the utterance whose middle is nearest to ``time`` (s)."""
    return min(turns, key=lambda turn: abs((turn[0] + turn[1]) / 2 - time))[2]


def measure(runs: int) -> dict[str, Any]:
    """Return the share of segments with the correct face; ``runs`` is ignored: nothing varies."""
    case = f"two heads side by side, one heard at a time, {PAIRS} pairs, {TURNS} turns each"
    return {"case": case} | measure_kind("rest") | measure_kind("mute")


def measure_kind(kind: str) -> dict[str, Any]:
    """Return the figures of one kind; ``kind`` is what the other head does: ``rest``, ``mute``."""
    from avsr.hub import load_network
    from avsr.recognition.options import TranscribeOptions
    from avsr.recognition.pipeline import transcribe_file

    model = load_network(device="cpu")
    options = TranscribeOptions(beam_size=1, sync=False)  # the words do not matter here
    right = left = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(PAIRS):
            path = Path(folder) / f"{pair}.mp4"
            turns = make_talk(path, pair, mute=kind == "mute")
            for segment in transcribe_file(model, path, options).segments:
                truth = _talker_at(turns, (segment.start + segment.end) / 2)
                right += segment.face == truth
                left += truth == 1
                total += 1
            print(f"{kind}: {right} of {total} right, {left} left", file=sys.stderr, flush=True)
    return {
        f"{kind}_segments": total,
        f"{kind}_right": round(right / total, 3),
        f"{kind}_always_left": round(left / total, 3),
    }
