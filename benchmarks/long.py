"""Transcribe a short and a long file: memory, time, and whether the words are the same.

The short file is a series of talks: synthetic talking heads of 320x320 pixels, a different person
and language each. The long file repeats the packets of the short one, so that the words of each
repetition can be compared with those of the short file.
"""

import difflib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TALK = 30.0  # s; minimum length of the talk of one person
PAUSE = 15  # frames between two utterances
END_PAUSE = 50  # frames after the last talk of a part, so that no word crosses a join
NEAR_A_CUT = 1.0  # s; words nearer to the join of two parts are not compared
SIZE = (320, 320)


def make_part(path: Path, seconds: float) -> float:
    """Write talks of about ``seconds`` in total; return the exact length in seconds."""
    from avsr.media import write_video
    from avsr.rates import FPS

    sound: list[np.ndarray] = []
    lengths: list[int] = []
    for waveform, _, number in _utterances(seconds):
        sound.append(waveform)
        lengths.append(number)

    def frames() -> Iterator[np.ndarray]:
        for _, utterance_frames, _ in _utterances(seconds):
            yield from utterance_frames

    write_video(path, frames(), waveform=np.concatenate(sound))
    return sum(lengths) / FPS


def _utterances(seconds: float) -> Iterator[tuple[np.ndarray, Iterator[np.ndarray], int]]:
    """Yield waveform (S,), frames and number of frames of each utterance with its pause."""
    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.rates import FPS, SAMPLES_PER_FRAME
    from avsr.synthetic import faces, make_utterance, visemes

    done, index = 0, 0
    for talk, language in enumerate(itertools.cycle(MUAVIC_LANGUAGES)):
        start = done
        identity = faces.make_identity(f"test-{talk:03d}")
        while done - start < TALK * FPS:
            utterance = make_utterance(1, "test", language, index)
            index += 1
            trajectory = visemes.mouth_trajectory(
                utterance.phones, utterance.num_frames, np.random.default_rng(index)
            )
            last = done + utterance.num_frames >= seconds * FPS
            pause = END_PAUSE if last else PAUSE
            frames = faces.render_frames(
                identity, trajectory, np.random.default_rng(talk), size=SIZE
            )
            number = utterance.num_frames + pause
            waveform = np.pad(utterance.waveform, (0, number * SAMPLES_PER_FRAME))
            yield waveform[: number * SAMPLES_PER_FRAME], _hold_last(frames, pause), number
            done += number
            if last:
                return


def _hold_last(frames: Iterator[np.ndarray], pause: int) -> Iterator[np.ndarray]:
    """Yield the frames, and the last one ``pause`` times more."""
    for frame in frames:
        yield frame
    yield from itertools.repeat(frame, pause)


def join(part: Path, count: int, seconds: float, path: Path) -> None:
    """Write ``part``, which has ``seconds``, ``count`` times into one file without re-encoding."""
    import av

    with av.open(str(path), "w") as out:
        streams: dict[int, Any] = {}
        for number in range(count):
            with av.open(str(part)) as source:
                for stream in source.streams:
                    if stream.index not in streams:
                        streams[stream.index] = out.add_stream_from_template(stream)
                for packet in source.demux():
                    # priming samples of the audio encoder belong to the first repetition only
                    is_priming = packet.stream.type == "audio" and number and (packet.pts or 0) < 0
                    if packet.pts is None or packet.dts is None or is_priming:
                        continue
                    offset = round(number * seconds / packet.time_base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)


@dataclass(frozen=True)
class Run:
    """A transcription in a fresh process."""

    seconds: float
    cpu_seconds: float
    memory: float
    """Peak, MB."""
    words: list[dict[str, Any]]


def transcribe(video: Path, out: Path) -> Run:
    """Transcribe a file in a new process; the figures include its start."""
    command = [sys.executable, "-m", "avsr", "transcribe", str(video), "-o", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    words = json.loads(out.read_text("utf-8"))["words"]
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, words)


def same_words(
    alone: list[dict[str, Any]], joined: list[dict[str, Any]], count: int, seconds: float
) -> tuple[int, int]:
    """Count the words that are the same in the short file and in the repetitions.

    Words that begin or end within 1 s of a join are ignored.

    Returns:
        Number of equal words, and number of words.
    """

    def inner(words: list[dict[str, Any]], start: float) -> list[str]:
        first, last = start + NEAR_A_CUT, start + seconds - NEAR_A_CUT
        return [word["text"] for word in words if first <= word["start"] and word["end"] <= last]

    expected, same = inner(alone, 0.0), 0
    for number in range(count):
        actual = inner(joined, number * seconds)
        matcher = difflib.SequenceMatcher(None, expected, actual, autojunk=False)
        same += sum(block.size for block in matcher.get_matching_blocks())
    return same, len(expected) * count


def measure(runs: int, short: float, long: float) -> dict[str, Any]:
    """Return medians of several runs with files of about ``short`` and ``long`` minutes."""
    count = max(2, round(long / short))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = make_part(folder / "part.mp4", 60 * short)
        join(folder / "part.mp4", count, seconds, folder / "joined.mp4")
        alone = [transcribe(folder / "part.mp4", folder / "part.json") for _ in range(runs)]
        joined = [transcribe(folder / "joined.mp4", folder / "joined.json") for _ in range(runs)]
    same, words = same_words(alone[0].words, joined[0].words, count, seconds)

    def both(value: Callable[[Run], float]) -> tuple[float, float]:
        return statistics.median(map(value, alone)), statistics.median(map(value, joined))

    wall, cpu = both(lambda run: run.seconds), both(lambda run: run.cpu_seconds)
    memory = both(lambda run: run.memory)
    return {
        "case": f"avsr transcribe, {SIZE[0]}x{SIZE[1]}, one file of {seconds:.0f} s, and one of"
        f" {count} such parts",
        "seconds_short": round(wall[0], 1),
        "seconds_long": round(wall[1], 1),
        "time_to_linear": round(wall[1] / (count * wall[0]), 3),
        "cpu_time_to_linear": round(cpu[1] / (count * cpu[0]), 3),
        "ratio_to_real_time": round(wall[1] / (count * seconds), 3),
        "memory_short_mb": round(memory[0]),
        "memory_long_mb": round(memory[1]),
        "memory_ratio": round(memory[1] / memory[0], 3),
        "words": words,
        "same_words": round(same / max(1, words), 4),
    }
