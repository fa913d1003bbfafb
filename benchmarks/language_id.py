"""Language identification of the true size (VoxLingua107), with random weights: speed and memory.

Each figure comes from a new process. ``times_real_time`` is seconds of sound by seconds of work,
``cpu`` by seconds of computing in all threads, which other programs on the machine change less:
of the network alone on one piece of speech, and of a whole file with decoding, speech detection,
filterbank and network. The files are sentences of synthetic voices with pauses.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

MINUTES = (2, 20)
PAUSE = 0.7  # s
LABELS = 107
MAKER = """
import sys
from pathlib import Path
import torch
from avsr.language.ecapa import Ecapa, EcapaConfig
from avsr.model.ecapa_directory import write_ecapa
torch.manual_seed(0)
labels = tuple(f"label {i}" for i in range(int(sys.argv[2])))
config = EcapaConfig(labels=labels, languages=labels)
write_ecapa(Path(sys.argv[1]), config, Ecapa(config).state_dict(), "Licence: none.\\n")
"""


def write_talk(path: Path, seconds: float) -> float:
    """Write sentences with pauses; return the seconds of the file."""
    import numpy as np

    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.rates import SAMPLE_RATE
    from avsr.synthetic import make_utterance

    length = index = 0
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        while length < seconds * SAMPLE_RATE:
            language = MUAVIC_LANGUAGES[index % len(MUAVIC_LANGUAGES)]
            waveform = make_utterance(1, "test", language, index).waveform
            waveform = np.pad(waveform, (0, round(PAUSE * SAMPLE_RATE)))
            file.writeframes((waveform * 32767).astype("<i2").tobytes())
            length, index = length + len(waveform), index + 1
    return length / SAMPLE_RATE


def examine(folder: str, file: str, threads: int, runs: int) -> dict[str, float]:
    """Return seconds and peak memory (MB) of this process for a file, or for the network alone."""
    import resource

    import numpy as np
    import torch

    from avsr.recognition.language_id import (
        PIECE_SECONDS,
        ecapa_probabilities,
        identify_file,
        load_language_model,
    )
    from avsr.recognition.options import TranscribeOptions

    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = load_language_model(folder, "cpu")
    figures = {"load_seconds": time.perf_counter() - start}
    noise = np.random.default_rng(1).normal(0, 0.1, round(PIECE_SECONDS * 16_000))
    piece = noise.astype(np.float32)
    ecapa_probabilities(model, piece)  # type: ignore[arg-type]  # lays the weights out
    if file:
        work: Callable[[], object] = lambda: identify_file(model, file, TranscribeOptions())  # noqa: E731
    else:
        work = lambda: ecapa_probabilities(model, piece)  # type: ignore[arg-type]  # noqa: E731
    times, cpu_times = [], []
    for _ in range(runs):
        start, cpu_start = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu_start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures |= {"seconds": statistics.median(times), "cpu_seconds": statistics.median(cpu_times)}
    return figures | {"memory_mb": memory}


def run(folder: Path, file: Path | None, threads: int, runs: int) -> dict[str, float]:
    """Return what ``examine`` returns in a new process."""
    code = (
        "import json; from benchmarks.language_id import examine\n"
        f"print(json.dumps(examine({str(folder)!r}, {str(file or '')!r}, {threads}, {runs})))"
    )
    process = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def measure(runs: int, threads: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    """Return the figures by number of threads."""
    from avsr.recognition.language_id import PIECE_SECONDS

    result: dict[str, Any] = {"case": "language ID, VoxLingua107's size, random weights"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", MAKER, name, str(LABELS)], check=True)
        talks = [(folder / f"{m}.wav", write_talk(folder / f"{m}.wav", 60 * m)) for m in MINUTES]
        for number in threads:
            network = run(folder, None, number, 5 * runs)
            figures = {
                "load_seconds": network["load_seconds"],
                "network_times_real_time": PIECE_SECONDS / network["seconds"],
                "network_cpu_times_real_time": PIECE_SECONDS / network["cpu_seconds"],
            }
            for minutes, (path, seconds) in zip(MINUTES, talks, strict=True):
                whole = run(folder, path, number, runs)
                part = f"file_{minutes}_minutes"
                figures[f"{part}_times_real_time"] = seconds / whole["seconds"]
                figures[f"{part}_cpu_times_real_time"] = seconds / whole["cpu_seconds"]
                figures[f"{part}_memory_mb"] = whole["memory_mb"]
            result[f"{number} thread" + "s" * (number > 1)] = {
                name: round(value, 2) for name, value in figures.items()
            }
    return result
