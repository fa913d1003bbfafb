"""Hooks that let the caller of a network stop it while it computes."""

from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from avsr.encoder.frontend import ResidualBlock
from avsr.encoder.transformer import EncoderLayer
from avsr.runtime.progress import check_cancelled


def add_cancel_hooks(network: nn.Module) -> list[RemovableHandle]:
    """Call ``check_cancelled`` before each encoder layer and each block of the visual front end.

    The listener of ``avsr.runtime.progress`` may raise there, which ends the forward pass. Networks
    without such modules, as those that onnxruntime runs, get no hooks.

    Args:
        network: An AVSRModel for inference.

    Returns:
        The handles by which the hooks can be removed again.
    """
    return [
        module.register_forward_pre_hook(_check)
        for module in network.modules()
        if isinstance(module, EncoderLayer | ResidualBlock)
    ]


def _check(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    check_cancelled()
