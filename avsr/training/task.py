"""The Lightning module: one step, one schedule, validation by a search of one beam."""

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from avsr.encoder import EncoderOutput
from avsr.evaluation import char_errors, word_errors
from avsr.layers.attention import MultiHeadAttention
from avsr.model.network import AVSRModel
from avsr.search import SearchOptions
from avsr.training.collate import Batch
from avsr.training.config import StageConfig
from avsr.training.distributed import num_processes, shard, whole
from avsr.training.losses import JointLoss, guide_loss, joint_loss
from avsr.training.optimizer import make_optimizer

VALIDATION = SearchOptions(beam_size=1, min_len=0)
ALL_BACKENDS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]


def empty_sums() -> defaultdict[tuple[str, str], defaultdict[str, float]]:
    """(modality, language or "") -> name -> sum."""
    return defaultdict(lambda: defaultdict(float))


def tri_stage(step: int, updates: int, warmup: float, decay: float) -> float:
    """Factor on the learning rate: linear rise, plateau, exponential fall to 5 %."""
    position = (step + 1) / updates
    if position < warmup:
        return position / warmup
    if position <= 1 - decay:
        return 1.0
    return float(0.05 ** ((position - (1 - decay)) / decay))


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
        self.sums = empty_sums()
        self.batch_scores: dict[str, Tensor] = {}
        self.valid_scores: dict[str, float] = {}
        # CTC that was never trained would only mislead.
        weight = VALIDATION.ctc_weight if stage.ctc_weight else 0.0
        self.search = dataclasses.replace(VALIDATION, ctc_weight=weight)
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

    def configure_model(self) -> None:
        """Spread the weights over the processes, where the strategy asks for it."""
        mesh = self.device_mesh
        if mesh is not None and not isinstance(next(self.parameters()), DTensor):
            # The decoder stays in one piece: a search calls its layers as often as it needs.
            shard(self, list(self.model.encoder.transformer.layers), mesh["data_parallel"])

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

    def watch_attention(self, attention: MultiHeadAttention, inputs: tuple[Any, ...]) -> None:
        """Before a cross-attention: keep log-weights (B, H / 2, L, T) of half of its heads."""
        x, keys, _, mask, *rows = inputs
        heads = slice(attention.heads // 2)
        queries = attention.split(attention.query(x), *rows)[:, heads]
        scores = queries @ keys[:, heads].transpose(2, 3) * queries.shape[3] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        prompts = self.model.config.encoder.prompts
        self.watched.append(scores.float().log_softmax(3)[..., prompts:])

    def loss(self, batch: Batch) -> tuple[JointLoss, Tensor, Tensor, EncoderOutput]:
        """Loss, CTC log-probabilities (B, T, V), language logits and encoder output of a batch."""
        # On CPUs the fused kernel's backward pass is slower than plain matrix products.
        backends = [SDPBackend.MATH] if self.device.type == "cpu" else ALL_BACKENDS
        with sdpa_kernel(backends):
            return self._loss(batch)

    def _loss(self, batch: Batch) -> tuple[JointLoss, Tensor, Tensor, EncoderOutput]:
        model, stage = self.model, self.stage
        encoded = model.encode(batch.fbank, batch.mouth, batch.padding_mask, visual=batch.visual)
        language_logits = model.language_logits(encoded)
        ctc_log_probs = model.ctc_log_probs(encoded)
        self.watched.clear()  # a search leaves its own
        logits = model.decoder(
            batch.tokens_in, encoded.memory, encoded.memory_padding_mask, batch.languages
        )
        guide = None
        if self.watched:
            guide = torch.stack([guide_loss(w, batch.token_spans) for w in self.watched]).mean(0)
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
            balance=stage.balance,
        )
        return loss, ctc_log_probs, language_logits, encoded

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one pass."""
        # Dropout is the same in a resumed run, and not the same in every process.
        torch.manual_seed(self.seed + batch.step * num_processes() + self.global_rank)
        loss, _, language_logits, _ = self.loss(batch)
        if not torch.isfinite(loss.total):
            self.save_batch(batch)
        accuracy = (language_logits.argmax(-1) == batch.languages).float().mean()
        self.batch_scores = {
            f"{batch.modality}/attention": loss.attention,
            f"{batch.modality}/ctc": loss.ctc,
            f"{batch.modality}/language": loss.language,
            f"{batch.modality}/language_accuracy": accuracy,
        }
        if self.phone_head:
            self.batch_scores[f"{batch.modality}/phone"] = loss.phone
        if self.stage.guide_weight:
            self.batch_scores[f"{batch.modality}/guide"] = loss.guide
        # The parts' losses add up; lightning divides by passes, and averages over processes.
        total = loss.total * num_processes() * self.trainer.accumulate_grad_batches
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=1)
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
        if gradients and not torch.isfinite(whole(torch.nn.utils.get_total_norm(gradients))):
            self.print(f"step {self.global_step}: the gradient is not finite; no update")
            optimizer.zero_grad(set_to_none=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the last sums."""
        self.sums = empty_sums()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Sum losses and errors, per modality and per language of it."""
        loss, ctc_log_probs, language_logits, encoded = self.loss(batch)
        sums = self.sums[batch.modality, ""]
        size = len(batch.lengths)
        sums["utterances"] += size
        for name in ("attention", "ctc", "phone", "guide"):
            sums[name] += size * getattr(loss, name).item()
        chosen = language_logits.argmax(-1)
        sums["right_language"] += int((chosen == batch.languages).sum())
        found = self.model.decode(encoded, chosen, batch.lengths, ctc_log_probs, self.search)
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        for best, target, language in zip(
            found, batch.targets.tolist(), batch.languages.tolist(), strict=True
        ):
            reference, hypothesis = tokenizer.decode(target), tokenizer.decode(best[0].tokens)
            sums = self.sums[batch.modality, self.model.config.languages[language]]
            for name, errors in (
                ("word", word_errors(reference, hypothesis)),
                ("char", char_errors(reference, hypothesis)),
            ):
                sums[f"{name}_errors"] += errors.errors
                sums[f"{name}s"] += errors.length

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses, language accuracy and mean error rates over the languages.

        ``valid/wer`` is the mean over the modalities.
        """
        scores: dict[str, float] = {}
        for modality in dict.fromkeys(modality for modality, _ in self.sums):
            sums = self.sums[modality, ""]
            rates: dict[str, list[float]] = {"wer": [], "cer": []}
            for (other, language), s in self.sums.items():
                if other == modality and language:
                    rates["wer"].append(s["word_errors"] / max(1, s["words"]))
                    rates["cer"].append(s["char_errors"] / max(1, s["chars"]))
                    scores[f"valid/{modality}/wer/{language}"] = rates["wer"][-1]
            shown = {name: sum(values) / len(values) for name, values in rates.items()}
            for name in ("attention", "ctc", "phone", "guide"):
                shown[name] = sums[name] / sums["utterances"]
            shown["language_accuracy"] = sums["right_language"] / sums["utterances"]
            scores |= {f"valid/{modality}/{name}": value for name, value in shown.items()}
            line = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            self.print(f"[{self.stage.name} {self.global_step}] {modality}: {line}")
        modalities = [value for name, value in scores.items() if name.endswith("/wer")]
        self.valid_scores = scores | {"valid/wer": sum(modalities) / len(modalities)}
        self.log("valid/wer", self.valid_scores["valid/wer"], logger=False)

    def configure_optimizers(self) -> Any:
        """The stage's optimizer with the tri-stage schedule."""
        stage = self.stage
        optimizer = make_optimizer(self, stage.optimizer, stage.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: tri_stage(step, stage.updates, stage.warmup, stage.decay)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
