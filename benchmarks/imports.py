"""Import and load random AV-HuBERT files of real size: memory, and time compared with a pickle.

Every step runs in a fresh process. Memory is the peak of the process minus its memory after the
imports, pages of mapped files included; every loaded weight is used once, after the time is taken.
Files are in the page cache when they are read. Sizes with ``-half`` are stored in fp16 and computed
in fp32.
"""

import dataclasses
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = ("base", "large", "muavic", "base-half", "large-half")
UNITS = 2004  # rows of the label embeddings of pre-training, which are 256 wide
STEP = """
import json, resource, sys, time
from pathlib import Path
import torch
from avsr.hub import load_network
from avsr.interop import import_model
from avsr.layers.linear import PackedLinear
source, out = Path(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
start = time.perf_counter()
if sys.argv[1] == "import":
    import_model(source, out)
elif sys.argv[1] == "load":
    model = load_network(out, "cpu")
else:
    torch.load(source, weights_only=True)
seconds = time.perf_counter() - start
if sys.argv[1] == "load":
    sum(float(weight.detach().sum()) for weight in model.parameters())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, PackedLinear):
                module(torch.zeros(1, module.unpacked.shape[1]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(json.dumps({"seconds": seconds, "bytes": peak}))
"""


def foreign_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a fine-tuned checkpoint.

    Args:
        size: ``base`` or ``large`` of AV-HuBERT, or ``muavic``: encoder of Large, decoder of Base.
    """
    from avsr.interop.key_table import PREFIX, foreign_name
    from avsr.model.config import PRESETS
    from avsr.model.network import AVSRModel

    sizes = PRESETS["base" if size == "base" else "large"]
    if size == "muavic":
        sizes = dataclasses.replace(sizes, decoder=PRESETS["base"].decoder)
    weights = AVSRModel.on_meta(sizes).state_dict()
    shapes = {PREFIX + "mask_emb": (104,), PREFIX + "label_embs_concat": (UNITS, 256)}
    for name, weight in weights.items():
        theirs = foreign_name(name)
        if theirs is not None:
            shapes[theirs] = tuple(weight.shape)
    return shapes | {"decoder.embed_positions._float_tensor": (1,)}


def write_checkpoint(size: str, folder: Path) -> Path:
    """Write a checkpoint of random weights, and a tokenizer of 1,000 pieces beside it."""
    size, half = size.removesuffix("-half"), size.endswith("-half")
    import numpy as np
    import torch

    from avsr.decoder import Tokenizer
    from avsr.model.config import PRESETS

    heads = PRESETS["base" if size == "base" else "large"].encoder.heads
    decoder_heads = 8 if size == "large" else 4
    inner = {"layer_norm_first": True, "encoder_attention_heads": heads}
    settings = {
        "w2v_args": {"model": inner},
        "decoder_attention_heads": decoder_heads,
        "decoder_normalize_before": True,
        "share_decoder_input_output_embed": True,
    }
    random = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in foreign_shapes(size).items():
        if re.search("num_batches_tracked$", name):
            weights[name] = torch.ones(shape, dtype=torch.int64)
        else:
            weight = torch.rand(shape, generator=random).mul_(0.1)
            weights[name] = weight.half() if half else weight
    torch.save({"cfg": {"model": settings}, "model": weights}, folder / "model.pt")
    letters = np.random.default_rng(1).integers(97, 123, (5000, 6), np.uint8)
    words = (bytes(row).decode() for row in letters)
    (folder / "tokenizer.model").write_bytes(Tokenizer.train(words, 1000).model)
    return folder / "model.pt"


def run(step: str, source: Path, out: Path) -> dict[str, float]:
    """Run one step in a new process; return its seconds and bytes."""
    command = [sys.executable, "-c", STEP, step, str(source), str(out)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(process.stdout)


def measure(size: str, runs: int) -> dict[str, Any]:
    """Return ratios to the size of the file, and to the time of unpickling."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in another process, whose memory this one does not inherit
        maker = f"from benchmarks.imports import *; write_checkpoint({size!r}, Path({name!r}))"
        subprocess.run([sys.executable, "-c", maker], check=True)
        source, out = folder / "model.pt", folder / "model"
        imported = run("import", source, out)
        loads = [run("load", source, out) for _ in range(runs)]
        pickles = [run("unpickle", source, out) for _ in range(runs)]
        size_in_bytes = source.stat().st_size
    load, unpickle = (statistics.median(r["seconds"] for r in rows) for rows in (loads, pickles))
    return {
        "case": f"import and load, {size} size, random weights",
        "file_mb": round(size_in_bytes / 1e6),
        "import_seconds": round(imported["seconds"], 2),
        "import_memory_of_file": round(imported["bytes"] / size_in_bytes, 2),
        "load_memory_of_file": round(max(r["bytes"] for r in loads) / size_in_bytes, 2),
        "load_seconds": round(load, 3),
        "unpickle_seconds": round(unpickle, 3),
        "unpickle_memory_of_file": round(max(r["bytes"] for r in pickles) / size_in_bytes, 2),
        "load_times_faster": round(unpickle / load, 1),
    }
