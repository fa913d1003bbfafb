"""One of two processes that train together: saves loss and gradients. Not a test by itself.

Called as: one_of_two.py RANK WORLD OUT; test_distributed.py starts it. The processes meet through a
file in OUT: a port may be in use by another test, and closes if its process ends first.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsr.training.distributed import num_processes, share_batch_norms
from avsr.training.losses import joint_loss

MUAVIC_LANGUAGES = torch.tensor([0, 0, 0, 1, 0, 1])
LENGTHS = torch.tensor([9, 7, 9, 5, 8, 9])
TARGETS = torch.tensor([[4, 5, 3], [4, 3, 1], [5, 4, 3], [5, 3, 1], [4, 4, 3], [3, 1, 1]])


class Network(nn.Module):
    """All inputs of the loss, with batch norms in between."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8), nn.Tanh())
        self.image = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.ctc, self.text, self.language = nn.Linear(8, 6), nn.Linear(8, 18), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.body(x.transpose(1, 2)).transpose(1, 2)
        pooled = self.image(x.unsqueeze(1)).mean((2, 3))
        language = self.language(torch.cat([y.mean(1), pooled], 1))
        return self.ctc(y).log_softmax(-1), self.text(y.mean(1)).view(-1, 3, 6), language


def main(rank: int, world: int, out: str) -> None:
    torch.manual_seed(3)
    network: nn.Module = Network()
    inputs = torch.randn(6, 9, 3)
    if world > 1:
        meeting = f"file://{out}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
        share_batch_norms(network)
        network = DistributedDataParallel(network)
    mine = slice(rank, None, world)
    ctc, text, language = network(inputs[mine])
    loss = joint_loss(
        ctc_log_probs=ctc,
        lengths=LENGTHS[mine],
        logits=text,
        targets=TARGETS[mine],
        language_logits=language,
        languages=MUAVIC_LANGUAGES[mine],
        language_counts=torch.bincount(MUAVIC_LANGUAGES),
        phone_logits=None,
        phones=torch.zeros(0),
        guide=None,
        ctc_loss_weight=0.1,
        language_loss_weight=10.0,
        phone_loss_weight=0.0,
        guide_loss_weight=0.0,
        label_smoothing=0.1,
    )
    (loss.total * num_processes()).backward()
    total = loss.total.detach()
    if world > 1:
        dist.all_reduce(total)
    state = {name.removeprefix("module."): value for name, value in network.state_dict().items()}
    gradients = {
        name.removeprefix("module."): parameter.grad
        for name, parameter in network.named_parameters()
    }
    torch.save({"loss": total, "gradients": gradients, "state": state}, f"{out}/{rank}.pt")
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
