"""Time and memory of encoder and search in every precision, compared with plain PyTorch.

The weights are random, the clip has 10 s (250 frames) of sound and lips. The search uses attention
alone, as the one of ``benchmarks/plain.py`` does: in fp32 the best hypotheses must be equal. Each
kind runs in a new process, one after the other, with its files in the page cache. Figures:

- ``ratio``: to ``plain``.
- ``used_mb``: memory above that of the imports after every weight was used; ``clip_mb``: the same
  after the first clip; ``process_mb``: memory of the whole process then.
- ``difference``: of the encoder's output to the plain one's, relative to its norm.
- ``of_floor``: ratio to the least time on this machine. That is the operations at the rate of a
  large matrix product of the same kind, or the weights and keys at the rate of a sum, whichever is
  longer. Attention in the encoder is always counted as fp32, and operations on the padding at the
  edges of images are counted though nothing computes them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from avsr.model.directory import load_directory
from benchmarks.floor import product_rate, sum_rate, timed

FRAMES = 250
TOKENS = 40
SIZES = ("tiny", "base", "large")
BEAMS = (20, 5)
KINDS = ("plain", "fp32", "bf16", "int8")
BYTES = {"plain": 4, "fp32": 4, "onnx": 4, "bf16": 2, "int8": 1}  # per weight
TIMES = ("frontend_seconds", "encoder_seconds", *(f"beam{beam}_token_ms" for beam in BEAMS))
MAKER = """
import sys
from pathlib import Path
import numpy as np
import torch
from avsr.decoder import Tokenizer
from avsr.interop import convert_model
from avsr.model.config import PRESETS
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
size, out, kinds = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
torch.manual_seed(0)
letters = np.random.default_rng(1).integers(97, 123, (5000, 6), np.uint8)
words = (bytes(row).decode() for row in letters)
config = PRESETS[size]
tokenizer = Tokenizer.train(words, config.vocabulary_size)
save_directory(AVSRModel(config, tokenizer), out / "fp32", card="Licence: none.\\n", half=False)
for kind in kinds:
    if kind in ("bf16", "int8"):
        convert_model(out / "fp32", out / kind, kind)
    elif kind == "onnx":
        from avsr.interop.onnx_export import export_onnx
        export_onnx(out / "fp32", out / kind)
