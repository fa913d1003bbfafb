"""Read weights, settings and vocabulary of AV-HuBERT checkpoints, fairseq or Hugging Face."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avsr.errors import ModelError
from avsr.interop.key_table import PREFIX, add_prefix, from_hugging_face
from avsr.interop.safe_unpickler import StandIn, read_checkpoint

ANCHOR = PREFIX + "feature_extractor_audio.proj.weight"  # every AV-HuBERT has it
DECODER_ANCHOR = "decoder.embed_tokens.weight"
# Width -> attention heads of the published sizes, for files that do not say them.
ENCODER_HEADS = {768: 12, 1024: 16}
DECODER_HEADS = {768: 4, 1024: 8}
NAMED = 3  # weights of an unknown checkpoint that an error message lists


@dataclass(frozen=True, kw_only=True)
class Source:
    """The content of a checkpoint, not validated yet."""

    kind: str
    """File format, for messages."""
    weights: Mapping[str, Tensor]
    """Weights under the names of a fine-tuned fairseq checkpoint."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """fairseq's settings of the encoder; empty if the checkpoint has none."""
    decoder: Mapping[str, Any] = field(default_factory=dict)
    """fairseq's settings of the decoder; empty if the checkpoint has none."""
    symbols: Sequence[str] | None = None
    """Dictionary inside the checkpoint."""
    pieces: bytes | None = None
    """Sentencepiece model inside the checkpoint."""
    languages: Sequence[str] | None = None
    """Language codes, if the checkpoint has them."""
    licence: str | None = None
    """Licence, if the checkpoint has one."""

    @property
    def has_decoder(self) -> bool:
        """Whether the model is fine-tuned (has a text decoder)."""
        return DECODER_ANCHOR in self.weights


def read_fairseq(path: Path) -> Source:
    """Read a fairseq checkpoint of AV-HuBERT, pre-trained or fine-tuned, with ``cfg`` or ``args``.

    Raises ModelError for any other file.
    """
    content = read_checkpoint(path)
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelError(f"{path} is not a fairseq checkpoint: it has no weights called 'model'")
    if ANCHOR.removeprefix(PREFIX) in weights:
        weights = add_prefix(weights)
    _check_anchor(path, weights)
    settings = _mapping(plain(content.get("cfg") or content.get("args")))
    # Newer files have a section for the model's settings, older ones a single namespace.
    model = _mapping(settings.get("model")) or settings
    inner = _mapping(plain(model.get("w2v_args")))
    task = _mapping(plain(content.get("task_state")))
    symbols = _mapping(task.get("target_dictionary")).get("symbols")
    fine_tuned = DECODER_ANCHOR in weights
    return Source(
        kind="fairseq checkpoint",
        weights=weights,
        encoder=(_mapping(inner.get("model")) or inner) if fine_tuned else model,
        decoder=model if fine_tuned else {},
        symbols=_texts(symbols) if fine_tuned else None,
        pieces=_find_pieces(content.get("task_state")) if fine_tuned else None,
        languages=_texts(content.get("languages")),
        licence=next(iter(_texts([content.get("licence")]) or []), None),
    )


def read_hugging_face(folder: Path) -> Source:
    """Read a directory of the Hugging Face port; raise ModelError for any other directory."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a model of the Hugging Face port: it has no {name}")
    try:
        settings = _mapping(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise ModelError(f"{folder / 'model.safetensors'} is broken: {error}") from error
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} is broken: {error}") from error
    renamed = from_hugging_face(weights)
    _check_anchor(folder / "model.safetensors", renamed)
    # The port has one kind of layer and no settings for it. Its numbers of heads may be defaults of
    # transformers, so published widths take precedence over them.
    overrides: dict[str, Any] = {
        "layer_norm_first": True,
        "decoder_normalize_before": True,
        "share_decoder_input_output_embed": True,
    }
    for key, anchor, heads, side in [
        ("encoder_attention_heads", ANCHOR, ENCODER_HEADS, 0),
        ("decoder_attention_heads", DECODER_ANCHOR, DECODER_HEADS, 1),
    ]:
        width = renamed[anchor].shape[side] if anchor in renamed else None
        if width in heads:
            overrides[key] = heads[width]
    return Source(
        kind="Hugging Face directory",
        weights=renamed,
        encoder=settings | overrides,
        decoder=settings | overrides,
    )


def plain(value: Any) -> Any:
    """Replace stand-ins of settings objects by plain dicts and lists, recursively."""
    if isinstance(value, StandIn):
        state = value.state
        if not isinstance(state, dict):
            return plain(value.args[0]) if value.args else None
        for inside in ("_content", "_val"):  # OmegaConf's nodes
            if inside in state:
                return plain(state[inside])
        return plain(state)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value


def _texts(value: Any) -> list[str] | None:
    """Return ``value`` if it is a list of one-line texts, else None."""
    fits = isinstance(value, list) and all(isinstance(v, str) and "\n" not in v for v in value)
    return value if fits else None


def _mapping(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def _find_pieces(value: Any) -> bytes | None:
    """Return the first sentencepiece model in a tree of containers and stand-ins."""
    if isinstance(value, StandIn):
        state = value.state
        if type(value).__name__ == "SentencePieceProcessor":  # model, or dict with it
            model = state.get("model_proto") if isinstance(state, dict) else state
            return model if isinstance(model, bytes) else None
        value = state
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((model for model in map(_find_pieces, inside) if model is not None), None)


def _check_anchor(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless these are weights of an AV-HuBERT."""
    if ANCHOR not in weights:
        first = ", ".join([*weights][:NAMED])
        raise ModelError(
            f"{path} is not an AV-HuBERT: it has no {ANCHOR}; its {len(weights)} weights begin "
            f"with {first or 'nothing'}"
        )
