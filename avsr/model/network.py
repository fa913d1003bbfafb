"""The whole network: encoder, language classifier, decoder and CTC head. Tensors in, tensors out.

``avsr.model.directory`` reads and writes it, ``avsr.recognition`` runs it on recordings.
"""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from avsr.decoder import BLANK, EOS, PAD, UNK, AttentionDecoder, Tokenizer
from avsr.encoder import AVHubertEncoder, EncoderOutput
from avsr.language import LanguageClassifier
from avsr.model.config import ModelConfig
from avsr.model.meta_init import init_on_meta
from avsr.model.quantization import Precision
from avsr.model.reliability import Reliability
from avsr.runtime.progress import check_cancelled
from avsr.search import Hypothesis, NgramModel, SearchOptions, WeightedScorer, beam_search

StartScorer = Callable[[Sequence[str], SearchOptions, torch.device], WeightedScorer]
"""Starts a scorer of the search, given the language code of each utterance."""


class AVSRModel(nn.Module):
    """Encoder with language prompts, language classifier, attention decoder and CTC head.

    The network has only the parts that its configuration names; see ``has``.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer | None = None) -> None:
        """Make the layers with random weights; ``tokenizer`` is needed to write and read text."""
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.precision: Precision = "fp32"  # of matrix products
        self.language_models: dict[str, NgramModel] = {}  # by language code, may be empty
        self.reliability: Reliability | None = None  # None: not calibrated
        self.scorers: list[StartScorer] = []  # of the search, besides its own
        dim = config.encoder.dim
        languages = len(config.languages) if self.has("classifier") else 0
        self.encoder = AVHubertEncoder(config.encoder)
        if self.has("classifier"):
            self.classifier = LanguageClassifier(dim, config.classifier_channels, languages)
        if self.has("decoder"):
            self.decoder = AttentionDecoder(config.decoder, config.vocabulary_size, dim, languages)
        if self.has("ctc"):
            self.ctc = nn.Linear(dim, config.vocabulary_size)

    @classmethod
    def on_meta(cls, config: ModelConfig, tokenizer: Tokenizer | None = None) -> "AVSRModel":
        """Build a network on ``meta``, without memory for its weights, in no time."""
        with init_on_meta():
            return cls(config, tokenizer)

    def has(self, part: str) -> bool:
        """Return whether the network has ``classifier``, ``decoder`` or ``ctc``."""
        return part in self.config.parts

    @property
    def names_languages(self) -> bool:
        """Whether it can identify the language: it has a classifier, or one language only."""
        return self.has("classifier") or len(self.config.languages) == 1

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(chain(self.encoder.parameters(), self.encoder.buffers())).device

    def encode(
        self,
        fbank: Tensor | None,
        mouth: Tensor | None,
        padding_mask: Tensor | None = None,
        *,
        visual: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode a batch; arguments and result are those of ``AVHubertEncoder.forward``."""
        return self.encoder(fbank, mouth, padding_mask, visual=visual)

    def language_logits(self, encoded: EncoderOutput) -> Tensor:
        """Return unnormalised scores (B, languages) of the languages."""
        return self.classifier(encoded.memory, encoded.memory_padding_mask)

    def ctc_log_probs(self, encoded: EncoderOutput) -> Tensor:
        """Return natural-log probabilities (B, T, V) by CTC; the blank is token ``BLANK``."""
        return self.ctc(encoded.features).float().log_softmax(-1)

    def decode(
        self,
        encoded: EncoderOutput,
        languages: Tensor,
        lengths: Tensor,
        ctc_log_probs: Tensor | None,
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """Search the n best hypotheses of each utterance, by CTC and attention together.

        Args:
            encoded: Output of the encoder for B utterances.
            languages: (B,) language ids; the decoder gets them if there is a classifier.
            lengths: (B,) frames.
            ctc_log_probs: (B, T, V); None without CTC head.
            options: Beam size, weights and number of hypotheses.

        Returns:
            The hypotheses of each utterance, best first.
        """
        if not self.has("ctc"):
            options = dataclasses.replace(options, ctc_weight=0.0)
        decoder_languages = languages if self.has("classifier") else None
        codes = [self.config.languages[language] for language in languages.tolist()]
        return beam_search(
            self.decoder.step,
            self.decoder.start(encoded.memory, encoded.memory_padding_mask, decoder_languages),
            sos=EOS,
            eos=EOS,
            pad=PAD,
            max_lengths=torch.tensor(options.max_lengths(lengths.tolist()), device=self.device),
            options=options,
            ctc_log_probs=ctc_log_probs,
            ctc_lengths=lengths,
            blank=BLANK,
            language_models=[self.language_models.get(code) for code in codes],
            scorers=[start(codes, options, self.device) for start in self.scorers],
            unk=UNK,
            on_step=check_cancelled,
        )
