"""What a trained model came from, for ``training.json`` in its directory."""

import dataclasses
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avsr.training.config import TrainConfig

PACKAGES = ("avsr", "torch", "lightning", "numpy", "sentencepiece")


def provenance(config: TrainConfig) -> dict[str, Any]:
    """The resolved settings, the seed among them, versions, and the commit of a checkout."""
    return {
        "config": dataclasses.asdict(config),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "commit": git_commit(Path(__file__).parent),
    }


def git_commit(folder: Path) -> str | None:
    """Commit that a folder of a git checkout is at, with ``+changes`` if it has some."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes else "")
