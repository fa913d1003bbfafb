"""Read weights, settings and vocabulary of fairseq checkpoints of AV-HuBERT."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from avsr.errors import ModelError
from avsr.interop.key_table import PREFIX, add_prefix, foreign_name, to_port
from avsr.interop.safe_unpickler import StandIn, check_tensors, read_checkpoint

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
    dropped: tuple[str, ...] = ()
    """Names of weights in the file that were left out because nothing uses them."""
    port_settings: Mapping[str, Any] | None = None
    """Content of the ``config.json`` of the Hugging Face port."""

    @property
    def has_decoder(self) -> bool:
        """Whether the model is fine-tuned (has a text decoder)."""
        return DECODER_ANCHOR in self.weights

    def called(self, name: str) -> str:
        """Return the name in the file of one of our weights."""
        foreign = foreign_name(name) or name
        return foreign if self.port_settings is None else to_port(foreign)


def read_fairseq(path: Path) -> Source:
    """Read a fairseq checkpoint of AV-HuBERT, pre-trained or fine-tuned, with ``cfg`` or ``args``.

    Raises ModelError for any other file.
    """
    content = read_checkpoint(path)
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelError(f"{path} is not a fairseq checkpoint: it has no weights called 'model'")
    check_tensors(path, weights)
    if ANCHOR.removeprefix(PREFIX) in weights:
        weights = add_prefix(weights)
    check_anchor(path, weights, ANCHOR)
    try:
        return _source(weights, content)
    except RecursionError as error:
        raise ModelError(f"{path} is broken: its settings are nested too deeply") from error


def _source(weights: Mapping[str, Tensor], content: Mapping[str, Any]) -> Source:
    """Find settings and vocabulary in the content of a checkpoint."""
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


def plain(value: Any, known: dict[int, Any] | None = None) -> Any:
    """Replace stand-ins of settings objects by plain dicts and lists, recursively.

    An object that stands in several places is replaced once; ``known`` has the results by the ids
    of the objects. Otherwise lists of lists of the same list would take for ever.
    """
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = None  # where it stands in itself
        known[id(value)] = _replace(value, known)
    return known[id(value)]


def _replace(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, StandIn):
        state = value.state
        if not isinstance(state, dict):
            return plain(value.args[0], known) if value.args else None
        for inside in ("_content", "_val"):  # OmegaConf's nodes
            if inside in state:
                return plain(state[inside], known)
        return plain(state, known)
    if isinstance(value, dict):
        return {key: plain(entry, known) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry, known) for entry in value]
    return value


def _texts(value: Any) -> list[str] | None:
    """Return ``value`` if it is a list of one-line texts, else None."""
    fits = isinstance(value, list) and all(isinstance(v, str) and "\n" not in v for v in value)
    return value if fits else None


def _mapping(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def _find_pieces(value: Any, seen: set[int] | None = None) -> bytes | None:
    """Return the first sentencepiece model in a tree of containers and stand-ins.

    ``seen`` has the ids of the objects that were looked at.
    """
    seen = set() if seen is None else seen
    if id(value) in seen:
        return None
    seen.add(id(value))
    if isinstance(value, StandIn):
        state = value.state
        if type(value).__name__ == "SentencePieceProcessor":  # model, or dict with it
            model = state.get("model_proto") if isinstance(state, dict) else state
            return model if isinstance(model, bytes) else None
        value = state
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    models = (_find_pieces(one, seen) for one in inside)
    return next((model for model in models if model is not None), None)


def check_anchor(path: Path, names: Collection[str], anchor: str) -> None:
    """Raise ModelError unless a weight that every AV-HuBERT has is among those of a file."""
    if anchor not in names:
        first = ", ".join([*names][:NAMED])
        raise ModelError(
            f"{path} is not an AV-HuBERT: it has no {anchor}; its {len(names)} weights begin "
            f"with {first or 'nothing'}"
        )


def check_heads(path: Path, settings: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ModelError for numbers of attention heads that are no whole numbers above 0.

    Args:
        path: What the error calls the file.
        settings: Its settings.
        names: The settings to check, where they are there.
    """
    for name in names:
        heads = settings.get(name, 1)
        if type(heads) is not int or heads < 1:
            raise ModelError(
                f"{path} is broken: {name} is {str(heads)[:20]}, not a whole number above 0"
            )
