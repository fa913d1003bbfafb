"""The visual front end in memory layouts and portions that suit CPUs; see ``run_frontend``.

Inference on a CPU takes a few frames through several layers at a time: so few that what one layer
writes is still in the cache when the next one reads it, and that memory is not mapped anew every
time. ``frontend`` is always an ``avsr.encoder.VisualFrontend``; layers do not import a stage.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

EARLY_CHANNELS = 1024  # frames times width in the stem and the first EARLY_BLOCKS blocks
LATE_FRAMES = 64  # frames in the other blocks, whose weights are larger than their inputs
EARLY_BLOCKS = 4
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of dimensions


def use_channels_last(frontend: Any) -> None:
    """Store the weights of all convolutions channels last; needed again after an assignment."""
    for module in frontend.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            layout = CHANNELS_LAST[module.weight.dim()]
            module.weight.data = module.weight.data.contiguous(memory_format=layout)
    frontend.is_channels_last = True


def run_frontend(frontend: Any, mouth: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the front end's vector of every valid frame.

    Args:
        frontend: A VisualFrontend.
        mouth: (B, T, 88, 88) normalised mouths.
        valid: (B, T), False = padding; None where no frame is padding.

    Returns:
        (N, 8 * width) for the N valid frames.
    """
    if not frontend.is_channels_last:
        use_channels_last(frontend)
    whole = (
        frontend.training
        or torch.is_grad_enabled()
        or torch.compiler.is_exporting()
        or mouth.device.type != "cpu"
    )
    return _run_whole(frontend, mouth, valid) if whole else _run_chunks(frontend, mouth, valid)


def _run_whole(frontend: Any, mouth: Tensor, valid: Tensor | None) -> Tensor:
    """Layer by layer, channels last: pooling and the later convolutions are several times faster.

    (B, T, 88, 88) -> (N, 8 * width).
    """
    x = frontend.stem_act(frontend.stem_norm(frontend.stem(mouth.unsqueeze(1))))
    x = rearrange(x, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
    x = frontend.stem_pool(x)
    if valid is not None:
        x = x[valid.reshape(-1)].contiguous(memory_format=torch.channels_last)
    return frontend.blocks(x).mean((2, 3))


def _run_chunks(frontend: Any, mouth: Tensor, valid: Tensor | None) -> Tensor:
    """Chunk by chunk, for inference on a CPU: (B, T, 88, 88) -> (N, 8 * width)."""
    kernel = frontend.stem.kernel_size[0]
    before = kernel // 2
    # (B, T, 88, 88, 5): the frames that the stem combines, for a convolution in two dimensions.
    windows = F.pad(mouth, (0, 0, 0, 0, before, before)).unfold(1, kernel, 1)
    weight, bias = _fold_stem_norm(frontend)
    rises = bool((frontend.stem_act.weight >= 0).all())
    step = max(1, EARLY_CHANNELS // len(weight))
    pending: list[Tensor] = []
    features: list[Tensor] = []
    for row, clip in enumerate(windows):
        for first in range(0, len(clip), step):
            chunk = clip[first : first + step]
            if valid is not None:
                chunk = chunk[valid[row, first : first + step]]
            if not len(chunk):
                continue
            x = chunk.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            x = F.conv2d(x, weight, bias, frontend.stem.stride[1:], frontend.stem.padding[1:])
            # A rising activation may come after the maximum, where fewer values are left.
            if rises:
                x = frontend.stem_act(frontend.stem_pool(x))
            else:
                x = frontend.stem_pool(frontend.stem_act(x))
            pending.append(frontend.blocks[:EARLY_BLOCKS](x))
            if sum(map(len, pending)) >= LATE_FRAMES:
                features.append(_run_late_blocks(frontend, pending))
    if pending or not features:
        features.append(_run_late_blocks(frontend, pending))
    return torch.cat(features)


def _run_late_blocks(frontend: Any, pending: list[Tensor]) -> Tensor:
    """Run the late blocks on all ``pending`` chunks and empty that list: (N, 8 * width)."""
    if not pending:
        return frontend.stem.weight.new_zeros(0, frontend.out_dim)
    x = torch.cat(pending)
    pending.clear()
    return frontend.blocks[EARLY_BLOCKS:](x).mean((2, 3))


def _fold_stem_norm(frontend: Any) -> tuple[Tensor, Tensor]:
    """Fold the stem's norm into it: weight (width, 5, 7, 7) and bias (width,) for evaluation."""
    norm, weight = frontend.stem_norm, frontend.stem.weight
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    weight = (weight[:, 0] * scale[:, None, None, None]).to(weight.dtype)
    return weight.contiguous(memory_format=torch.channels_last), bias.to(weight.dtype)
