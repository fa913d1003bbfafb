"""The whole network, its configuration and its directory on disk.

A model directory holds ``config.json``, ``model.safetensors`` (fp16 or fp32; bf16 or int8 as
``avsr export`` writes it), ``tokenizer.model``, ``README.md`` (the card) and, with language models,
``lm.safetensors``. Nothing in it is ever unpickled; weights that are computed with as they are
stored, fp32 and bf16, are mapped into memory, not read.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from avsr.decoder import BLANK, BOS, EOS, PAD, UNK, AttentionDecoder, DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig, AVHubertEncoder, EncoderOutput
from avsr.errors import ConfigError, ModelError
from avsr.hub import DEFAULT_MODEL, find_model, read_licence
from avsr.language import LanguageClassifier
from avsr.languages import LANGUAGES
from avsr.model.device import resolve_device
from avsr.model.meta_init import garbage_waits, skeletons
from avsr.model.quantization import Precision, choose_precision, load_weights, lower
from avsr.runtime.atomic_files import replace_bytes, replacing
from avsr.runtime.progress import Progress, telling
from avsr.search import (
    Hypothesis,
    NgramModel,
    SearchOptions,
    align,
    beam_search,
    load_ngrams,
    pack_ngrams,
)

if TYPE_CHECKING:
    from numpy import ndarray

    from avsr.transcript import Transcript, Word

WEIGHTS = "model.safetensors"
ONNX = "encoder.onnx"  # or this and others instead of WEIGHTS
PARTS = ("encoder", "classifier", "decoder", "ctc")
_said: set[str] = set()  # licences, by this process

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that decides the shapes of the network."""

    encoder: AVHubertConfig = field(default_factory=AVHubertConfig)
    """The audio-visual encoder."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The attention decoder."""
    classifier_channels: int = 256
    """Channels of the language classifier's four convolutions."""
    vocabulary_size: int = 1000
    """Tokens V, the four special symbols included."""
    languages: tuple[str, ...] = LANGUAGES
    """Codes of the languages, in the order of the classifier's outputs."""
    language_temperature: float = 1.0
    """What the classifier's logits are divided by, so that its probabilities are those of being
    right; fitted on validation data."""
    segment_seconds: float = 20.0
    """Longest stretch of speech to be given to it: about the longest that it was trained on."""
    parts: tuple[str, ...] = PARTS
    """What the network has. An AV-HuBERT that was fine-tuned elsewhere comes without ``classifier``
    (nor vectors of languages in its decoder) and ``ctc``; a pre-trained one is an ``encoder``."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Build from ``config.json``'s content; raise ConfigError for unknown keys."""
        values = dict(values)
        values["encoder"] = _build(AVHubertConfig, values.get("encoder", {}), "encoder")
        values["decoder"] = _build(DecoderConfig, values.get("decoder", {}), "decoder")
        values["languages"] = tuple(values.get("languages", LANGUAGES))
        values["parts"] = tuple(values.get("parts", PARTS))
        return _build(cls, values, "model")

    def __post_init__(self) -> None:
        wrong = [part for part in self.parts if part not in PARTS]
        if wrong or "encoder" not in self.parts:
            raise ConfigError(f"model: parts must be an encoder and others of {', '.join(PARTS)}")
        if not self.language_temperature > 0 or not self.segment_seconds >= 1:
            raise ConfigError("model: language_temperature > 0 and segment_seconds >= 1 must hold")


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key '{unknown[0]}' (known: {', '.join(known)})")
    return kind(**values)


