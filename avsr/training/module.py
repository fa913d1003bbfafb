"""The Lightning module: one step, one schedule, validation by greedy CTC."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from avsr.decoder import BLANK
from avsr.decoder.transformer import Attention
from avsr.evaluation import char_errors, word_errors
from avsr.model import AVSRModel
from avsr.training.config import StageConfig
from avsr.training.data import Batch
from avsr.training.losses import JointLoss, guide_loss, joint_loss
from avsr.training.parallel import num_processes

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


def weight_decay_groups(model: nn.Module) -> list[dict[str, Any]]:
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
        self,
        model: AVSRModel,
        stage: StageConfig,
        label_smoothing: float,
        seed: int,
        num_phones: int = 0,
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
        elif stage.train == "frozen-encoder":
            model.encoder.requires_grad_(False)
            model.encoder.transformer.prompts.requires_grad_(True)
        self.watched: list[Tensor] = []
        self.hooks = [
            layer.cross_attention.register_forward_pre_hook(self.watch_attention)
            for layer in list(model.decoder.layers)[-2:]
            if stage.guide_weight
        ]
        self.phone_head: nn.Linear | None = None
        if stage.phone_weight and num_phones:
            self.phone_head = nn.Linear(model.config.encoder.dim, 2 * num_phones)

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
        elif self.stage.train == "frozen-encoder":
            self.model.encoder.eval()

    def teardown(self, stage: str) -> None:
        """Leave the model without the hooks of this stage."""
        for hook in self.hooks:
            hook.remove()

    def watch_attention(self, attention: Attention, inputs: tuple[Any, ...]) -> None:
        """Before a cross-attention: keep log-weights (B, H / 2, L, T) of half of its heads."""
        x, keys, _, mask = inputs
        heads = slice(attention.heads // 2)
        queries = attention.split(attention.query(x))[:, heads]
        scores = queries @ keys[:, heads].transpose(2, 3) * queries.shape[3] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        prompts = self.model.config.encoder.prompts
        self.watched.append(scores.float().log_softmax(3)[..., prompts:])

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
        guide = None
        if self.watched:
            guide = torch.stack([guide_loss(w, batch.token_spans) for w in self.watched]).mean(0)
            self.watched.clear()
        phone_logits = None
        if self.phone_head is not None:
            phone_logits = self.phone_head(encoded.features).unflatten(2, (2, -1)).flatten(1, 2)
        loss = joint_loss(
            ctc_log_probs=ctc_log_probs,
            lengths=batch.lengths,
            logits=logits,
            targets=batch.targets,
            language_logits=language_logits,
            languages=batch.languages,
            language_counts=batch.language_counts,
            phone_logits=phone_logits,
            phones=batch.phones,
            guide=guide,
            ctc_weight=stage.ctc_weight,
            language_weight=stage.language_weight,
            phone_weight=stage.phone_weight,
            guide_weight=stage.guide_weight,
            label_smoothing=self.label_smoothing,
        )
        return loss, ctc_log_probs, language_logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one pass."""
        # Dropout is the same in a resumed run, and not the same in every process.
        torch.manual_seed(self.seed + batch.step * num_processes() + self.global_rank)
        loss, _, language_logits = self.loss(batch)
        if not torch.isfinite(loss.total):
            self.save_batch(batch)
        accuracy = (language_logits.argmax(-1) == batch.languages).float().mean()
        size = len(batch.lengths)
        self.log_dict(
            {
                f"{batch.modality}/attention": loss.attention,
                f"{batch.modality}/ctc": loss.ctc,
                f"{batch.modality}/language": loss.language,
                f"{batch.modality}/language_accuracy": accuracy,
            }
            | ({f"{batch.modality}/phone": loss.phone} if self.phone_head else {})
            | ({f"{batch.modality}/guide": loss.guide} if self.stage.guide_weight else {}),
            batch_size=size,
        )
        # The parts' losses add up; lightning divides by passes, and averages over processes.
        total = loss.total * num_processes() * self.trainer.accumulate_grad_batches
        self.log("loss", total.detach(), prog_bar=True, batch_size=size)
        return total

    def save_batch(self, batch: Batch) -> None:
        """Keep a batch whose loss is not finite, for a look at it."""
        folder = Path(self.trainer.default_root_dir)
        path = folder / f"not-finite-{batch.step}-{self.global_rank}.pt"
        torch.save(vars(batch), path)
        print(f"step {batch.step}: the loss is not finite; the batch is in {path}", flush=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take no step with a gradient that is not finite; all processes see the same one."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self.print(f"step {self.global_step}: the gradient is not finite; no update")
            optimizer.zero_grad(set_to_none=True)

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
        counts["guide_milli"] += round(1000 * float(loss.guide) * len(batch.lengths))
        counts["phone_milli"] += round(1000 * float(loss.phone) * len(batch.lengths))
        counts["attention_milli"] += round(1000 * float(loss.attention) * len(batch.lengths))

    def on_validation_epoch_end(self) -> None:
        """Log word and character error rate and language accuracy per modality."""
        for modality, c in self.counts.items():
            scores = {
                f"valid/{modality}/ctc_wer": c["word_errors"] / max(1, c["words"]),
                f"valid/{modality}/ctc_cer": c["char_errors"] / max(1, c["chars"]),
                f"valid/{modality}/language_accuracy": c["right_language"] / c["utterances"],
                f"valid/{modality}/attention": c["attention_milli"] / 1000 / c["utterances"],
                f"valid/{modality}/guide": c["guide_milli"] / 1000 / c["utterances"],
                f"valid/{modality}/phone": c["phone_milli"] / 1000 / c["utterances"],
            }
            self.log_dict(scores)
            shown = "  ".join(f"{k.split('/')[-1]} {v:.3f}" for k, v in scores.items())
            self.print(f"[{self.stage.name} {self.global_step}] {modality}: {shown}")

    def configure_optimizers(self) -> Any:
        """AdamW with the tri-stage schedule."""
        stage = self.stage
        optimizer = torch.optim.AdamW(
            weight_decay_groups(self), lr=stage.learning_rate, betas=(0.9, 0.98), foreach=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: tri_stage(step, stage.updates, stage.warmup, stage.decay)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
