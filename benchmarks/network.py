"""Encoder, search and loading with random weights, against the plain way in the same process.

A clip of 10 s (250 frames) with sound and lips. The search is by attention alone, in which the
plain one is the same: the best hypothesis of both must be equal. ``floor`` is the time that the
operations, or reading the weights and keys, would take at what a large matrix product and a sum
reach on this machine; ``of floor`` is how many times longer it takes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FRAMES = 250
TOKENS = 40
SIZES = ("tiny", "base", "large")
BEAMS = (20, 5)


def timed(function: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Median of the seconds after a first run, and what came out."""
    taken, result = [], function()
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), result


def machine() -> tuple[float, float]:
    """Operations a second of a product of 1024 x 1024 in fp32, and bytes a second of a sum."""
    import torch

    a, b = torch.randn(1024, 1024), torch.randn(1 << 26)
    product, _ = timed(lambda: a @ a, 9)
    total, _ = timed(b.sum, 9)
    return 2 * 1024**3 / product, 4 * len(b) / total


def write_model(size: str, folder: Path) -> None:
    """A model directory of random weights in fp32."""
    import numpy as np
    import torch

    from avsr.decoder import Tokenizer
    from avsr.model import PRESETS, AVSRModel

    torch.manual_seed(0)
    letters = np.random.default_rng(1).integers(97, 123, (5000, 6), np.uint8)
    spoken = (bytes(row).decode() for row in letters)
    config = PRESETS[size]
    tokenizer = Tokenizer.train(spoken, config.vocabulary_size)
    AVSRModel(config, tokenizer).save(folder, card="random weights", half=False)


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def compare(folder: str, threads: int, runs: int) -> dict[str, Any]:
    """All figures of one size, with so many threads."""
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    from avsr.model import AVSRModel, load_model
    from avsr.search import SearchOptions
    from benchmarks import plain

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    before = resident()
    start = time.perf_counter()
    model = load_model(folder, "cpu")
    loading = time.perf_counter() - start
    random = torch.Generator().manual_seed(1)
    fbank = torch.randn(1, FRAMES, 104, generator=random)
    mouth = torch.randn(1, FRAMES, 88, 88, generator=random)
    model.encode(fbank, mouth)
    lengths, language = torch.tensor([FRAMES]), torch.tensor([0])

    def search(beam: int) -> list[int]:
        options = SearchOptions(
            beam_size=beam, ctc_weight=0.0, min_len=TOKENS, max_len_a=0.0, max_len_b=TOKENS
        )
        found = model.decode(encoded, language, lengths, None, options)
        return list(found[0][0].tokens)

    seconds, encoded = timed(lambda: model.encode(fbank, mouth), runs)
    found = {beam: timed(partial(search, beam), runs) for beam in BEAMS}
    used = resident() - before

    base = AVSRModel.load(folder)
    for module in base.encoder.frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data = module.weight.data.contiguous()
    plain_seconds, memory = timed(lambda: plain.encode(base, fbank, mouth), runs)
    rate, bandwidth = machine()
    with FlopCounterMode(display=False) as counter:
        plain.encode(base, fbank, mouth)
    floor = counter.get_total_flops() / rate
    result = {
        "load_seconds": loading,
        "used_mb": used / 1e6,
        "encoder_seconds": seconds,
        "encoder_plain_seconds": plain_seconds,
        "encoder_ratio": seconds / plain_seconds,
        "encoder_of_floor": seconds / floor,
        "encoder_difference": float((encoded.memory - memory).abs().max()),
    }
    for beam, (taken, tokens) in found.items():
        base_taken, expected = timed(partial(plain.search, base, memory, beam, TOKENS), runs)
        layers = [m for layer in base.decoder.layers for m in layer.modules()]
        weights = sum(m.weight.numel() for m in layers if isinstance(m, nn.Linear))
        # Keys and values of the memory are made once; the rest is read for every token.
        weights -= 2 * len(base.decoder.layers) * base.config.encoder.dim * base.config.decoder.dim
        keys = 2 * len(base.decoder.layers) * memory.shape[1] * base.config.decoder.dim
        step = max(2 * beam * (weights + keys) / rate, 4 * (weights + keys) / bandwidth)
        result |= {
            f"beam{beam}_token_ms": 1000 * taken / TOKENS,
            f"beam{beam}_plain_token_ms": 1000 * base_taken / TOKENS,
            f"beam{beam}_ratio": taken / base_taken,
            f"beam{beam}_of_floor": taken / TOKENS / step,
            f"beam{beam}_same_tokens": tokens == expected,
        }
    return result | {"gflop_per_second": rate / 1e9, "gb_per_second": bandwidth / 1e9}


def measure(size: str, runs: int, threads: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    """A process for each number of threads."""
    figures: dict[str, Any] = {"case": f"encoder and search, {size} size, random weights, fp32"}
    with tempfile.TemporaryDirectory() as folder:
        maker = f"from benchmarks.network import *; write_model({size!r}, Path({folder!r}))"
        subprocess.run([sys.executable, "-c", maker], check=True)
        for number in threads:
            code = (
                "import json; from benchmarks.network import compare\n"
                f"print(json.dumps(compare({folder!r}, {number}, {runs})))"
            )
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            for name, value in json.loads(done.stdout).items():
                shown = round(value, 3) if isinstance(value, float) and value > 0.001 else value
                figures[f"{name}, {number} thread" + "s" * (number > 1)] = shown
    return figures