"""


def write_models(size: str, folder: str, *kinds: str) -> None:
    """Write model directories of random weights, ``fp32`` and those of ``kinds``.

    Another process does it, so that the memory of this one does not change.
    """
    subprocess.run([sys.executable, "-c", MAKER, size, folder, *kinds], check=True)


def resident() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def examine(root: str, kind: str, threads: int, runs: int) -> dict[str, Any]:
    """Return the figures of one kind; ``plain``, the first, stores its output for the others."""
    import torch

    from avsr.hub import load_network
    from avsr.search import SearchOptions
    from benchmarks import plain

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    folder = Path(root) / ("fp32" if kind == "plain" else kind)
    random = torch.Generator().manual_seed(1)
    fbank = torch.randn(1, FRAMES, 104, generator=random)
    mouth = torch.randn(1, FRAMES, 88, 88, generator=random)
    lengths, language = torch.tensor([FRAMES]), torch.tensor([0])

    def search(beam: int, encoded: Any, length: int = TOKENS) -> list[int]:
        options = SearchOptions(
            beam_size=beam, ctc_weight=0.0, min_len=length, max_len_a=0.0, max_len_b=length
        )
        return list(model.decode(encoded, language, lengths, None, options)[0][0].tokens)

    before = resident()
    start = time.perf_counter()
    model = load_directory(folder) if kind == "plain" else load_network(folder, "cpu")
    figures: dict[str, Any] = {"load_seconds": time.perf_counter() - start}
    if kind == "plain":
        plain.lay_out(model)
        works: dict[str, Callable[[], Any]] = {
            "frontend_seconds": lambda: plain.encode_mouth(model, mouth),
            "encoder_seconds": lambda: plain.encode(model, fbank, mouth),
        }
    else:
        short = model.encode(fbank[:, :5], mouth[:, :5])
        model.language_logits(short), model.ctc_log_probs(short), search(1, short, 1)
        figures["used_mb"] = (resident() - before) / 1e6
        search(1, model.encode(fbank, mouth), 1)
        figures["clip_mb"] = (resident() - before) / 1e6
        figures["process_mb"] = resident() / 1e6
        works = {
            "frontend_seconds": lambda: model.encoder.frontend(mouth),
            "encoder_seconds": lambda: model.encode(fbank, mouth),
        }
    for name, work in works.items():
        figures[name], encoded = timed(work, runs)
    find = partial(plain.search, model, length=TOKENS) if kind == "plain" else search
    tokens = {}
    for beam in BEAMS:
        inputs = {"memory" if kind == "plain" else "encoded": encoded}
        seconds, tokens[beam] = timed(partial(find, beam=beam, **inputs), runs)
        figures[f"beam{beam}_token_ms"] = 1000 * seconds / TOKENS
    memory = encoded if kind == "plain" else encoded.memory
    if kind == "plain":
        torch.save((memory, tokens), Path(root) / "plain.pt")
    plain_memory, plain_tokens = torch.load(Path(root) / "plain.pt")
    figures["difference"] = float((memory - plain_memory).norm() / plain_memory.norm())
    for beam in BEAMS:
        figures[f"beam{beam}_same_tokens"] = tokens[beam] == plain_tokens[beam]
    return figures | of_floor(Path(root) / "fp32", kind, figures)


def of_floor(folder: Path, kind: str, figures: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of encoder and search step to their least times on this machine."""
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import plain

    rate, bandwidth = product_rate("fp32" if kind in ("plain", "onnx") else kind), sum_rate()
    model = load_directory(folder)
    with FlopCounterMode(display=False) as counter:
        plain.encode(model, torch.randn(1, FRAMES, 104), torch.randn(1, FRAMES, 88, 88))
    layers, dim = model.decoder.layers, model.config.decoder.dim
    modules = [module for layer in layers for module in layer.modules()]
    weights = sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))
    # keys and values of the memory are computed once; all other weights are read for every token
    weights -= 2 * len(layers) * model.config.encoder.dim * dim
    keys = 2 * len(layers) * (model.config.encoder.prompts + FRAMES) * dim
    result = {
        "encoder_of_floor": figures["encoder_seconds"] / (counter.get_total_flops() / rate),
        "gflop_per_second": rate / 1e9,
        "gb_per_second": bandwidth / 1e9,
    }
    for beam in BEAMS:
        step = max(2 * beam * (weights + keys) / rate, BYTES[kind] * (weights + keys) / bandwidth)
        result[f"beam{beam}_of_floor"] = figures[f"beam{beam}_token_ms"] / 1000 / step
    return result


def compare(folder: str, kinds: tuple[str, ...], threads: int, runs: int) -> dict[str, Any]:
    """Run each kind in a new process, ``plain`` first; return the figures by kind."""
    # without settings of malloc, freed memory is returned as usual
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    result: dict[str, Any] = {}
    for kind in kinds:
        code = (
            "import json; from benchmarks.network import examine\n"
            f"print(json.dumps(examine({folder!r}, {kind!r}, {threads}, {runs})))"
        )
        command = [sys.executable, "-c", code]
        process = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
        figures = json.loads(process.stdout.splitlines()[-1])
        base = result.get(kinds[0], figures)
        for name in TIMES:
            figures[f"{name.rpartition('_')[0]}_ratio"] = figures[name] / base[name]
        result[kind] = {n: round(v, 4) if isinstance(v, float) else v for n, v in figures.items()}
    return result


def measure(
    size: str, runs: int, threads: tuple[int, ...] = (1, 2), kinds: tuple[str, ...] = KINDS
) -> dict[str, Any]:
    """Return the figures by kind and number of threads."""
    result: dict[str, Any] = {"case": f"network, {size} size, random weights"}
    with tempfile.TemporaryDirectory() as folder:
        write_models(size, folder, *kinds)
        for number in threads:
            for kind, figures in compare(folder, kinds, number, runs).items():
                result[f"{kind}, {number} thread" + "s" * (number > 1)] = figures
    return result
