"""``avsr import``: convert a public checkpoint to a model directory."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ConfigError, ModelError
from avsr.interop.checkpoint_readers import (
    DECODER_ANCHOR,
    DECODER_HEADS,
    ENCODER_HEADS,
    Source,
    check_heads,
    read_fairseq,
)
from avsr.interop.ecapa_import import import_ecapa, is_speechbrain_folder
from avsr.interop.hugging_face_port import check_sizes, read_port
from avsr.interop.key_table import is_dropped, rename_keys
from avsr.interop.vocabulary import arrange_pieces, read_dictionary
from avsr.language.ecapa import EcapaConfig
from avsr.languages import MUAVIC_LANGUAGES, check_language
from avsr.model.config import ModelConfig
from avsr.model.directory import settle, write_directory
from avsr.model.network import AVSRModel
from avsr.model.weights import check_weights

CHECKPOINT = "checkpoint_best.pt"  # file name in MuAViC's folders
TOKENIZER_NAMES = ("tokenizer.model", "sentencepiece.bpe.model", "spm*.model", "*.model")
DICTIONARY_NAMES = ("dict.*.txt", "dict.txt", "vocab.json")
NON_COMMERCIAL = (
    "non-commercial use only (AV-HuBERT's own terms; MuAViC's models are CC BY-NC 4.0 on top)"
)
# Settings that the weights do not reveal: name -> (default in fairseq, value of this network).
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
    """The result of an import."""

    kind: str
    """Description of the source, such as "fine-tuned AV-HuBERT, fairseq checkpoint"."""
    config: ModelConfig | EcapaConfig
    """Configuration of the new model directory."""
    dropped: tuple[str, ...]
    """Names of weights that were left out because nothing uses them."""
    licence: str
    """Licence of the source."""


def import_model(
    source: Path,
    out: Path,
    *,
    dictionary: Path | None = None,
    tokenizer: Path | None = None,
    languages: Sequence[str] | None = None,
    encoder_heads: int | None = None,
) -> Imported:
    """Convert an AV-HuBERT checkpoint or a language-ID model to a model directory.

    Weights keep their precision. No code in the checkpoint is run.

    Args:
        source: A fairseq ``.pt`` file, a folder with ``checkpoint_best.pt``, a directory of the
            Hugging Face port, or a folder of an ECAPA language-ID model of speechbrain.
        out: Model directory to write.
        dictionary: fairseq's ``dict.txt``. Default: the one inside the checkpoint or beside it.
        tokenizer: The sentencepiece model. Default: the one inside the checkpoint or beside it.
        languages: Codes of the languages. Default: as the checkpoint says, or as the file names
            suggest.
        encoder_heads: Number of attention heads, for encoders of unusual width whose checkpoint
            does not say it.

    Returns:
        What was imported, and which weights were left out.

    Raises:
        ModelError: If a file cannot be read or written, the architecture differs, or checkpoint,
            dictionary and tokenizer do not belong together.
        LanguageError: For an unknown language.
    """
    settle(source)
    if source.is_dir() and (source / CHECKPOINT).is_file():
        source = source / CHECKPOINT
    if is_speechbrain_folder(source):
        if dictionary or tokenizer or languages or encoder_heads:
            raise ModelError(
                f"{source} is a language-ID model: its files say all, so leave out the options"
            )
        kind, ecapa, licence = import_ecapa(source, out)
        return Imported(kind=kind, config=ecapa, dropped=(), licence=licence)
    checkpoint = read_port(source) if source.is_dir() else read_fairseq(source)
    plan = _plan(source, checkpoint, dictionary, tokenizer, languages, encoder_heads)
    training = "fine-tuned" if checkpoint.has_decoder else "pre-trained"
    result = Imported(
        kind=f"{training} AV-HuBERT, {checkpoint.kind}",
        config=plan.config,
        dropped=plan.dropped,
        licence=checkpoint.licence or NON_COMMERCIAL,
    )
    card = _card(out.name, source, result)
    write_directory(out, plan.config, plan.weights, plan.tokenizer, card)
    return result


def check_port(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Check that a model of the Hugging Face port can be imported, before its weights are there.

    Args:
        folder: Its small files.
        weights: Its weights on ``meta``, by their names in the file.

    Raises:
        ModelError: As ``import_model`` would.
    """
    _plan(folder, read_port(folder, weights), None, None, None, None)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A checkpoint that was checked and can be written as a model directory."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    """Weights by their names in the network."""
    tokenizer: Tokenizer | None
    dropped: tuple[str, ...]
    """Names in the file of weights that nothing uses."""


def _plan(
    source: Path,
    checkpoint: Source,
    dictionary: Path | None,
    tokenizer: Path | None,
    languages: Sequence[str] | None,
    encoder_heads: int | None,
) -> _Plan:
    """Check a checkpoint and bring it into the form of a model directory."""
    weights = rename_keys(checkpoint.weights)
    encoder = _encoder_config(source, checkpoint, weights, encoder_heads)
    text_tokenizer: Tokenizer | None = None
    decoder = DecoderConfig()
    if checkpoint.has_decoder:
        folder = source if source.is_dir() else source.parent
        dictionary = dictionary or _beside(folder, DICTIONARY_NAMES, checkpoint.symbols is None)
        tokenizer = tokenizer or _beside(folder, TOKENIZER_NAMES, checkpoint.pieces is None)
        decoder = _decoder_config(source, checkpoint, weights)
        text_tokenizer = _make_tokenizer(source, checkpoint, dictionary, tokenizer)
    codes = languages or checkpoint.languages or _guess_languages(source, dictionary)
    config = ModelConfig(
        encoder=encoder,
        decoder=decoder,
        vocabulary_size=len(text_tokenizer) if text_tokenizer else ModelConfig.vocabulary_size,
        languages=tuple(check_language(code) for code in codes),
        parts=("encoder", "decoder") if checkpoint.has_decoder else ("encoder",),
    )
    # AV-HuBERT has neither language prompts nor language embeddings: here they have length 0.
    weights["encoder.transformer.prompts"] = torch.empty(encoder.layers, 0, encoder.dim)
    if checkpoint.has_decoder:
        weights["decoder.language_embedding.weight"] = torch.empty(0, config.decoder.dim)
    if checkpoint.port_settings is not None:
        check_sizes(source, checkpoint.port_settings, config)
    model = AVSRModel.on_meta(config, text_tokenizer)
    check_weights(model, weights, str(source), checkpoint.called)
    return _Plan(
        config=config,
        weights=weights,
        tokenizer=text_tokenizer,
        dropped=(*checkpoint.dropped, *filter(is_dropped, checkpoint.weights)),
    )


def _encoder_config(
    source: Path, checkpoint: Source, weights: Mapping[str, Tensor], heads: int | None
) -> AVHubertConfig:
    """Infer the sizes of the encoder from its weights and settings."""
    position = _weight(
        source, checkpoint, weights, "encoder.transformer.position.conv", ".original1"
    )
    dim = position.shape[0]
    if checkpoint.encoder:
        _check_settings(source, checkpoint.encoder, ENCODER_SETTINGS)
        check_heads(source, checkpoint.encoder, ["encoder_attention_heads"])
        heads = heads or checkpoint.encoder.get("encoder_attention_heads", ENCODER_HEADS[768])
    heads = heads or ENCODER_HEADS.get(dim)
    if heads is None:
        raise ModelError(
            f"{source} does not say how many attention heads its encoder of width {dim} has: "
            "give their number with --encoder-heads"
        )
    try:
        return AVHubertConfig(
            layers=_count_layers(source, weights, "encoder.transformer"),
            dim=dim,
            ffn_dim=len(
                _weight(source, checkpoint, weights, "encoder.transformer.layers.0.ffn_in")
            ),
            heads=heads,
            frontend_width=len(_weight(source, checkpoint, weights, "encoder.frontend.stem")),
            position_kernel=position.shape[2],
            position_groups=dim // position.shape[1],
            prompts=0,
        )
    except (ConfigError, TypeError, LookupError, ZeroDivisionError) as error:
        raise ModelError(f"{source} is of another architecture: {error}") from error


def _decoder_config(
    source: Path, checkpoint: Source, weights: Mapping[str, Tensor]
) -> DecoderConfig:
    """Infer the sizes of the decoder from its weights and settings."""
    embedding = weights["decoder.embedding.weight"]
    if embedding.dim() != 2:
        raise ModelError(f"{source} is of another architecture: its embedding is not a matrix")
    dim = embedding.shape[1]
    heads = DECODER_HEADS.get(dim, 4)
    if checkpoint.decoder:
        _check_settings(source, checkpoint.decoder, DECODER_SETTINGS)
        check_heads(source, checkpoint.decoder, ["decoder_attention_heads"])
        heads = checkpoint.decoder.get("decoder_attention_heads", 4)
    try:
        return DecoderConfig(
            layers=_count_layers(source, weights, "decoder"),
            dim=dim,
            ffn_dim=len(_weight(source, checkpoint, weights, "decoder.layers.0.ffn_in")),
            heads=heads,
        )
    except (ConfigError, TypeError) as error:
        raise ModelError(f"{source} is of another architecture: {error}") from error


def _weight(
    source: Path,
    checkpoint: Source,
    weights: Mapping[str, Tensor],
    module: str,
    ending: str = ".weight",
) -> Tensor:
    """Return a weight with sizes in it; raise ModelError if it is missing or a number."""
    name = module + (".parametrizations.weight" + ending if ending != ".weight" else ending)
    if name not in weights or not weights[name].dim():
        raise ModelError(
            f"{source} is of another architecture: it has no {checkpoint.called(name)}"
        )
    return weights[name]


def _count_layers(source: Path, weights: Mapping[str, Tensor], module: str) -> int:
    """Count the layers of a module; raise ModelError if their numbers have a gap.

    A single weight that is called layer 999999999 must not become as many layers.
    """
    pattern = re.compile(rf"{re.escape(module)}\.layers\.(\d{{1,18}})\.")
    numbers = {int(match[1]) for match in map(pattern.match, weights) if match}
    count = len(numbers)
    if numbers and max(numbers) >= count:
        missing = min(set(range(count)) - numbers)
        raise ModelError(
            f"{source} is broken: it has a layer {max(numbers)} of its {module}, but none "
            f"of the number {missing}"
        )
    return count


def _check_settings(
    source: Path, settings: Mapping[str, Any], expected: Mapping[str, tuple[Any, Any]]
) -> None:
    """Raise ModelError for settings with which another network would be built."""
    wrong = [
        f"{name} is {settings.get(name, default)}, not {built}"
        for name, (default, built) in expected.items()
        if settings.get(name, default) != built
    ]
    if wrong:
        raise ModelError(f"{source} is of another architecture: {'; '.join(wrong)}")


def _beside(folder: Path, names: Sequence[str], needed: bool) -> Path | None:
    """Return the first file of a folder that matches one of the names, if one is needed."""
    paths = (path for name in names for path in sorted(folder.glob(name)) if path.is_file())
    return next(paths, None) if needed else None


def _make_tokenizer(
    source: Path, checkpoint: Source, dictionary: Path | None, tokenizer: Path | None
) -> Tokenizer:
    """Return a tokenizer with one token per row of the embedding, from the files or the checkpoint.

    Raises ModelError if one is missing or they do not belong together.
    """
    pieces = checkpoint.pieces
    if tokenizer is not None:
        try:
            pieces = tokenizer.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {tokenizer}: {error.strerror}") from error
    if pieces is None:
        raise ModelError(
            f"no sentencepiece model in {source} or beside it: give it with --tokenizer"
        )
    symbols = checkpoint.symbols if dictionary is None else read_dictionary(dictionary)
    arranged = arrange_pieces(pieces, symbols, str(tokenizer or source))
    rows = len(checkpoint.weights[DECODER_ANCHOR])
    if rows != len(arranged):
        raise ModelError(
            f"{source} has {rows} tokens, its vocabulary {len(arranged)} ({tokenizer or 'inside'}, "
            f"{dictionary or 'inside'}): give the right ones with --tokenizer and --dictionary"
        )
    return arranged


def _guess_languages(source: Path, dictionary: Path | None) -> tuple[str, ...]:
    """Guess the languages from the file names of MuAViC; AV-HuBERT's own models are for English."""
    names = [dictionary.name if dictionary else "", *reversed(source.absolute().parts[-3:])]
    for name in names:
        match = re.fullmatch(r"dict\.(\w+)\.txt|(\w+)_avsr|.*AV-HuBERT-MuAViC-(\w+)", name)
        code = match and next(group for group in match.groups() if group)
        if code in ("x", "multilingual"):
            return tuple(language for language in MUAVIC_LANGUAGES if language != "en")
        if code in MUAVIC_LANGUAGES:
            return (code,)
    return ("en",)


def _card(name: str, source: Path, result: Imported) -> str:
    """Return the README of the model directory."""
    dropped = f"\nLeft out: {', '.join(result.dropped)}.\n" if result.dropped else ""
    return (
        f"# {name}\n\nImported from `{source.name}` ({result.kind}).\n{dropped}\n"
        f"Languages: {', '.join(result.config.languages)}\n\nLicence: {result.licence}\n"
    )
