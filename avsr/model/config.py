"""Configuration of a model, and presets."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from avsr.decoder import DecoderConfig
from avsr.encoder import AVHubertConfig
from avsr.errors import ConfigError, ModelError, UnknownKeyError
from avsr.languages import MUAVIC_LANGUAGES
from avsr.rates import MAX_SEGMENT_SECONDS
from avsr.settings import Bounds, build_settings, check_settings, show

PARTS = ("encoder", "classifier", "decoder", "ctc")
FORMAT_VERSION = 1
"""Format of a model directory; it is in its ``config.json`` from 2 on."""
NEWER = "a newer avsr has made the model: update with 'pip install -U avsr'"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that decides the shapes of the network."""

    encoder: AVHubertConfig = field(default_factory=AVHubertConfig)
    """The audio-visual encoder."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The attention decoder."""
    classifier_channels: Annotated[int, Bounds(1, 65_536)] = 256
    """Channels of the language classifier's four convolutions."""
    vocabulary_size: Annotated[int, Bounds(4, 1_000_000)] = 1000
    """Tokens V, the four special symbols included."""
    languages: tuple[str, ...] = MUAVIC_LANGUAGES
    """Codes of the languages, in the order of the classifier's outputs."""
    language_temperature: Annotated[float, Bounds(high=1e6)] = 1.0
    """Temperature scaling: the classifier's logits are divided by it, so that its probabilities are
    calibrated; fitted on validation data."""
    segment_seconds: Annotated[float, Bounds(high=600)] = MAX_SEGMENT_SECONDS
    """Longest segment of speech to transcribe at once: about the longest in the training data."""
    parts: tuple[str, ...] = PARTS
    """Parts of the network. An AV-HuBERT that was fine-tuned elsewhere has no ``classifier`` (nor
    language vectors in its decoder) and no ``ctc``; a pre-trained one is an ``encoder`` only."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Build from the content of ``config.json``.

        Raises:
            UnknownKeyError: It has a key that this version does not know.
            ModelError: Its format is newer.
            ConfigError: A value is out of bounds or of another kind.
        """
        values = dict(values)
        version = values.pop("format_version", FORMAT_VERSION)
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(f"config.json has format_version {show(version)}: {NEWER}")
        try:
            return build_settings(cls, values, "model")
        except UnknownKeyError as error:
            raise UnknownKeyError(f"config.json, {error}: if it is no slip, {NEWER}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``config.json``.

        It leaves out what is off, so that a version that does not know it reads the model.
        """
        values = asdict(self)
        if not self.encoder.reliability:
            del values["encoder"]["reliability"]
        return values

    def __post_init__(self) -> None:
        check_settings(self, "model")
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or "encoder" not in self.parts:
            raise ConfigError(f"model: parts must be an encoder and others of {', '.join(PARTS)}")
        if not self.language_temperature >= 1e-3 or not self.segment_seconds >= 1:
            raise ConfigError(
                "model: language_temperature >= 0.001 and segment_seconds >= 1 must hold"
            )
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise ConfigError("model: languages must be a list of different codes")
        for code in self.languages:
            if not re.fullmatch(r"[\w-]{1,20}", code):
                raise ConfigError(f"model: languages has {show(code)}, which is no code")


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
