"""The whole network: encoder, language classifier, decoder and CTC head. Tensors in, tensors out.

It knows neither files nor media: ``avsr.model.directory`` reads and writes it, ``avsr.recognition``
gives it recordings.
"""

import dataclasses
from itertools import chain

import torch
from torch import Tensor, nn

from avsr.decoder import BLANK, EOS, PAD, UNK, AttentionDecoder, Tokenizer
from avsr.encoder import AVHubertEncoder, EncoderOutput
from avsr.language import LanguageClassifier
from avsr.model.config import ModelConfig
from avsr.model.meta_init import init_on_meta
from avsr.model.quantization import Precision
from avsr.runtime.progress import check_cancelled
from avsr.search import Hypothesis, NgramModel, SearchOptions, beam_search


class AVSRModel(nn.Module):
    """Encoder with language prompts, language classifier, attention decoder and CTC head.

    A part that the configuration does not name is not there; see ``has``.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.precision: Precision = "fp32"  # of matrix products
        self.language_models: dict[str, NgramModel] = {}  # by language code, may be none
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
        """A network whose weights have shapes but neither memory nor values, in no time."""
        with init_on_meta():
            return cls(config, tokenizer)

    def has(self, part: str) -> bool:
        """Whether the network has ``classifier``, ``decoder`` or ``ctc``."""
        return part in self.config.parts

    @property
    def names_languages(self) -> bool:
        """Whether it can say which language it hears: by its classifier, or having one only."""
        return self.has("classifier") or len(self.config.languages) == 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(chain(self.encoder.parameters(), self.encoder.buffers())).device

    def encode(
        self,
        fbank: Tensor | None,
        mouth: Tensor | None,
        padding_mask: Tensor | None = None,
        *,
        visual: Tensor | None = None,
    ) -> EncoderOutput:
        """See AVHubertEncoder.forward."""
        return self.encoder(fbank, mouth, padding_mask, visual=visual)

    def language_logits(self, encoded: EncoderOutput) -> Tensor:
        """(B, languages), unnormalised."""
        return self.classifier(encoded.memory, encoded.memory_padding_mask)

    def ctc_log_probs(self, encoded: EncoderOutput) -> Tensor:
        """(B, T, V) natural-log probabilities; the blank is token ``BLANK``."""
        return self.ctc(encoded.features).float().log_softmax(-1)

    def decode(
        self,
        encoded: EncoderOutput,
        languages: Tensor,
        lengths: Tensor,
        ctc_log_probs: Tensor | None,
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """The n best hypotheses of each utterance, by the joint CTC/attention search.

        ``languages`` (B,) ids that the decoder is told if there is a classifier, ``lengths`` (B,)
        frames, ``ctc_log_probs`` (B, T, V) or None without CTC head, all on the model's device.
        """
        if not self.has("ctc"):
            options = dataclasses.replace(options, ctc_weight=0.0)
        told = languages if self.has("classifier") else None
        codes = [self.config.languages[language] for language in languages.tolist()]
        return beam_search(
            self.decoder.step,
            self.decoder.start(encoded.memory, encoded.memory_padding_mask, told),
            sos=EOS,
            eos=EOS,
            pad=PAD,
            max_lengths=torch.tensor(options.max_lengths(lengths.tolist()), device=self.device),
            options=options,
            ctc_log_probs=ctc_log_probs,
            ctc_lengths=lengths,
            blank=BLANK,
            language_models=[self.language_models.get(code) for code in codes],
            unk=UNK,
            on_step=check_cancelled,
        )
