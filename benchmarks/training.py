"""Utterances per second and losses in the longest stage of the bundled model's recipe.

Runs ``avsr train`` with one loader worker on a small corpus of talking heads, starting from the
bundled model; the first steps are not measured. ``--against CHECKOUT`` also measures another
checkout of this project, for example from before a change, alternating with this one; ``ratio`` is
this one's rate over the other's. Losses differ a little if a checkout draws the random numbers of
dropout in another order. ``of_floor`` is the ratio of a step's time to that of its matrix products
and convolutions at the rate of a large bf16 product.
"""

import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

UTTERANCES = 450
UPDATES, WARM, COUNTED = 24, 4, 3
HERE = Path(__file__).resolve().parents[1]
TASKS = (  # the class that trains, newest first: another checkout has one of the others
    ("avsr.training.recognition_task", "RecognitionTask"),
    ("avsr.training.task", "AVSRTask"),
    ("avsr.training.module", "AVSRTask"),
)


def run(corpus: str, out: str) -> dict[str, Any]:
    """Train once with the imported ``avsr`` and its recipe; return rate and losses."""
    import yaml
    from torch.utils.flop_counter import FlopCounterMode

    import avsr
    from avsr.training.run import train

    root = Path(avsr.__file__).parents[1]
    recipe = yaml.safe_load((root / "recipes/synthetic/train.yaml").read_text())
    del recipe["init_frontend"], recipe["validation"]
    stage = recipe["stages"][0] | {"updates": UPDATES}
    recipe |= {"out": out, "init": "tiny", "corpora": [{"path": corpus}], "stages": [stage]}
    path = Path(out) / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    starts: list[tuple[float, int]] = []
    losses: list[float] = []
    task = task_class()
    training_step = task.training_step
    counter = FlopCounterMode(display=False)

    def measured_step(self: Any, batch: Any, index: int) -> Any:
        if len(starts) == 1:  # count operations in a few steps only: it takes time
            counter.__enter__()
        elif len(starts) == 1 + COUNTED:
            counter.__exit__(None, None, None)
        starts.append((time.perf_counter(), len(batch.lengths)))
        loss = training_step(self, batch, index)
        losses.append(round(loss.item(), 3))
        return loss

    task.training_step = measured_step
    train(path, workers=1)
    seconds = starts[-1][0] - starts[WARM][0]
    return {
        "utterances_per_second": sum(number for _, number in starts[WARM:-1]) / seconds,
        "seconds_per_step": seconds / (len(starts) - 1 - WARM),
        "gflop_per_step": counter.get_total_flops() / COUNTED / 1e9,
        "losses": losses,
    }


def task_class() -> Any:
    """Return the class of the imported ``avsr`` whose ``training_step`` trains a recognizer."""
    for module, name in TASKS:
        if importlib.util.find_spec(module) is not None:
            return getattr(importlib.import_module(module), name)
    raise RuntimeError("this checkout has none of the known training tasks")


def environment(folder: Path) -> dict[str, str]:
    """Return the variables with which Python imports a checkout, with its OpenMP setting."""
    files = [folder / "avsr/runtime/process.py", folder / "avsr/__main__.py"]  # now and earlier
    texts = [path.read_text() for path in files if path.is_file()]
    spins = re.search(r'^SPINS = "(\d+)"', "".join(texts), re.MULTILINE)
    openmp = {} if spins is None else {"GOMP_SPINCOUNT": spins[1]}
    return openmp | {"PYTHONPATH": str(folder.resolve())}


def measure(runs: int, against: str | None = None) -> dict[str, Any]:
    """Return medians over the runs, which alternate between the checkouts if there are two."""
    from benchmarks.floor import product_rate  # not at the top: another checkout may not have it

    states = {"this": HERE} if against is None else {"other": Path(against), "this": HERE}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in states}
    with tempfile.TemporaryDirectory() as name:
        from avsr.synthetic import synthesize

        corpus = Path(name) / "corpus"
        hours = UTTERANCES * 1.66 / 3600
        synthesize(corpus, hours=hours, valid_hours=0, clips=0, seed=1, workers=2)
        for number in range(runs):
            for state, folder in states.items():
                out = Path(name) / f"{state}{number}"
                out.mkdir()
                process = subprocess.run(
                    [sys.executable, "-P", __file__, str(corpus), str(out)],
                    env=os.environ | environment(folder),
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                results[state].append(json.loads(process.stdout.splitlines()[-1]))
    result: dict[str, Any] = {"case": f"avsr train, {UPDATES - WARM} steps of the recipe for tiny"}
    for state, figures in results.items():
        for figure in ("utterances_per_second", "seconds_per_step"):
            values = [run[figure] for run in figures]
            result[f"{state}_{figure}"] = round(statistics.median(values), 3)
        result[f"{state}_losses"] = figures[-1]["losses"]
    gflop = statistics.median(run["gflop_per_step"] for run in results["this"])
    rate = product_rate("bf16") / 1e9
    result |= {"gflop_per_step": round(gflop, 1), "gflop_per_second": round(rate, 1)}
    result["of_floor"] = round(result["this_seconds_per_step"] * rate / gflop, 2)
    if against is not None:
        pairs = zip(results["this"], results["other"], strict=True)
        ratios = [a["utterances_per_second"] / b["utterances_per_second"] for a, b in pairs]
        result["ratio"] = round(statistics.median(ratios), 3)
        result["ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


if __name__ == "__main__":
    print("\n" + json.dumps(run(*sys.argv[1:])))
