"""Large with random weights in fp32, bf16, int8 and ONNX: load, memory, encoder, decoder's step.

Everything is measured in a process of its own; ``plain`` is fp32 as PyTorch has it, without packed
layers. The clip is 10 s of sound and lips, the step that of 20 hypotheses, without the search.
``first_use`` is the first encoding and the first step, which put weights in order. ``resident_mb``
is what the process holds after that, above what it holds after its imports, ``process_mb`` all.
``difference`` is that of the features to the plain ones, as a share of their length. Files are in
the page cache.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KINDS = {  # name: directory, precision
    "plain": ("fp32", "fp32"),
    "fp32": ("fp32", "fp32"),
    "bf16": ("bf16", "bf16"),
    "int8": ("int8", "int8"),
    "bf16 of fp32": ("fp32", "bf16"),
    "int8 of fp32": ("fp32", "int8"),
    "onnx": ("onnx", "fp32"),
}
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
from avsr.interop.graphs import export_onnx
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
export_onnx(out / "fp32", out / "onnx")
"""
STEP = """
import json, resource, statistics, sys, time
from pathlib import Path
import torch
from avsr.model import AVSRModel
from benchmarks.precision import FRAMES, KINDS, ROWS, TOKENS
from avsr.onnxmodel import load_onnx
root, kind, runs, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def timed(work, number):
    seconds = []
    for _ in range(number):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result
def load():
    directory, precision = KINDS[kind]
    if kind == "onnx":
        return load_onnx(root / directory)
    return AVSRModel.load(root / directory, precision, packed=kind != "plain")
imported = resident()
loading, model = timed(load, 1)
loaded = resident()
torch.manual_seed(1)
fbank, mouth = torch.randn(1, FRAMES, 104), torch.randn(1, FRAMES, 88, 88)
def begin():
    output = model.encode(fbank, mouth)
    state = model.decoder.start(output.memory, None, torch.zeros(1, dtype=torch.int64))
    _, state = model.decoder.step(torch.tensor([5]), state)
    return output, state
with torch.inference_mode():
    first_use, (output, state) = timed(begin, 1)
    used = resident()
    tokens = torch.full((ROWS,), 5)
    state = state.select(torch.zeros(ROWS, dtype=torch.int64))
    for _ in range(TOKENS):
        _, state = model.decoder.step(tokens, state)
    found = {
        "load_seconds": loading,
        "loaded_mb": (loaded - imported) / 1e6,
        "first_use_seconds": first_use,
        "resident_mb": (used - imported) / 1e6,
        "process_mb": used / 1e6,
        "frontend_seconds": timed(lambda: model.encoder.frontend(mouth), runs)[0],
        "encoder_seconds": timed(lambda: model.encode(fbank, mouth), runs)[0],
        "step_seconds": timed(lambda: model.decoder.step(tokens, state), 5 * runs)[0],
    }
features = root / "features.pt"
if kind == "plain":
    torch.save(output.features, features)
wanted = torch.load(features)
found["difference"] = float((output.features - wanted).norm() / wanted.norm())
print(json.dumps(found))
"""
RATIOS = ("frontend_seconds", "encoder_seconds", "step_seconds", "resident_mb")


def run(root: Path, kind: str, runs: int, threads: int) -> dict[str, float]:
    """What STEP measures, in a fresh process that gives freed memory back as is usual."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", STEP, str(root), kind, str(runs), str(threads)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=kept)
    return json.loads(process.stdout)


def measure(runs: int, *, size: str = "large", threads: int | None = None) -> dict[str, Any]:
    """Seconds, megabytes, and ratios to plain fp32, by precision."""
    threads = threads or len(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "case": f"precision: {size}, random weights, {FRAMES} frames, step of {ROWS} rows",
        "threads": threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKER, folder, size], check=True)
        plain: dict[str, float] = {}
        for kind in KINDS:
            found = run(Path(folder), kind, runs, threads)
            plain = plain or found
            ratios = {f"{key.partition('_')[0]}_ratio": found[key] / plain[key] for key in RATIOS}
            result[kind] = {key: round(value, 4) for key, value in (found | ratios).items()}
    return result
