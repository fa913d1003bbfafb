"""Utterances a second in the longest stage of the recipe of the bundled model, and its losses.

``avsr train`` with one loader worker on a small corpus of talking heads, from the bundled model;
its first steps are left out. With ``--against CHECKOUT`` another state of this project, from before
a change for instance, is measured by turns with this one; ``ratio`` is this one's over that one's.
Dropout makes the losses differ a little where its numbers are drawn otherwise. ``of_floor`` is how
many times longer a step takes than its matrix products and convolutions at what a large product in
bf16 reaches.
"""

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
RECIPE = HERE / "recipes/synthetic/train.yaml"


def run(corpus: str, out: str) -> dict[str, Any]:
    """One run, by the ``avsr`` that is imported."""
    import yaml
    from torch.utils.flop_counter import FlopCounterMode

    from avsr.training.run import train
    from avsr.training.task import AVSRTask

    recipe = yaml.safe_load(RECIPE.read_text())
    stage = recipe["stages"][0] | {"updates": UPDATES}
    kept = {
        name: recipe[name] for name in ("seed", "visual_variants", "visual_corruption_probability")
    }
    changed = {"out": out, "init": "tiny", "corpora": [{"path": corpus}], "stages": [stage]}
    path = Path(out) / "recipe.yaml"
    path.write_text(yaml.safe_dump(kept | changed))
    begun: list[tuple[float, int]] = []
    losses: list[float] = []
    step = AVSRTask.training_step
    counter = FlopCounterMode(display=False)

    def watched(self: AVSRTask, batch: Any, index: int) -> Any:
        if len(begun) == 1:  # from here all of a step is counted, which takes time
            counter.__enter__()
        elif len(begun) == 1 + COUNTED:
            counter.__exit__(None, None, None)
        begun.append((time.perf_counter(), len(batch.lengths)))
        loss = step(self, batch, index)
        losses.append(round(loss.item(), 3))
        return loss

    AVSRTask.training_step = watched  # type: ignore
    train(path, workers=1)
    seconds = begun[-1][0] - begun[WARM][0]
    return {
        "utterances_per_second": sum(number for _, number in begun[WARM:-1]) / seconds,
        "seconds_per_step": seconds / (len(begun) - 1 - WARM),
        "gflop_per_step": counter.get_total_flops() / COUNTED / 1e9,
        "losses": losses,
    }


def environment(folder: Path) -> dict[str, str]:
    """What makes Python import a state, and what its command line asks of OpenMP."""
    spins = re.search(r'^SPINS = "(\d+)"', (folder / "avsr/__main__.py").read_text(), re.MULTILINE)
    asked = {} if spins is None else {"GOMP_SPINCOUNT": spins[1]}
    return asked | {"PYTHONPATH": str(folder.resolve())}


def measure(runs: int, against: str | None = None) -> dict[str, Any]:
    """Medians over the runs, of both states by turns if there are two."""
    from benchmarks.floor import product_rate  # not on top: another state's may have none

    states = {"this": HERE} if against is None else {"other": Path(against), "this": HERE}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in states}
    with tempfile.TemporaryDirectory() as name:
        from avsr.synthetic import synthesize

        corpus = Path(name) / "corpus"
        hours = UTTERANCES * 1.66 / 3600
        synthesize(corpus, hours=hours, valid_hours=0, clips=0, seed=1, workers=2)
        for number in range(runs):
            for state, folder in states.items():
                out = Path(name) / f"{state}{number}"
                out.mkdir()
                done = subprocess.run(
                    [sys.executable, "-P", __file__, str(corpus), str(out)],
                    env=os.environ | environment(folder),
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found[state].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {"case": f"avsr train, {UPDATES - WARM} steps of the recipe for tiny"}
    for state, figures in found.items():
        for figure in ("utterances_per_second", "seconds_per_step"):
            values = [one[figure] for one in figures]
            result[f"{state}_{figure}"] = round(statistics.median(values), 3)
        result[f"{state}_losses"] = figures[-1]["losses"]
    gflop = statistics.median(one["gflop_per_step"] for one in found["this"])
    rate = product_rate("bf16") / 1e9
    result |= {"gflop_per_step": round(gflop, 1), "gflop_per_second": round(rate, 1)}
    result["of_floor"] = round(result["this_seconds_per_step"] * rate / gflop, 2)
    if against is not None:
        pairs = zip(found["this"], found["other"], strict=True)
        ratios = [a["utterances_per_second"] / b["utterances_per_second"] for a, b in pairs]
        result["ratio"] = round(statistics.median(ratios), 3)
        result["ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


if __name__ == "__main__":
    print("\n" + json.dumps(run(*sys.argv[1:])))
