"""``avsr import``: a foreign AV-HuBERT -> a model directory."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ConfigError, ModelError
from avsr.interop.checkpoint_readers import (
    DECODER_HEADS,
    ENCODER_HEADS,
    Source,
    read_fairseq,
    read_hugging_face,
)
from avsr.interop.key_table import foreign_name, is_dropped, rename_keys
from avsr.interop.vocabulary import arrange_pieces, read_dictionary
from avsr.languages import LANGUAGES, check_language
from avsr.model.config import ModelConfig
from avsr.model.directory import write_directory
from avsr.model.network import AVSRModel
from avsr.model.weights import check_weights

CHECKPOINT = "checkpoint_best.pt"  # of MuAViC's folders
TOKENIZER_NAMES = ("tokenizer.model", "sentencepiece.bpe.model", "spm*.model", "*.model")
DICTIONARY_NAMES = ("dict.*.txt", "dict.txt", "vocab.json")
NON_COMMERCIAL = (
    "non-commercial use only (AV-HuBERT's own terms; MuAViC's models are CC BY-NC 4.0 on top)"
)
# Settings that the weights do not show, their defaults in fairseq, and what this project builds.
ENCODER_SETTINGS: dict[str, tuple[Any, Any]] = {
    "layer_norm_first": (False, True),
    "activation_fn": ("gelu", "gelu"),
    "resnet_relu_type": ("prelu", "prelu"),
    "modality_fuse": ("concat", "concat"),
}
DECODER_SETTINGS: dict[str, tuple[Any, Any]] = {
    "decoder_normalize_before": (False, True),
    "share_decoder_input_output_embed": (False, True),
    "decoder_learned_pos": (False, False),
    "no_token_positional_embeddings": (False, False),
    "no_scale_embedding": (True, True),
}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import made."""

    kind: str
    """What it came from, in words."""
    config: ModelConfig
    dropped: tuple[str, ...]
    """Weights left out on purpose: pre-training's, which nothing uses."""
    licence: str


def import_model(
    source: Path,
    out: Path,
    *,
    dictionary: Path | None = None,
    tokenizer: Path | None = None,
    languages: Sequence[str] | None = None,
    encoder_heads: int | None = None,
) -> Imported:
    """Write the model directory ``out`` from a fairseq ``.pt`` or a directory of the port.

    ``dictionary`` and ``tokenizer`` are looked for in the file, then beside it; ``languages`` in
    its names. ``encoder_heads`` is for files of unusual width that do not say how many they have.
    Weights keep their precision. Nothing in a file is run. Raises ModelError or LanguageError, in
    one line, for what cannot be read, is of another architecture, or does not fit together.
    """
    if source.is_dir() and (source / CHECKPOINT).is_file():
        source = source / CHECKPOINT
    found = read_hugging_face(source) if source.is_dir() else read_fairseq(source)
    folder = source if source.is_dir() else source.parent
    weights = rename_keys(found.weights)
    encoder = _encoder_config(source, found, weights, encoder_heads)
    made: Tokenizer | None = None
    if found.has_decoder:
        dictionary = dictionary or _beside(folder, DICTIONARY_NAMES, found.symbols is None)
        tokenizer = tokenizer or _beside(folder, TOKENIZER_NAMES, found.pieces is None)
        made = _make_tokenizer(source, found, dictionary, tokenizer)
        rows = len(weights["decoder.embedding.weight"])
        if rows != len(made):
            raise ModelError(
                f"{source} has {rows} tokens, its vocabulary {len(made)} ({tokenizer or 'inside'}, "
                f"{dictionary or 'inside'}): name the right ones with --tokenizer and --dictionary"
            )
    codes = languages or found.languages or _guess_languages(source, dictionary)
    config = ModelConfig(
        encoder=encoder,
        decoder=_decoder_config(source, found, weights) if found.has_decoder else DecoderConfig(),
        vocabulary_size=len(made) if made else ModelConfig.vocabulary_size,
        languages=tuple(check_language(code) for code in codes),
        parts=("encoder", "decoder") if found.has_decoder else ("encoder",),
    )
    # The plain AV-HuBERT in the project's terms: no prompts, no vectors of languages.
    weights["encoder.transformer.prompts"] = torch.empty(encoder.layers, 0, encoder.dim)
    if found.has_decoder:
        weights["decoder.language_embedding.weight"] = torch.empty(0, config.decoder.dim)
    model = AVSRModel.on_meta(config, made)
    check_weights(model, weights, str(source), lambda name: foreign_name(name) or name)
    training = "fine-tuned" if found.has_decoder else "pre-trained"
    result = Imported(
        kind=f"{training} AV-HuBERT, {found.kind}",
        config=config,
        dropped=tuple(name for name in found.weights if is_dropped(name)),
        licence=found.licence or NON_COMMERCIAL,
    )
    try:
        write_directory(out, config, weights, made, _card(out.name, source, result))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot write {out}: {reason}") from error
    return result


