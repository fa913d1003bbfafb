"""Padding-free batches: the valid positions of a padded batch as one matrix of rows.

Layers that treat every position on its own (all but attention and convolutions) then spend no time
on padding.
"""

from typing import Any

import torch
from torch import Tensor


class PackedBatch:
    """The N valid positions of a padded batch (B, S), in a fixed order."""

    def __init__(self, indices: Tensor, shape: torch.Size) -> None:
        """Store which positions are valid.

        Args:
            indices: (N,) flat positions in 0 .. B * S - 1, in the order of the packed rows.
            shape: (B, S).
        """
        self.indices, self.shape = indices, shape
        self.sources = indices.new_zeros(shape.numel())  # the row that fills each position
        self.sources[indices] = torch.arange(len(indices), device=indices.device)
        padding = torch.ones_like(self.sources, dtype=torch.bool)
        padding[indices] = False
        self.padding = padding.nonzero()[:, 0]

    @classmethod
    def from_mask(cls, valid: Tensor, leading: int = 0) -> "PackedBatch | None":
        """Pack the positions where ``valid`` is True, unless that would not help.

        Args:
            valid: (B, S), False = padding.
            leading: The first ``leading`` positions of every sequence come before all others.

        Returns:
            None without padding, in an export, or on a GPU, which would have to wait for N.
        """
        if valid.device.type != "cpu" or torch.compiler.is_exporting() or bool(valid.all()):
            return None
        indices = torch.arange(valid.numel(), device=valid.device).view(valid.shape)
        first, others = indices[:, :leading].flatten(), indices[:, leading:][valid[:, leading:]]
        return cls(torch.cat([first, others]), valid.shape)

    def pack(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (N, D)."""
        packed: Tensor = _Pack.apply(x, self)
        return packed

    def unpack(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, S, D), with copies of a row as padding, which must not be used."""
        unpacked: Tensor = _Unpack.apply(x, self)
        return unpacked


class _Pack(torch.autograd.Function):
    """Row selection whose gradient is copied row by row, as in _Unpack.

    PyTorch's own gradient would be summed row by row, which is slower, since it cannot know that
    no row occurs twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: PackedBatch) -> Tensor:
        ctx.batch = batch
        return x.flatten(0, 1).index_select(0, batch.indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        batch = ctx.batch
        full = grad.index_select(0, batch.sources).index_fill_(0, batch.padding, 0.0)
        return full.unflatten(0, batch.shape), None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: PackedBatch) -> Tensor:
        ctx.batch = batch
        return x.index_select(0, batch.sources).unflatten(0, batch.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.flatten(0, 1).index_select(0, ctx.batch.indices), None