PRESETS = {
    "tiny": ModelConfig(
        encoder=AVHubertConfig(
            layers=6,
            dim=256,
            ffn_dim=1024,
            heads=4,
            frontend_width=16,
            position_kernel=32,
            prompts=4,
            dropout=0.0,
            attention_dropout=0.0,
            layerdrop=0.0,
        ),
        decoder=DecoderConfig(
            layers=3, dim=256, ffn_dim=1024, heads=4, dropout=0.05, attention_dropout=0.0
        ),
        classifier_channels=128,
        vocabulary_size=512,
    ),
    "base": ModelConfig(),
    "large": ModelConfig(
        encoder=AVHubertConfig(layers=24, dim=1024, ffn_dim=4096, heads=16),
        decoder=DecoderConfig(layers=9, dim=1024, ffn_dim=4096, heads=8),
    ),
}


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
    def skeleton(cls, config: ModelConfig, tokenizer: Tokenizer | None = None) -> "AVSRModel":
        """A network whose weights have shapes but neither memory nor values, in no time."""
        with skeletons():
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
        )

    def time_words(
        self, hypothesis: Hypothesis, ctc_log_probs: Tensor | None, index: int, length: int
    ) -> "tuple[Word, ...]":
        """When the words of row ``index`` of a batch of ``length`` frames are said, if known."""
        from avsr.transcript import time_words

        if ctc_log_probs is None:
            return ()
        spans = align(ctc_log_probs[index, :length], hypothesis.tokens, BLANK)
        assert self.tokenizer is not None
        return () if spans is None else time_words(self.tokenizer.pieces(hypothesis.tokens), spans)

    def transcribe(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> "Transcript":
        """Transcribe a media file; ``options`` are the fields of pipeline.TranscribeOptions.

        ``progress`` is told how far the work is, and may stop it: see pipeline.transcribe.
        """
        from avsr.recognition.pipeline import TranscribeOptions, transcribe_file

        with telling(progress):
            return transcribe_file(self, path, TranscribeOptions(**options))

    def transcribe_arrays(
        self, waveform: "ndarray | None", mouth: "ndarray | None", **options: Any
    ) -> "Transcript":
        """Transcribe ``waveform`` (S,) and/or mouth crops ``mouth`` (T, 96, 96) uint8.

        As in a file, a covered mouth is not read where there is sound; a warning says so.
        """
        from avsr.face import is_covered
        from avsr.recognition.pipeline import TranscribeOptions, recognize
        from avsr.recognition.recording import COVERED, Recording

        notes: tuple[str, ...] = ()
        if waveform is not None and mouth is not None and is_covered(mouth):
            mouth, notes = None, (COVERED, "the sound is transcribed without lips")
        recording = Recording(name="", waveform=waveform, mouth=mouth, warnings=notes)
        return recognize(self, [recording], TranscribeOptions(**options))[0]

    def save(self, directory: str | os.PathLike[str], *, card: str, half: bool = True) -> None:
        """Write a model directory; each file is written under a temporary name, then renamed.

        ``card`` is the text of its README.md. ``half`` stores the weights in fp16.
        Raises ModelError if the model has no tokenizer, or was loaded in another precision.
        """
        if self.precision != "fp32":
            raise ModelError(f"a model in {self.precision} cannot be saved: load it in fp32")
        weights = {
            name: value.half() if half and value.is_floating_point() else value
            for name, value in self.state_dict().items()
        }
        write_model(directory, self.config, weights, self.tokenizer, card, self.language_models)

    @classmethod
    @garbage_waits()
    def load(
        cls, directory: str | os.PathLike[str], precision: Precision = "fp32", packed: bool = False
    ) -> "AVSRModel":
        """Read a model directory in evaluation mode, on the CPU; raise ModelError.

        ``packed`` makes it faster, for this CPU; it cannot be trained then.
        """
        path = Path(directory)
        model = cls.outline(path, WEIGHTS)
        model.precision = load_weights(model, path / WEIGHTS, precision, packed=packed)
        if packed and model.precision == "fp32":
            model.encoder.frontend.laid_out = False  # but when it is used: weights are read for it
        else:
            model.encoder.frontend.use_channels_last()
        if model.precision != "fp32":
            lower(model, attention=packed)
        return model.eval()

    @classmethod
    def outline(cls, path: Path, needed: str) -> "AVSRModel":
        """A model directory without its weights; raise ModelError, also if it has no ``needed``."""
        for name in ("config.json", needed):
            if not (path / name).is_file():
                raise ModelError(f"{path} is not a model directory: it has no {name}")
        try:
            config = ModelConfig.from_dict(json.loads((path / "config.json").read_text()))
        except (json.JSONDecodeError, TypeError) as error:
            raise ModelError(f"{path / 'config.json'} is broken: {error}") from error
        tokenizer = None
        if "decoder" in config.parts:
            tokenizer = Tokenizer.load(path / "tokenizer.model")
            if len(tokenizer) != config.vocabulary_size:
                raise ModelError(
                    f"{path}: the tokenizer has {len(tokenizer)} tokens, "
                    f"config.json says {config.vocabulary_size}"
                )
        model = cls.skeleton(config, tokenizer)
        if (path / "lm.safetensors").exists():
            model.language_models = load_ngrams(path / "lm.safetensors", BOS)
            wrong = [
                code
                for code, ngrams in model.language_models.items()
                if ngrams.vocabulary_size != config.vocabulary_size or code not in config.languages
            ]
            if wrong:
                raise ModelError(
                    f"{path / 'lm.safetensors'} does not fit the model: {', '.join(wrong)}"
                )
        return model


def write_model(
    directory: str | os.PathLike[str],
    config: ModelConfig,
    weights: Mapping[str, Tensor] | None,
    tokenizer: Tokenizer | None,
    card: str,
    language_models: Mapping[str, NgramModel] | None = None,
) -> None:
    """Write a model directory with weights as they are (None: none), each file whole or not at all.

    Raises ModelError for a decoder without tokenizer.
    """
    if tokenizer is None and "decoder" in config.parts:
        raise ModelError("a model without tokenizer cannot be saved as a model directory")
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    replace_bytes(path / "config.json", (json.dumps(asdict(config), indent=2) + "\n").encode())
    if tokenizer is not None:
        replace_bytes(path / "tokenizer.model", tokenizer.model)
    replace_bytes(path / "README.md", card.encode())
    if language_models:
        replace_bytes(path / "lm.safetensors", pack_ngrams(language_models))
    else:
        (path / "lm.safetensors").unlink(missing_ok=True)  # of a model that stood there before
    if weights is None:
        return
    with replacing(path / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary)


def load_model(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> AVSRModel:
    """Load a model to transcribe with, not to train; ``name`` is as in ``find_model``.

    Matrix products are in ``precision``: bf16 and int8 (on CPUs only) are faster and smaller and
    change results a little; ``auto`` takes them for models that are stored so, else fp32.
    The first time that a process loads a model its licence is said on stderr.
    Raises ModelError if there is no such model, device or precision.
    """
    chosen = DEFAULT_MODEL if name is None else os.fspath(name)
    path, place = find_model(name), resolve_device(device)
    if (path / ONNX).is_file():
        from avsr.interop.onnx_model import load_onnx

        model, place = load_onnx(path, device, precision), torch.device("cpu")
    else:
        precision = choose_precision(precision, path / WEIGHTS, place)
        model = AVSRModel.load(path, precision, packed=place.type == "cpu")
    if not model.has("decoder"):
        raise ModelError(
            f"{chosen} is a pre-trained encoder, which writes no text: train it first, with "
            f"'init: {chosen}' in the recipe of 'avsr train'"
        )
    licence = f"{chosen}: licence: {read_licence(path)}"
    if licence not in _said:
        _said.add(licence)
        print(f"avsr: {licence}", file=sys.stderr, flush=True)
    return model.to(place)
