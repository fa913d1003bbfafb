"""Files of weights in the folder of a run: written whole, and read back with a look for damage."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from avsr.errors import ConfigError
from avsr.runtime.atomic_files import make_folder, replace_bytes

LAST = "last.ckpt"
FINAL = "final.pt"  # the weights that a stage ends with
NEEDED = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks")

logger = logging.getLogger(__name__)


class BrokenFileError(ConfigError):
    """A file of weights is empty, cut short, or something else."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place; Lightning's own go through ``TMPDIR``, on any disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, which appears when it is complete; WriteError if that fails."""
        make_folder(Path(path).parent)
        save_tensors(checkpoint, Path(path))


def save_tensors(content: Any, path: Path) -> None:
    """Write what ``torch.save`` can; the file appears when it is complete.

    Raises:
        WriteError: It cannot be written.
    """
    buffer = io.BytesIO()  # an error while torch writes a file has no reason
    torch.save(content, buffer)
    replace_bytes(path, buffer.getbuffer())


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what ``save_tensors`` wrote, on the CPU.

    Raises:
        BrokenFileError: The file is damaged.
        ConfigError: It cannot be opened.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # by the kind of damage: EOFError, RuntimeError, UnpicklingError...
        reason = " ".join(str(error).split()).partition(". ")[0] or "it is empty"
        raise BrokenFileError(f"{path} is broken ({reason})") from error
    if not isinstance(content, dict):
        raise BrokenFileError(f"{path} is broken (it holds no weights)")
    return content


def step_checkpoints(folder: Path) -> list[Path]:
    """Return the numbered checkpoints of a stage, the oldest first."""
    numbers = {path: re.fullmatch(r"step=(\d+)\.ckpt", path.name) for path in folder.glob("*.ckpt")}
    steps = {path: int(match[1]) for path, match in numbers.items() if match}
    return sorted(steps, key=lambda path: steps[path])


def find_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """Return the newest whole checkpoint of a stage and its step; (None, 0) if there is none.

    One line is logged if a newer one is broken.
    """
    broken = ""
    for path in (folder / LAST, *reversed(step_checkpoints(folder))):
        if not path.exists():
            continue
        try:
            content = load_tensors(path)
        except BrokenFileError as error:
            broken = broken or str(error)
            continue
        if missing := [name for name in NEEDED if name not in content]:
            broken = broken or f"{path} is broken (it has no {missing[0]})"
            continue
        if broken:
            logger.warning("%s: training goes on from %s", broken, path.name)
        return path, int(content["global_step"])
    if broken:
        logger.warning("%s, and no other checkpoint is whole: the stage begins anew", broken)
    return None, 0


def load_final(path: Path, network: torch.nn.Module) -> bool:
    """Load the weights that a stage has ended with into the network.

    Returns:
        Whether that was possible; one line is logged if the file is broken.
    """
    if not path.exists():
        return False
    expected = {name: value.shape for name, value in network.state_dict().items()}
    try:
        state = load_tensors(path)
        if {name: getattr(value, "shape", None) for name, value in state.items()} != expected:
            raise BrokenFileError(f"{path} is broken (it holds another network)")
    except BrokenFileError as error:
        logger.warning("%s: it is made anew from the last checkpoint", error)
        return False
    network.load_state_dict(state)
    return True
