"""What every training objective shares: frozen parts, schedule, finite losses, and scores."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from avsr.model.network import AVSRModel
from avsr.training.checkpoints import save_tensors
from avsr.training.collate import Batch
from avsr.training.config import StageConfig, TrainConfig
from avsr.training.dataset import Utterances
from avsr.training.distributed import full_tensor, num_processes, shard
from avsr.training.optimizer import make_optimizer

ALL_BACKENDS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]


def tri_stage(step: int, updates: int, warmup: float, decay: float) -> float:
    """Return the factor on the learning rate: linear rise, plateau, exponential fall to 5 %."""
    position = (step + 1) / updates
    if position < warmup:
        return position / warmup
    if decay == 0 or position <= 1 - decay:  # Lightning asks for a step past the end too
        return 1.0
    return float(0.05 ** ((position - (1 - decay)) / decay))


class StageTask(lightning.LightningModule):
    """Trains a model through one stage; a subclass computes the loss of its objective.

    Parameters that ``stage.train`` does not name stay frozen, and so do their batch statistics.
    ``batch_scores`` holds the scores of the last training batch, ``valid_scores`` those of the last
    validation.

    Args:
        model: Network that is trained in place.
        stage: Settings of the stage.
        config: Settings of the run.
        data: Training data.
    """

    def __init__(
        self, model: AVSRModel, stage: StageConfig, config: TrainConfig, data: Utterances
    ) -> None:
        super().__init__()
        self.seed = config.seed
        self.model = model
        self.stage = stage
        self.batch_scores: dict[str, Tensor] = {}
        self.valid_scores: dict[str, float] = {}
        self.loss_sums: defaultdict[str, defaultdict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        model.requires_grad_(stage.train != "prompts")
        if stage.train == "prompts":
            model.classifier.requires_grad_(True)
            model.encoder.transformer.prompts.requires_grad_(True)
        elif stage.train == "reliability":
            model.requires_grad_(False)
            if model.encoder.reliability is not None:
                model.encoder.reliability.requires_grad_(True)
        elif stage.train == "frozen-frontend":
            model.encoder.frontend.requires_grad_(False)
        elif stage.train == "frozen-encoder":
            model.encoder.requires_grad_(False)
            model.encoder.transformer.prompts.requires_grad_(True)

    def compute_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of the objective. Every subclass defines this.

        Args:
            batch: Batch, or micro-batch of a batch that processes and passes share.

        Returns:
            The loss (), as the micro-batch's share of the mean over the whole batch, so that the
            losses of all micro-batches add up to it; and scores () by name, for the log.
        """
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss with the attention kernels that are fastest in training."""
        with self.attention_kernels():
            return self.compute_loss(batch)

    def attention_kernels(self) -> AbstractContextManager[None]:
        """Return a context with the attention kernels to train with on this device."""
        # On CPUs the fused kernel's backward pass is slower than plain matrix products.
        return sdpa_kernel([SDPBackend.MATH] if self.device.type == "cpu" else ALL_BACKENDS)

    def configure_model(self) -> None:
        """Shard the weights over the processes if the strategy is FSDP."""
        mesh = self.device_mesh
        if mesh is not None and not isinstance(next(self.parameters()), DTensor):
            # The decoder is one unit: a search calls its layers as often as it needs.
            shard(self, list(self.model.encoder.transformer.layers), mesh["data_parallel"])

    def on_train_epoch_start(self) -> None:
        """Set the modes of trained and frozen parts."""
        self.set_modes()

    def on_validation_end(self) -> None:
        """Set the modes that validation has changed."""
        self.set_modes()

    def set_modes(self) -> None:
        """Put trained parts into training mode and frozen ones into evaluation mode.

        In evaluation mode there is no dropout, and batch statistics do not change.
        """
        self.model.train()
        if self.stage.train == "prompts":
            self.model.eval()
            self.model.classifier.train()
        elif self.stage.train == "reliability":
            self.model.eval()
        elif self.stage.train == "frozen-frontend":
            self.model.encoder.frontend.eval()
        elif self.stage.train == "frozen-encoder":
            self.model.encoder.eval()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Compute the loss of a micro-batch, scaled for Lightning's averages."""
        # Dropout is the same in a resumed run, and differs between processes.
        torch.manual_seed(self.seed + batch.step * num_processes() + self.global_rank)
        loss, scores = self.loss(batch)
        if not torch.isfinite(loss):
            self.save_batch(batch)
        self.batch_scores = {f"{batch.modality}/{name}": value for name, value in scores.items()}
        # Micro-batch losses add up; Lightning divides by their number and averages over processes.
        total = loss * num_processes() * self.trainer.accumulate_grad_batches
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=1)
        return total

    def save_batch(self, batch: Batch) -> None:
        """Save a batch whose loss is not finite to the folder of the stage."""
        folder = Path(self.trainer.default_root_dir)
        path = folder / f"not-finite-{batch.step}-{self.global_rank}.pt"
        save_tensors(vars(batch), path)
        print(f"step {batch.step}: the loss is not finite; the batch is in {path}", flush=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip an update whose gradient is not finite; all processes have the same gradient."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if gradients and not torch.isfinite(full_tensor(torch.nn.utils.get_total_norm(gradients))):
            self.print(f"step {self.global_step}: the gradient is not finite; no update")
            optimizer.zero_grad(set_to_none=True)

    def on_validation_epoch_start(self) -> None:
        """Clear the sums of the last validation."""
        self.loss_sums.clear()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Sum the scores of a batch by modality."""
        _, scores = self.loss(batch)
        self.add_scores(batch, scores)

    def add_scores(self, batch: Batch, scores: Mapping[str, Tensor]) -> None:
        """Add the mean scores of a validation batch to the sums of its modality."""
        sums, size = self.loss_sums[batch.modality], len(batch.lengths)
        sums["utterances"] += size
        for name, value in scores.items():
            sums[name] += size * value.item()

    def on_validation_epoch_end(self) -> None:
        """Report the mean scores per modality."""
        self.valid_scores = {}
        for modality, sums in self.loss_sums.items():
            self.report(modality, mean_scores(sums))

    def report(self, modality: str, scores: Mapping[str, float]) -> None:
        """Print the scores of a modality and add them to ``valid_scores``."""
        self.valid_scores |= {f"valid/{modality}/{name}": value for name, value in scores.items()}
        line = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.print(f"[{self.stage.name} {self.global_step}] {modality}: {line}")

    def configure_optimizers(self) -> Any:
        """Return the optimizer of the stage with the tri-stage schedule."""
        stage = self.stage
        optimizer = make_optimizer(self, stage.optimizer, stage.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: tri_stage(step, stage.updates, stage.warmup, stage.decay)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def mean_scores(sums: Mapping[str, float]) -> dict[str, float]:
    """Divide the sums of a modality by its number of utterances."""
    size = sums["utterances"]
    return {name: value / size for name, value in sums.items() if name != "utterances"}
