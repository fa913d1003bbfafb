"""The optimizers: AdamW, and Muon for the matrices of the layers."""

from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon

MUON_FACTOR = 4.0  # Muon's learning rate over that of everything else


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
    return Together(
        Muon(
            groups["layers"],
            lr=MUON_FACTOR * learning_rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        others,
    )


class Together(torch.optim.Optimizer):
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
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
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
