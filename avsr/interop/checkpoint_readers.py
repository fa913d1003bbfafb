"""What a foreign model says of itself: weights, settings, vocabulary, wherever it keeps them."""

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
# Attention heads of the published sizes by width, for files that do not say them.
ENCODER_HEADS = {768: 12, 1024: 16}
DECODER_HEADS = {768: 4, 1024: 8}
NAMED = 3  # weights of an alien checkpoint that an error names


@dataclass(frozen=True, kw_only=True)
class Source:
    """A foreign model, read but not yet judged."""

    kind: str
    """How it is stored, for people."""
    weights: Mapping[str, Tensor]
    """Under the names of a fine-tuned fairseq checkpoint."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the encoder; empty where it does not say them."""
    decoder: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the decoder."""
    symbols: Sequence[str] | None = None
    """The dictionary inside it."""
    pieces: bytes | None = None
    """The sentencepiece model inside it."""
    languages: Sequence[str] | None = None
    """Codes of its languages, if it says them."""
    licence: str | None = None
    """What it says of its licence."""

    @property
    def has_decoder(self) -> bool:
        """Whether it was fine-tuned to write text."""
        return DECODER_ANCHOR in self.weights


def read_fairseq(path: Path) -> Source:
    """A fairseq checkpoint of AV-HuBERT, pre-trained or fine-tuned, with ``cfg`` or ``args``.

    Raises ModelError for a file that is no such thing.
    """
    content = read_checkpoint(path)
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelError(f"{path} is no fairseq checkpoint: it has no weights called 'model'")
    if ANCHOR.removeprefix(PREFIX) in weights:
        weights = add_prefix(weights)
    _check_anchor(path, weights)
    settings = _mapping(plain(content.get("cfg") or content.get("args")))
    # Newer files keep the model's settings in a section, older ones all in one.
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
    """A directory of the Hugging Face port; raise ModelError for one that is something else."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no model of the Hugging Face port: it has no {name}")
    try:
        settings = _mapping(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise ModelError(f"{folder / 'model.safetensors'} is broken: {error}") from error
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} is broken: {error}") from error
    renamed = from_hugging_face(weights)
    _check_anchor(folder / "model.safetensors", renamed)
    # The port has one kind of layers, without settings to say so; the numbers of heads among its
    # settings may be the defaults of transformers, so that known widths go before them.
    always: dict[str, Any] = {
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
            always[key] = heads[width]
    return Source(
        kind="Hugging Face directory",
        weights=renamed,
        encoder=settings | always,
        decoder=settings | always,
    )


def plain(value: Any) -> Any:
    """Stand-ins of settings objects as the containers that they stood for."""
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
    """A list of texts of one line each; None for anything else."""
    fits = isinstance(value, list) and all(isinstance(v, str) and "\n" not in v for v in value)
    return value if fits else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _find_pieces(value: Any) -> bytes | None:
    """The first sentencepiece model in a tree of containers and stand-ins."""
    if isinstance(value, StandIn):
        state = value.state
        if type(value).__name__ == "SentencePieceProcessor":  # the model, or settings with it
            model = state.get("model_proto") if isinstance(state, dict) else state
            return model if isinstance(model, bytes) else None
        value = state
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for found in map(_find_pieces, inside) if found is not None), None)


def _check_anchor(path: Path, weights: Mapping[str, Tensor]) -> None:
    if ANCHOR not in weights:
        first = ", ".join([*weights][:NAMED])
        raise ModelError(
            f"{path} is no AV-HuBERT: it has no {ANCHOR}; its {len(weights)} weights begin with "
            f"{first or 'nothing'}"
        )
