"""The Lightning module: one step, one schedule, validation by greedy CTC."""

from collections import defaultdict
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from avsr.decoder import BLANK
from avsr.evaluation import char_errors, word_errors
from avsr.model import AVSRModel
from avsr.training.config import StageConfig
from avsr.training.data import Batch
from avsr.training.losses import JointLoss, joint_loss

ALL_BACKENDS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]


def tri_stage(step: int, updates: int, warmup: float, decay: float) -> float:
    """Factor on the learning rate: linear rise, plateau, exponential fall to 5 %."""
    position = (step + 1) / updates
    if position < warmup:
        return position / warmup
    if position <= 1 - decay:
        return 1.0
    return float(0.05 ** ((position - (1 - decay)) / decay))


def greedy_ctc(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Best path per utterance, repeats merged and blanks dropped; ``log_probs`` (B, T, V)."""
    paths = log_probs.argmax(-1)
    return [
        [t for t in torch.unique_consecutive(path[:length]).tolist() if t != BLANK]
        for path, length in zip(paths, lengths.tolist(), strict=True)
    ]


def weight_decay_groups(model: AVSRModel) -> list[dict[str, Any]]:
    """Matrices decay; vectors (norms, biases, slopes) and prompts do not."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.dim() > 1 and not name.endswith("prompts")
            (decayed if matrix else plain).append(parameter)
    return [
        {"params": decayed, "weight_decay": 0.01},
        {"params": plain, "weight_decay": 0.0},
    ]


class AVSRTask(lightning.LightningModule):
    """Trains the parts that the stage names; the rest stays as it is, batch statistics too."""

    def __init__(
        self, model: AVSRModel, stage: StageConfig, label_smoothing: float, seed: int
    ) -> None:
        super().__init__()
        self.seed = seed
        self.model = model
        self.stage = stage
        self.label_smoothing = label_smoothing
        self.counts: dict[str, dict[str, int]] = {}
        model.requires_grad_(stage.train != "prompts")
        if stage.train == "prompts":
            model.classifier.requires_grad_(True)
            model.encoder.transformer.prompts.requires_grad_(True)
        elif stage.train == "frozen-frontend":
            model.encoder.frontend.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        """Set frozen parts to evaluation, so that dropout and batch statistics rest."""
        self.set_modes()

    def on_validation_end(self) -> None:
        """Undo what validation did to the modes."""
        self.set_modes()

    def set_modes(self) -> None:
        """Training mode for what trains, evaluation mode for what is frozen."""
        self.model.train()
        if self.stage.train == "prompts":
            self.model.eval()
            self.model.classifier.train()
        elif self.stage.train == "frozen-frontend":
            self.model.encoder.frontend.eval()

    def loss(self, batch: Batch) -> tuple[JointLoss, Tensor, Tensor]:
        """Loss, CTC log-probabilities (B, T, V) and language logits of a batch."""
        # On CPUs the fused kernel's backward pass is slower than plain matrix products.
        backends = [SDPBackend.MATH] if self.device.type == "cpu" else ALL_BACKENDS
        with sdpa_kernel(backends):
            return self._loss(batch)

    def _loss(self, batch: Batch) -> tuple[JointLoss, Tensor, Tensor]:
        model, stage = self.model, self.stage
        encoded = model.encode(batch.fbank, batch.mouth, batch.padding_mask, visual=batch.visual)
        language_logits = model.language_logits(encoded)
        ctc_log_probs = model.ctc_log_probs(encoded)
        logits = model.decoder(
            batch.tokens_in, encoded.memory, encoded.memory_padding_mask, batch.languages
        )
        loss = joint_loss(
            ctc_log_probs=ctc_log_probs,
            lengths=batch.lengths,
            logits=logits,
            targets=batch.targets,
            language_logits=language_logits,
            languages=batch.languages,
            frame_targets=batch.frame_targets,
            ctc_weight=stage.ctc_weight,
            language_weight=stage.language_weight,
            alignment_weight=stage.alignment_weight,
            label_smoothing=self.label_smoothing,
        )
        return loss, ctc_log_probs, language_logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """One step; None (no update) where the loss is not finite."""
        torch.manual_seed(self.seed + batch.step)  # dropout is the same in a resumed run
        loss, _, language_logits = self.loss(batch)
        if not torch.isfinite(loss.total):
            self.print(f"step {batch.step}: the loss is not finite; no update")
            return None
        accuracy = (language_logits.argmax(-1) == batch.languages).float().mean()
        size = len(batch.lengths)
        self.log_dict(
            {
                f"{batch.modality}/attention": loss.attention,
                f"{batch.modality}/ctc": loss.ctc,
                f"{batch.modality}/language": loss.language,
                f"{batch.modality}/language_accuracy": accuracy,
            }
            | ({f"{batch.modality}/alignment": loss.alignment} if loss.alignment else {}),
            batch_size=size,
        )
        self.log("loss", loss.total.detach(), prog_bar=True, batch_size=size)
        return loss.total

    def on_validation_epoch_start(self) -> None:
        """Forget the last counts."""
        self.counts = defaultdict(lambda: defaultdict(int))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count errors of greedy CTC and of the language choice, per modality."""
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        loss, log_probs, language_logits = self.loss(batch)
        counts = self.counts[batch.modality]
        for path, target in zip(
            greedy_ctc(log_probs, batch.lengths), batch.targets.tolist(), strict=True
        ):
            reference, hypothesis = tokenizer.decode(target), tokenizer.decode(path)
            words, chars = word_errors(reference, hypothesis), char_errors(reference, hypothesis)
            counts["word_errors"] += words.errors
            counts["words"] += words.length
            counts["char_errors"] += chars.errors
            counts["chars"] += chars.length
        counts["right_language"] += int((language_logits.argmax(-1) == batch.languages).sum())
        counts["utterances"] += len(batch.lengths)
        counts["attention_milli"] += round(1000 * float(loss.attention) * len(batch.lengths))

    def on_validation_epoch_end(self) -> None:
        """Log word and character error rate and language accuracy per modality."""
        for modality, c in self.counts.items():
            scores = {
                f"valid/{modality}/ctc_wer": c["word_errors"] / max(1, c["words"]),
                f"valid/{modality}/ctc_cer": c["char_errors"] / max(1, c["chars"]),
                f"valid/{modality}/language_accuracy": c["right_language"] / c["utterances"],
                f"valid/{modality}/attention": c["attention_milli"] / 1000 / c["utterances"],
            }
            self.log_dict(scores)
            shown = "  ".join(f"{k.split('/')[-1]} {v:.3f}" for k, v in scores.items())
            self.print(f"[{self.stage.name} {self.global_step}] {modality}: {shown}")

    def configure_optimizers(self) -> Any:
        """AdamW with the tri-stage schedule."""
        stage = self.stage
        optimizer = torch.optim.AdamW(
            weight_decay_groups(self.model), lr=stage.learning_rate, betas=(0.9, 0.98), foreach=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: tri_stage(step, stage.updates, stage.warmup, stage.decay)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
