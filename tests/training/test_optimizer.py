"""Muon beside AdamW: the weights of each, what a step is, and that a run resumes."""

import copy

import torch
from torch import nn

from avsr.training import optimizer as optimizer_module
from avsr.training.optimizer import (
    MUON_FACTOR,
    CombinedOptimizer,
    MuonByShape,
    make_optimizer,
    newton_schulz,
    parameter_groups,
)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(10, 16)
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(2)])
        self.prompts = nn.Parameter(torch.randn(2, 3, 16))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(16, 32)])})

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.prompts.mean((0, 1))
        for layer in self.layers:
            x = layer(x).relu()
        return self.transformer["layers"][0](x)


def run(network: Network, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        loss = network(torch.randint(10, (8,), generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_weights_of_layers_are_apart_and_prompts_do_not_decay():
    network = Network()
    network.embed.requires_grad_(False)
    groups = parameter_groups(network)
    assert groups["layers"] == [network.transformer["layers"][0].weight]
    assert groups["matrices"] == [layer.weight for layer in network.layers]
    assert network.prompts in set(groups["vectors"])
    assert len(groups["vectors"]) == 4


def test_a_muon_step_turns_the_weights_by_an_orthogonal_matrix():
    network = Network()
    optimizer = make_optimizer(network, "muon", 0.01)
    weight = network.transformer["layers"][0].weight
    before = weight.detach().clone()
    weight.grad = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    rate = 0.01 * MUON_FACTOR
    step = (before * (1 - rate * 0.01) - weight.detach()) / rate
    singular = torch.linalg.svdvals(step) / (0.2 * 32**0.5)  # a step as large as AdamW's
    assert (singular > 0.6).all()
    assert (singular < 1.3).all()


def test_both_parts_learn_and_follow_one_schedule():
    network = Network()
    optimizer = make_optimizer(network, "muon", 0.01)
    assert isinstance(optimizer, CombinedOptimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    rates = {group["lr"] for part in optimizer.optimizers for group in part.param_groups}
    assert rates == {0.005, 0.005 * MUON_FACTOR}
    losses = run(network, optimizer, range(30))
    schedule.step()
    assert losses[-1] < 0.2 * losses[0]


def test_a_saved_state_goes_on_as_if_nothing_had_happened():
    network = Network()
    optimizer = make_optimizer(network, "muon", 0.01)
    run(network, optimizer, range(3))
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    state = copy.deepcopy(optimizer.state_dict())
    straight = run(network, optimizer, range(3, 6))

    other = Network()
    other.load_state_dict(weights)
    resumed = make_optimizer(other, "muon", 0.01)
    resumed.load_state_dict(state)
    torch.optim.lr_scheduler.LambdaLR(resumed, lambda step: 1.0)
    assert run(other, resumed, range(3, 6)) == straight


def test_nothing_but_vectors_needs_no_muon():
    network = Network()
    network.requires_grad_(False)
    network.prompts.requires_grad_(True)
    assert isinstance(make_optimizer(network, "muon", 0.01), torch.optim.AdamW)


def test_matrices_together_step_as_one_by_one():
    torch.manual_seed(3)
    shapes = [(8, 8), (8, 24), (24, 8), (8, 8), (24, 8), (6, 5)]
    start = [torch.randn(shape) for shape in shapes]
    kinds = MuonByShape, torch.optim.Muon
    trained = [[nn.Parameter(weight.clone()) for weight in start] for _ in kinds]
    optimizers = [
        kind(parameters, lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
        for kind, parameters in zip(kinds, trained, strict=True)
    ]
    for _ in range(3):
        grads = [torch.randn(shape) for shape in shapes]
        for optimizer, parameters in zip(optimizers, trained, strict=True):
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad.clone()
            optimizer.step()
    for one, other, first in zip(*trained, start, strict=True):
        moved = torch.linalg.norm(other - first)
        chained = max(first.shape) >= 2 * min(first.shape)  # where bf16 rounds more than in a batch
        assert torch.linalg.norm(one - other) < (0.1 if chained else 0.01) * moved
        assert moved > 0.1


def test_chained_steps_are_the_plain_ones_but_for_rounding():
    coefficients, eps = (3.4445, -4.775, 2.0315), 1e-7
    a, b, c = coefficients
    generator = torch.Generator().manual_seed(5)
    matrices = torch.randn(3, 64, 256, generator=generator, dtype=torch.float64)
    matrices *= torch.logspace(0, -3, 64, dtype=torch.float64)[:, None]  # gradients are far from 1
    for steps in range(1, 7):
        plain = matrices / matrices.norm(dim=(1, 2), keepdim=True)
        for _ in range(steps):
            gram = plain @ plain.mT
            plain = a * plain + (b * gram + c * gram @ gram) @ plain
        torch.testing.assert_close(newton_schulz(matrices, coefficients, steps, eps), plain)
        rounded = newton_schulz(matrices.bfloat16(), coefficients, steps, eps).double()
        assert (rounded - plain).norm() < 0.1 * plain.norm()


def test_many_matrices_are_taken_some_at_a_time(monkeypatch):
    torch.manual_seed(4)
    weights, results = [torch.randn(8, 8) for _ in range(5)], []
    for most in (1 << 24, 130, 1):
        monkeypatch.setattr(optimizer_module, "MAX_STACKED_ELEMENTS", most)
        parameters = [nn.Parameter(weight.clone()) for weight in weights]
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
        MuonByShape(parameters, lr=0.1).step()
        results.append(torch.stack([parameter.detach() for parameter in parameters]))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0.02, atol=0.002)
