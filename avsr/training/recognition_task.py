"""The recognition objective: the paper's loss, validated by recognizing speech with one beam."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avsr.encoder import EncoderOutput
from avsr.evaluation import char_errors, word_errors
from avsr.evaluation.scores import EditCounts
from avsr.layers.attention import MultiHeadAttention
from avsr.model.network import AVSRModel
from avsr.search import SearchOptions
from avsr.training.collate import Batch
from avsr.training.config import StageConfig, TrainConfig
from avsr.training.dataset import Utterances
from avsr.training.losses import JointLoss, guide_loss, joint_loss, reliability_loss
from avsr.training.stage_task import StageTask, mean_scores

VALIDATION = SearchOptions(beam_size=1, min_len=0)
GUIDED_LAYERS = 2  # last layers of the decoder, whose attention is guided


@dataclass(frozen=True)
class RecognitionOutput:
    """Losses of a batch and the outputs that they were computed from."""

    losses: JointLoss
    ctc_log_probs: Tensor  # (B, T, V)
    language_logits: Tensor  # (B, languages)
    encoded: EncoderOutput


class RecognitionTask(StageTask):
    """Trains CTC head, attention decoder and language classifier with ``joint_loss``.

    Args:
        model: Network that is trained in place.
        stage: Settings of the stage.
        config: Settings of the run.
        data: Training data.
    """

    def __init__(
        self, model: AVSRModel, stage: StageConfig, config: TrainConfig, data: Utterances
    ) -> None:
        super().__init__(model, stage, config, data)
        self.label_smoothing = config.label_smoothing
        self.word_counts: defaultdict[tuple[str, str], EditCounts] = defaultdict(EditCounts)
        self.char_counts: defaultdict[tuple[str, str], EditCounts] = defaultdict(EditCounts)
        # CTC scores of a head that was never trained would mislead the search.
        weight = VALIDATION.ctc_weight if stage.ctc_loss_weight else 0.0
        self.search = dataclasses.replace(VALIDATION, ctc_weight=weight)
        self.log_attentions: list[Tensor] = []  # (B, H / 2, L, T) of each guided layer
        self.hooks = [
            layer.cross_attention.register_forward_pre_hook(self.record_attention)
            for layer in list(model.decoder.layers)[-GUIDED_LAYERS:]
            if stage.guide_loss_weight
        ]
        self.phone_head: nn.Linear | None = None
        if stage.phone_loss_weight and data.phone_ids:
            self.phone_head = nn.Linear(model.config.encoder.dim, 2 * len(data.phone_ids))

    def teardown(self, stage: str) -> None:
        """Remove the hooks of this stage from the model."""
        for hook in self.hooks:
            hook.remove()

    def record_attention(self, attention: MultiHeadAttention, inputs: tuple[Any, ...]) -> None:
        """Record log-weights (B, H / 2, L, T) of half of the heads before a cross-attention."""
        x, keys, _, mask, *rows = inputs
        heads = slice(attention.heads // 2)
        queries = attention.split(attention.query(x), *rows)[:, heads]
        scores = queries @ keys[:, heads].transpose(2, 3) * queries.shape[3] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        prompts = self.model.config.encoder.prompts
        self.log_attentions.append(scores.float().log_softmax(3)[..., prompts:])

    def compute_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the joint loss; its parts and the language accuracy are the scores."""
        output = self.compute_output(batch)
        losses = output.losses
        correct = output.language_logits.argmax(-1) == batch.languages
        scores = {
            "attention": losses.attention,
            "ctc": losses.ctc,
            "language": losses.language,
            "language_accuracy": correct.float().mean(),
        }
        if self.phone_head:
            scores["phone"] = losses.phone
        if self.stage.guide_loss_weight:
            scores["guide"] = losses.guide
        if self.stage.reliability_loss_weight and output.encoded.reliability is not None:
            scores["reliability"] = losses.reliability
        return losses.total, scores

    def compute_output(self, batch: Batch) -> RecognitionOutput:
        """Run the network on a batch and compute its losses."""
        model, stage = self.model, self.stage
        encoded = model.encode(batch.fbank, batch.mouth, batch.padding_mask, visual=batch.visual)
        language_logits = model.language_logits(encoded)
        ctc_log_probs = model.ctc_log_probs(encoded)
        self.log_attentions.clear()  # a search in validation also calls the hooks
        logits = model.decoder(
            batch.tokens_in, encoded.memory, encoded.memory_padding_mask, batch.languages
        )
        guide = None
        if self.log_attentions:
            losses = [guide_loss(log_attn, batch.token_spans) for log_attn in self.log_attentions]
            guide = torch.stack(losses).mean(0)
        phone_logits = None
        if self.phone_head is not None:
            phone_logits = self.phone_head(encoded.features).unflatten(2, (2, -1)).flatten(1, 2)
        reliability = None
        if stage.reliability_loss_weight and encoded.reliability is not None:
            reliability = reliability_loss(encoded.reliability, batch.reliability_targets)
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
            ctc_loss_weight=stage.ctc_loss_weight,
            language_loss_weight=stage.language_loss_weight,
            phone_loss_weight=stage.phone_loss_weight,
            guide_loss_weight=stage.guide_loss_weight,
            label_smoothing=self.label_smoothing,
            balance=stage.balance,
            reliability=reliability,
            reliability_loss_weight=stage.reliability_loss_weight,
        )
        return RecognitionOutput(loss, ctc_log_probs, language_logits, encoded)

    def on_validation_epoch_start(self) -> None:
        """Clear the sums of the last validation."""
        super().on_validation_epoch_start()
        self.word_counts.clear()
        self.char_counts.clear()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Sum losses by modality, and word and character errors by modality and language."""
        with self.attention_kernels():
            output = self.compute_output(batch)
        parts = ("attention", "ctc", "phone", "guide", "reliability")
        losses = {name: getattr(output.losses, name) for name in parts}
        self.add_scores(batch, losses)
        languages = output.language_logits.argmax(-1)
        num_correct = int((languages == batch.languages).sum())
        self.loss_sums[batch.modality]["language_accuracy"] += num_correct
        hypotheses = self.model.decode(
            output.encoded, languages, batch.lengths, output.ctc_log_probs, self.search
        )
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        for nbest, target, language in zip(
            hypotheses, batch.targets.tolist(), batch.languages.tolist(), strict=True
        ):
            reference, hypothesis = tokenizer.decode(target), tokenizer.decode(nbest[0].tokens)
            key = batch.modality, self.model.config.languages[language]
            self.word_counts[key] += word_errors(reference, hypothesis)
            self.char_counts[key] += char_errors(reference, hypothesis)

    def on_validation_epoch_end(self) -> None:
        """Report error rates, mean losses and language accuracy per modality.

        The rates of a modality are means over the languages; ``valid/wer`` is the mean over the
        modalities.
        """
        self.valid_scores = {}
        modality_wers = []
        for modality, sums in self.loss_sums.items():
            wers = language_rates(self.word_counts, modality)
            cers = language_rates(self.char_counts, modality)
            for language, rate in wers.items():
                self.valid_scores[f"valid/{modality}/wer/{language}"] = rate
            modality_wers.append(sum(wers.values()) / len(wers))
            rates = {"wer": modality_wers[-1], "cer": sum(cers.values()) / len(cers)}
            self.report(modality, rates | mean_scores(sums))
        self.valid_scores["valid/wer"] = sum(modality_wers) / len(modality_wers)
        self.log("valid/wer", self.valid_scores["valid/wer"], logger=False)


def language_rates(counts: dict[tuple[str, str], EditCounts], modality: str) -> dict[str, float]:
    """Return the error rate of every language from the counts by (modality, language)."""
    return {
        language: edits.errors / max(1, edits.length)
        for (other, language), edits in counts.items()
        if other == modality
    }
