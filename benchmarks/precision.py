"""Large with random weights in fp32, bf16 and int8: load, memory, encoder, one step of the decoder.

Every precision has a process of its own, and so has a model directory that was stored in it. The
clip is 10 s of sound and lips; the step is the decoder's own, without the search, of 20 hypotheses.
``resident`` is what the process holds when everything was used once, above what it holds after its
imports. Files are in the page cache.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "bf16", "int8")
FRAMES = 250  # 10 s
ROWS = 20
TOKENS = 16  # of the hypotheses when the step is timed
MAKER = """
import sys
from pathlib import Path
import numpy as np
import torch
from avsr.decoder import Tokenizer
from avsr.interop import convert_model
from avsr.model import PRESETS, AVSRModel
torch.manual_seed(0)
out = Path(sys.argv[1])
letters = np.random.default_rng(1).integers(97, 123, (5000, 6), np.uint8)
words = (bytes(row).decode() for row in letters)
model = AVSRModel(PRESETS[sys.argv[2]])
model.tokenizer = Tokenizer.train(words, model.config.vocabulary_size)
model.save(out / "fp32", card="Licence: none.\\n", half=False)
for precision in ("bf16", "int8"):
    convert_model(out / "fp32", out / precision, precision)
"""
STEP = """
import json, resource, statistics, sys, time
from pathlib import Path
import torch
from avsr.model import AVSRModel
from benchmarks.precision import FRAMES, ROWS, TOKENS
folder, precision, runs, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def timed(work, number):
    seconds = []
    for _ in range(number):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
imported = resident()
start = time.perf_counter()
model = AVSRModel.load(folder, precision)
load = time.perf_counter() - start
loaded = resident()
torch.manual_seed(1)
fbank, mouth = torch.randn(1, FRAMES, 104), torch.randn(1, FRAMES, 88, 88)
with torch.inference_mode():
    output = model.encode(fbank, mouth)
    visual = model.encoder.frontend(mouth)
    state = model.decoder.start(output.memory, None, torch.zeros(1, dtype=torch.int64))
    tokens = torch.zeros(ROWS, dtype=torch.int64) + 5
    _, state = model.decoder.step(tokens[:1], state)
    state = state.select(torch.zeros(ROWS, dtype=torch.int64))
    for _ in range(TOKENS):
        _, state = model.decoder.step(tokens, state)
    used = resident()
    result = {
        "load_seconds": load,
        "loaded_mb": (loaded - imported) / 1e6,
        "resident_mb": (used - imported) / 1e6,
        "process_mb": used / 1e6,
        "frontend": timed(lambda: model.encoder.frontend(mouth), runs),
        "encoder": timed(lambda: model.encode(fbank, mouth), runs),
        "step": timed(lambda: model.decoder.step(tokens, state), 5 * runs),
        "features": float(output.features.norm()),
    }
print(json.dumps(result))
"""


def run(folder: Path, precision: str, runs: int, threads: int) -> dict[str, float]:
    """What STEP measures, in a fresh process that gives freed memory back as is usual."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", STEP, str(folder), precision, str(runs), str(threads)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=kept)
    return json.loads(process.stdout)


def measure(runs: int, *, size: str = "large", threads: int | None = None) -> dict[str, Any]:
    """Seconds, megabytes, and ratios to fp32, by precision."""
    threads = threads or len(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "case": f"precision: {size}, random weights, {FRAMES} frames, step of {ROWS} rows",
        "threads": threads,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", MAKER, name, size], check=True)
        plain: dict[str, float] = {}
        for precision in PRECISIONS:
            rows = run(folder / "fp32", precision, runs, threads)
            plain = plain or rows
            result[precision] = {key: round(value, 3) for key, value in rows.items()} | {
                f"{key}_of_fp32": round(rows[key] / plain[key], 3)
                for key in ("frontend", "encoder", "step", "resident_mb")
            }
            if precision != "fp32":
                stored = run(folder / precision, precision, 1, threads)
                keys = ("load_seconds", "loaded_mb", "resident_mb", "process_mb")
                result[f"{precision} stored so"] = {key: round(stored[key], 3) for key in keys}
    return result
