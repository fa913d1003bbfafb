"""Training in several processes: turns, sharded weights, and batch norms over all processes."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm


def num_processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def rank_zero_first() -> Iterator[bool]:
    """Run the body in the first process, then in the others.

    Yields:
        Whether this is the first process.
    """
    is_first = num_processes() == 1 or dist.get_rank() == 0
    if not is_first:
        dist.barrier()
    yield is_first
    if is_first and num_processes() > 1:
        dist.barrier()


def shard(module: nn.Module, blocks: Sequence[nn.Module], mesh: DeviceMesh) -> None:
    """Shard the parameters over a mesh of processes, in place (FSDP).

    Args:
        module: Module whose ``training_step`` and ``validation_step`` gather its other parameters.
        blocks: Submodules that gather their parameters only while they compute.
        mesh: Mesh of processes.
    """
    for parameter in module.parameters():  # convolutions may be stored channels last
        parameter.data = parameter.data.contiguous()
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for step in ("training_step", "validation_step"):
        register_fsdp_forward_method(module, step)


def full_tensor(value: Tensor) -> Tensor:
    """Return the full value of a tensor that may be sharded over processes, on the CPU."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()


class _AllReduceSum(torch.autograd.Function):
    """Sum over all processes; the gradient is summed too, as every process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _all_reduce_sum(x: Tensor) -> Tensor:
    return _AllReduceSum.apply(x)


class GlobalBatchNorm(_BatchNorm):
    """Batch norm with the mean and variance over the batches of all processes.

    It works on CPUs too; torch's SyncBatchNorm needs GPUs. In a single process and in evaluation
    mode it is plain batch norm.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any (N, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``input`` (N, C, ...)."""
        if not self.training or num_processes() == 1:
            return super().forward(input)
        x = input.float()
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        count = _all_reduce_sum(x.new_tensor(x.numel() / x.shape[1]))
        mean = _all_reduce_sum(x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = _all_reduce_sum(centred.square().sum(dims)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)


def share_batch_norms(module: nn.Module) -> None:
    """Replace every batch norm inside ``module`` with a GlobalBatchNorm on the same tensors."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            shared = GlobalBatchNorm(child.num_features, child.eps, child.momentum)
            shared.weight, shared.bias = child.weight, child.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(shared, buffer, getattr(child, buffer))
            shared.train(child.training)
            setattr(module, name, shared)
        else:
            share_batch_norms(child)
