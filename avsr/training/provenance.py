"""Where a trained model comes from: settings, versions and commit, saved as ``training.json``."""

import dataclasses
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avsr.training.config import TrainConfig

PACKAGES = ("avsr", "torch", "lightning", "numpy", "sentencepiece")


def provenance(config: TrainConfig) -> dict[str, Any]:
    """Return the resolved settings (with the seed), package versions and the checkout's commit."""
    return {
        "config": dataclasses.asdict(config),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "commit": git_commit(Path(__file__).parent),
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit of the git checkout that ``folder`` is in, or None outside a checkout.

    ``+changes`` is appended if tracked files have uncommitted changes.
    """
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
