"""The optimizers: AdamW, and Muon for the matrices of the layers."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

MUON_FACTOR = 4.0  # Muon's learning rate over that of everything else
MOST_TOGETHER = 1 << 24  # elements of matrices that are made orthogonal at a time
CHAIN = 3  # steps of Newton and Schulz's iteration for each product with a wide matrix


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """What trains, as ``layers`` (2-D weights of the transformers' layers), ``matrices`` (all other
    weights and embeddings), ``vectors`` (norms, biases, slopes) and prompts: no weight decay.
    """
    groups: dict[str, list[nn.Parameter]] = {"layers": [], "matrices": [], "vectors": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.dim() == 1 or name.endswith("prompts"):
            groups["vectors"].append(parameter)
        elif parameter.dim() == 2 and ".layers." in name:
            groups["layers"].append(parameter)
        else:
            groups["matrices"].append(parameter)
    return groups


def make_optimizer(model: nn.Module, kind: str, learning_rate: float) -> torch.optim.Optimizer:
    """``adamw`` or ``muon`` over the parameters that train."""
    groups = parameter_groups(model)
    plain = {"params": groups["vectors"], "weight_decay": 0.0}
    if kind == "adamw":
        decayed = {"params": groups["layers"] + groups["matrices"], "weight_decay": 0.01}
        return AdamW([decayed, plain], lr=learning_rate, betas=(0.9, 0.98), foreach=True)
    decayed = {"params": groups["matrices"], "weight_decay": 0.01}
    others = AdamW([decayed, plain], lr=learning_rate, betas=(0.9, 0.98), foreach=True)
    if not groups["layers"]:
        return others
    return CombinedOptimizer(
        MuonByShape(
            groups["layers"],
            lr=MUON_FACTOR * learning_rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        others,
    )


def _evaluated(closure: Any) -> Any:
    """The loss by ``closure``, which computes the gradients; None without it."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class MuonByShape(Muon):
    """``torch.optim.Muon``, its steps alike but for rounding: matrices of one shape are taken
    together, which takes a third of the time on CPUs. Its momentum is Nesterov's, its rate that of
    ``match_rms_adamw``.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; ``closure`` computes the loss and the gradients."""
        loss = _evaluated(closure)
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        trained = [p for p in group["params"] if p.grad is not None]
        if not trained:
            return
        grads = [p.grad for p in trained]
        buffers = []
        for parameter, grad in zip(trained, grads, strict=True):
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            buffers.append(state["momentum_buffer"])
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])
        torch._foreach_mul_(trained, 1 - group["lr"] * group["weight_decay"])
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, parameter in enumerate(trained):
            alike[tuple(sorted(parameter.shape))].append(index)
        for (short, long), indices in alike.items():
            rate = 0.2 * math.sqrt(long) * group["lr"]
            size = max(1, MOST_TOGETHER // (short * long))
            for first in range(0, len(indices), size):
                part = indices[first : first + size]
                wide = torch.stack([_wide(updates[i]).bfloat16() for i in part])
                made = newton_schulz(
                    wide, group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                for i, update in zip(part, made, strict=True):
                    tall = trained[i].shape[0] > trained[i].shape[1]
                    trained[i].add_(update.T if tall else update, alpha=-rate)


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def newton_schulz(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """(N, m, n), m <= n, each with its singular values brought near to one.

    By ``steps`` of X <- p(A) X with p(A) = a + b A + c A A and A = X X^T (Newton and Schulz's
    iteration as in Jordan et al. 2024), from X of norm one. A of the next step is p(A) A p(A), so
    for wide matrices CHAIN steps are taken with m x m matrices alone before X is multiplied by all
    their p(A) at once. In bf16 longer chains would let small singular values drown.
    """
    a, b, c = coefficients
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    chain = CHAIN if x.shape[2] >= 2 * x.shape[1] else 1
    for first in range(0, steps, chain):
        gram = x @ x.mT
        # The polynomials without what they have on the diagonal: p(A) = a + rest, and of those
        # that were multiplied so far diagonal + product.
        rest = product = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        diagonal = a
        for _ in range(min(chain, steps - first) - 1):
            half = torch.baddbmm(gram, rest, gram, beta=a)
            gram = torch.baddbmm(half, half, rest, beta=a)
            rest = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            product = torch.baddbmm(product, rest, product, beta=a).add_(rest, alpha=diagonal)
            diagonal *= a
        x = torch.baddbmm(x, product, x, beta=diagonal)
    return x


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, that step as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self.tie()

    def tie(self) -> None:
        """Share the groups, so that a schedule of the whole sets the parts' learning rates."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> Any:
        """One step of every part; ``closure`` computes the loss and the gradients."""
        loss = _evaluated(closure)
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of every part."""
        return {"state": {}, "parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of every part."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.tie()
