"""Transcribe a 10 s clip of 1280x720 in a new process: time, peak memory, time per stage.

The clip is a synthetic talking head, so nothing is downloaded. The ratio is to real time.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SECONDS = 10
STAGES = """
import json, sys, time
marks = [("start", time.perf_counter())]
def mark(name):
    marks.append((name, time.perf_counter()))
from avsr.hub import load_network
from avsr.recognition.inference import recognize
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording
mark("import")
model = load_network(device="cpu")
mark("load the model")
recording = read_recording(sys.argv[1])
mark("decode and crop")
recognize(model.network, [recording], TranscribeOptions())
mark("encoder and search")
print(json.dumps({b[0]: b[1] - a[1] for a, b in zip(marks, marks[1:])}))
"""


def make_clip(path: Path) -> None:
    """Write a talking head of 10 s at 1280x720 and 25 fps."""
    import numpy as np

    from avsr.media import write_video
    from avsr.rates import FPS, SAMPLE_RATE
    from avsr.synthetic import faces, make_utterance, visemes

    sound: list[np.ndarray] = []
    frames: list[np.ndarray] = []
    index = 0
    while len(frames) < SECONDS * FPS:
        utterance = make_utterance(1, "test", "en", index)
        rng = np.random.default_rng(0)  # the same person all the time
        trajectory = visemes.mouth_trajectory(utterance.phones, utterance.num_frames, rng)
        identity = faces.make_identity("test-000")
        frames += faces.render_frames(
            identity, trajectory, np.random.default_rng(1), size=(1280, 720)
        )
        sound.append(utterance.waveform)
        index += 1
    waveform = np.concatenate(sound)[: SECONDS * SAMPLE_RATE]
    write_video(path, frames[: SECONDS * FPS], waveform=waveform)


def run(command: list[str]) -> tuple[float, float, str]:
    """Run a command; return wall-clock seconds, peak memory in MB, and its output."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024, output


def measure(runs: int) -> dict[str, Any]:
    """Return medians of several runs."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip)
        command = [sys.executable, "-m", "avsr", "transcribe", str(clip), "--device", "cpu"]
        whole = [run(command) for _ in range(runs)]
        parts = [json.loads(run([sys.executable, "-c", STAGES, str(clip)])[2]) for _ in range(runs)]
    return {
        "case": f"avsr transcribe, {SECONDS} s of 1280x720, bundled model, fresh process",
        "seconds": round(statistics.median(seconds for seconds, _, _ in whole), 2),
        "ratio_to_real_time": round(statistics.median(s for s, _, _ in whole) / SECONDS, 3),
        "peak_memory_mb": round(max(memory for _, memory, _ in whole)),
        "stages": {
            name: round(statistics.median(part[name] for part in parts), 2) for name in parts[0]
        },
    }