def _encoder_config(
    source: Path, found: Source, weights: Mapping[str, Tensor], heads: int | None
) -> AVHubertConfig:
    position = _weight(source, weights, "encoder.transformer.position.conv", ".original1")
    dim = position.shape[0]
    if found.encoder:
        _check_settings(source, found.encoder, ENCODER_SETTINGS)
        heads = heads or found.encoder.get("encoder_attention_heads", ENCODER_HEADS[768])
    heads = heads or ENCODER_HEADS.get(dim)
    if heads is None:
        raise ModelError(
            f"{source} does not say how many attention heads its encoder of width {dim} has: "
            "name their number with --encoder-heads"
        )
    try:
        return AVHubertConfig(
            layers=_count_layers(weights, "encoder.transformer"),
            dim=dim,
            ffn_dim=len(_weight(source, weights, "encoder.transformer.layers.0.ffn_in")),
            heads=heads,
            frontend_width=len(_weight(source, weights, "encoder.frontend.stem")),
            position_kernel=position.shape[2],
            position_groups=dim // position.shape[1],
            prompts=0,
        )
    except (ConfigError, TypeError, IndexError) as error:
        raise ModelError(f"{source} is of another architecture: {error}") from error


def _decoder_config(source: Path, found: Source, weights: Mapping[str, Tensor]) -> DecoderConfig:
    embedding = weights["decoder.embedding.weight"]
    if embedding.dim() != 2:
        raise ModelError(f"{source} is of another architecture: its embedding is no matrix")
    dim = embedding.shape[1]
    heads = DECODER_HEADS.get(dim, 4)
    if found.decoder:
        _check_settings(source, found.decoder, DECODER_SETTINGS)
        heads = found.decoder.get("decoder_attention_heads", 4)
    try:
        return DecoderConfig(
            layers=_count_layers(weights, "decoder"),
            dim=dim,
            ffn_dim=len(_weight(source, weights, "decoder.layers.0.ffn_in")),
            heads=heads,
        )
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{source} is of another architecture: {error}") from error


def _weight(
    source: Path, weights: Mapping[str, Tensor], module: str, ending: str = ".weight"
) -> Tensor:
    """A weight that gives away a size; raise ModelError where it is missing."""
    name = module + (".parametrizations.weight" + ending if ending != ".weight" else ending)
    if name not in weights:
        raise ModelError(f"{source} is of another architecture: it has no {foreign_name(name)}")
    return weights[name]


def _count_layers(weights: Mapping[str, Tensor], module: str) -> int:
    pattern = re.compile(rf"{re.escape(module)}\.layers\.(\d+)\.")
    numbers = [int(match[1]) for match in map(pattern.match, weights) if match]
    return 1 + max(numbers, default=-1)


def _check_settings(
    source: Path, settings: Mapping[str, Any], expected: Mapping[str, tuple[Any, Any]]
) -> None:
    wrong = [
        f"{name} is {settings.get(name, default)}, not {built}"
        for name, (default, built) in expected.items()
        if settings.get(name, default) != built
    ]
    if wrong:
        raise ModelError(f"{source} is of another architecture: {'; '.join(wrong)}")


def _beside(folder: Path, names: Sequence[str], needed: bool) -> Path | None:
    """The first file of a folder that has one of these names, if one is needed."""
    paths = (path for name in names for path in sorted(folder.glob(name)) if path.is_file())
    return next(paths, None) if needed else None


def _make_tokenizer(
    source: Path, found: Source, dictionary: Path | None, tokenizer: Path | None
) -> Tokenizer:
    pieces = found.pieces
    if tokenizer is not None:
        try:
            pieces = tokenizer.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {tokenizer}: {error.strerror}") from error
    if pieces is None:
        raise ModelError(
            f"no sentencepiece model in {source} or beside it: name it with --tokenizer"
        )
    symbols = found.symbols if dictionary is None else read_dictionary(dictionary)
    return arrange_pieces(pieces, symbols, str(tokenizer or source))


def _guess_languages(source: Path, dictionary: Path | None) -> tuple[str, ...]:
    """Languages by the names that MuAViC's models have; AV-HuBERT's own are for English."""
    names = [dictionary.name if dictionary else "", *reversed(source.absolute().parts[-3:])]
    for name in names:
        match = re.fullmatch(r"dict\.(\w+)\.txt|(\w+)_avsr|.*AV-HuBERT-MuAViC-(\w+)", name)
        code = match and next(group for group in match.groups() if group)
        if code in ("x", "multilingual"):
            return tuple(language for language in LANGUAGES if language != "en")
        if code in LANGUAGES:
            return (code,)
    return ("en",)


def _card(name: str, source: Path, result: Imported) -> str:
    dropped = f"\nLeft out: {', '.join(result.dropped)}.\n" if result.dropped else ""
    return (
        f"# {name}\n\nImported from `{source.name}` ({result.kind}).\n{dropped}\n"
        f"Languages: {', '.join(result.config.languages)}\n\nLicence: {result.licence}\n"
    )
