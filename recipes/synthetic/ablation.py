"""Ablation of the paper's method on an unbalanced corpus: the effect of CTC, gamma and prompts.

``python recipes/synthetic/ablation.py OUT [--updates N] [--seeds 1,2,3] [--hours H]`` makes the
corpus, trains every variant with every seed (two runs at a time, one thread each), scores all of
them on the same clips and prints Markdown tables. An interrupted ablation continues when it is
started again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("en", "es", "de", "ru", "ar")
SHARES = (60, 20, 10, 5, 5)
VARIANTS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "attention only": {"stage": {"ctc_loss_weight": 0.0}},
    "without gamma": {"stage": {"balance": False}},
    "without prompts": {"prompts": 0},
}
STAGE = {
    "optimizer": "muon",
    "warmup": 0.02,
    "decay": 0.95,
    "batch_frames": 800,
    "modalities": {"av": 0.7, "audio": 0.3},
    "ctc_loss_weight": 0.1,
    "language_loss_weight": 10.0,
    "guide_loss_weight": 0.2,
    "mask_probability": 0.0,
}


def recipe(out: Path, data: Path, variant: str, seed: int, updates: int) -> dict[str, Any]:
    """Return the training recipe of a variant.

    The encoder starts from the bundled model, as the paper's starts from AV-HuBERT; prompts,
    classifier, decoder and CTC head are new.
    """
    changes = VARIANTS[variant]
    stage = STAGE | changes.get("stage", {})
    return {
        "out": str(out),
        "preset": "tiny",
        "init_encoder": "avsr/assets/tiny",
        "languages": list(LANGUAGES),
        "vocabulary_size": 500,
        "seed": seed,
        "visual_variants": 0,
        "corpora": [{"path": str(data)}],
        "stages": [
            stage | {"name": "language", "train": "prompts", "updates": updates // 10},
            stage
            | {
                "name": "joint",
                "train": "frozen-frontend",
                "updates": updates,
                "learning_rate": 4e-4,
            },
        ],
    } | {key: value for key, value in changes.items() if key != "stage"}


def run(*command: str) -> None:
    """Run an avsr command with one thread; print its output if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "avsr", *command], env=environment, capture_output=True, text=True
    )
    if process.returncode:
        raise SystemExit(f"avsr {' '.join(command)} failed:\n{process.stdout}{process.stderr}")


def make_corpus(data: Path, hours: float) -> None:
    """Make unbalanced training utterances, and shards of balanced test clips.

    The vocabulary is small, so that a new decoder can learn it on two cores in an hour or two.
    """
    run(
        *("synthesize", str(data), "--languages", ",".join(LANGUAGES), "--hours", str(hours)),
        *("--shares", ",".join(map(str, SHARES)), "--clips", "40", "--seed", "31"),
        *("--words", "100", "--workers", "2"),
    )
    run("prepare", "synthetic", str(data), str(data / "shards"), "--workers", "2")


def share_features(out: Path, folder: Path) -> None:
    """Link the stored visual features of another run into ``folder``.

    All runs have the same visual front end and the same clips.
    """
    for features in out.glob("*/train-visual-????????????????.npy"):
        if not (folder / features.name).exists():
            os.link(features, folder / features.name)


def train_and_score(out: Path, data: Path, variant: str, seed: int, updates: int) -> dict[str, Any]:
    """Train and score one run, unless it has scores already, and return them."""
    folder = out / f"{variant.replace(' ', '-').replace(chr(39), '')}-{seed}"
    scores = folder / "scores"
    if not list(scores.glob("*/results.json")):
        folder.mkdir(parents=True, exist_ok=True)
        values = recipe(folder, data, variant, seed, updates)
        path = folder / "train.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        if not (folder / "model/config.json").exists():
            share_features(out, folder)
            run("train", str(path))
        weight = "0" if values["stages"][-1]["ctc_loss_weight"] == 0 else "0.3"
        model = ["--model", str(folder / "model"), "--ctc-weight", weight, "--out", str(scores)]
        # No language model, which would correct errors of the decoder. Audio and video are in sync.
        grid = ["--modality", "av", "--snr", "clean", "--lm-weight", "0", "--no-sync"]
        run("evaluate", str(data / "shards/test.jsonl"), *model, *grid)
    (path,) = scores.glob("*/results.json")
    print(f"{variant}, seed {seed}: done", file=sys.stderr, flush=True)
    return json.loads(path.read_text())["conditions"]["av-clean-auto"]


def table(results: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> str:
    """Format means and standard deviations over the seeds, in percent, as a Markdown table."""
    lines = ["| | " + " | ".join(LANGUAGES) + " | average |", "|---" * (len(LANGUAGES) + 2) + "|"]
    for variant, scores in results.items():
        cells = []
        for code in (*LANGUAGES, None):
            rates = [
                100 * (s["average"] if code is None else s["by_language"][code])[key]
                for s in scores
            ]
            spread = statistics.stdev(rates) if len(rates) > 1 else 0.0
            cells.append(f"{statistics.mean(rates):.1f} ± {spread:.1f}")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make the corpus, train and score all runs, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--hours", type=float, default=3.0, help="of training clips")
    parser.add_argument("--seeds", default="1,2,3")
    arguments = parser.parse_args()
    data = arguments.out / "data"
    if not (data / "shards/test.jsonl").exists():
        make_corpus(data, arguments.hours)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    jobs = [(variant, seed) for seed in seeds for variant in VARIANTS]

    def work(job: tuple[str, int]) -> dict[str, Any]:
        return train_and_score(arguments.out, data, job[0], job[1], arguments.updates)

    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(work, jobs))
    results = {
        variant: [run for job, run in zip(jobs, scores, strict=True) if job[0] == variant]
        for variant in VARIANTS
    }
    for title, key in (
        ("WER %", "wer"),
        ("CER %", "cer"),
        ("Language right %", "language_accuracy"),
    ):
        print(f"{title}\n\n{table(results, key)}\n")


if __name__ == "__main__":
    main()
