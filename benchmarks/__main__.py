"""Run benchmarks: a table on stderr, JSON on stdout."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import (
    batch,
    check,
    demo,
    evaluation,
    faces,
    imports,
    joined,
    language_id,
    loader,
    long,
    media,
    network,
    page,
    prepare,
    readability,
    siege,
    sync,
    training,
    transcribe,
)

CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "transcribe": transcribe.measure,
    "media": media.measure,
    "batch": batch.measure,
    "prepare": prepare.measure,
    "loader": loader.measure,
    "training": training.measure,
    "long": long.measure,
    "evaluation": evaluation.measure,
    "faces": faces.measure,
    "sync": sync.measure,
    "check": check.measure,
    "readability": readability.measure,
    "grid": joined.grid,
    "switch": joined.switch,
    "demo": demo.measure,
    **{f"network-{size}": partial(network.measure, size) for size in network.SIZES},
    **{
        f"onnx-{size}": partial(network.measure, size, kinds=("plain", "onnx"))
        for size in network.SIZES
    },
    "page": page.measure,
    "siege": siege.measure,
    "language-id": language_id.measure,
    **{f"import-{size}": partial(imports.measure, size) for size in imports.SIZES},
}


def main() -> None:
    """Run the cases of the command line and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "case", nargs="*", help=f"cases to run: {', '.join(CASES)}; default: transcribe"
    )
    parser.add_argument(
        "--runs", type=int, help="runs of each case; default: 3 (long: 1); medians are printed"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        nargs=2,
        default=(5.0, 60.0),
        metavar=("SHORT", "LONG"),
        help="case long: lengths of the two files; default: 5 60",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=(1, 2),
        help="cases network, onnx and language-id: numbers of threads; default: 1 2",
    )
    parser.add_argument(
        "--against", metavar="CHECKOUT", help="case training: another checkout to compare with"
    )
    parser.add_argument(
        "--users", type=int, default=8, help="cases demo and siege: number of users; default: 8"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="cases demo and siege: duration in seconds; default: 180, siege: 60",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.case) - set(CASES))
    if unknown:
        parser.error(f"unknown case '{unknown[0]}': use one of {', '.join(CASES)}")
    short, whole = arguments.minutes
    cases = CASES | {
        "demo": partial(demo.measure, users=arguments.users, seconds=arguments.seconds or 180),
        "siege": partial(siege.measure, users=arguments.users, seconds=arguments.seconds or 60),
        **{
            name: partial(case, threads=tuple(arguments.threads))
            for name, case in CASES.items()
            if name.startswith(("network-", "onnx-", "language-id"))
        },
        "training": partial(training.measure, against=arguments.against),
        "long": partial(long.measure, short=short, long=whole),
    }
    for case in arguments.case or ["transcribe"]:
        runs = arguments.runs or (1 if case == "long" else 3)
        result = cases[case](runs) | {
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
        }
        for name, value in result.items():
            print(f"{name:34} {value}", file=sys.stderr)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
