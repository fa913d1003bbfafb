"""Import ECAPA language-ID models that speechbrain saved, such as VoxLingua107's."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from avsr.errors import ConfigError, ModelError
from avsr.interop.safe_unpickler import check_tensors, read_checkpoint
from avsr.language.ecapa import Ecapa, EcapaConfig
from avsr.languages import LANGUAGE_NAMES, canonical_code
from avsr.model.directory import read_licence
from avsr.model.ecapa_directory import write_ecapa
from avsr.model.meta_init import init_on_meta
from avsr.model.weights import check_weights
from avsr.runtime.file_digest import digest_file
from avsr.runtime.text_lines import split_lines

EMBEDDING = "embedding_model"  # files, without .ckpt
CLASSIFIER = "classifier"
LABEL_FILES = ("label_encoder.txt", "label_encoder.ckpt")  # the second in speechbrain's own folders
SEPARATOR = "=" * 16  # ends the labels; settings follow
# SHA-256 of speechbrain/lang-id-voxlingua107-ecapa, unchanged since October 2021.
VOXLINGUA107 = {
    "embedding_model.ckpt": "ab750d5c06d713477045fa798fab5d33e959dbc0dfe4de510a9a47844c79a19a",
    "classifier.ckpt": "a50d9024ff58d317031c9787d4c6c614d454a87a8ef32f9d36338cd3ff57adbc",
}
COSINE_SCALE = 30.0  # by which training multiplies cosines before its softmax

# Name in Ecapa -> name in speechbrain's files.
_KEYS = [
    (r"blocks\.0\.(conv|norm)\.(\w+)", rf"{EMBEDDING}.blocks.0.\1.\1.\2"),
    (r"blocks\.(\d+)\.(tdnn[12])\.(conv|norm)\.(\w+)", rf"{EMBEDDING}.blocks.\1.\2.\3.\3.\4"),
    (
        r"blocks\.(\d+)\.res2net\.units\.(\d+)\.(conv|norm)\.(\w+)",
        rf"{EMBEDDING}.blocks.\1.res2net_block.blocks.\2.\3.\3.\4",
    ),
    (r"blocks\.(\d+)\.gate\.squeeze\.(\w+)", rf"{EMBEDDING}.blocks.\1.se_block.conv1.conv.\2"),
    (r"blocks\.(\d+)\.gate\.excite\.(\w+)", rf"{EMBEDDING}.blocks.\1.se_block.conv2.conv.\2"),
    (r"aggregation\.(conv|norm)\.(\w+)", rf"{EMBEDDING}.mfa.\1.\1.\2"),
    (r"pooling\.(?:frames|context)\.(\w+)", rf"{EMBEDDING}.asp.tdnn.conv.conv.\1"),
    (r"pooling\.norm\.(\w+)", rf"{EMBEDDING}.asp.tdnn.norm.norm.\1"),
    (r"pooling\.out\.(\w+)", rf"{EMBEDDING}.asp.conv.conv.\1"),
    (r"pooling_norm\.(\w+)", rf"{EMBEDDING}.asp_bn.norm.\1"),
    (r"projection\.(\w+)", rf"{EMBEDDING}.fc.conv.\1"),
    (r"head\.norm\.(\w+)", rf"{CLASSIFIER}.norm.norm.\1"),
    (r"head\.hidden\.(\w+)", rf"{CLASSIFIER}.DNN.block_0.linear.w.\1"),
    (r"head\.hidden_norm\.(\w+)", rf"{CLASSIFIER}.DNN.block_0.norm.norm.\1"),
    (r"head\.out\.(\w+)", rf"{CLASSIFIER}.out.w.\1"),
    (r"head\.(weight)", rf"{CLASSIFIER}.\1"),
]
# Labels of CommonLanguage whose names avsr spells otherwise.
_LABEL_CODES = {
    "chinese_hongkong": "yue",
    "frisian": "fy",
    "mangolian": "mn",
    "ukranian": "uk",
}


def is_speechbrain_folder(source: Path) -> bool:
    """Return whether a folder holds a model for this import, complete or not."""
    return (source / f"{EMBEDDING}.ckpt").is_file()


def import_ecapa(source: Path, out: Path) -> tuple[str, EcapaConfig, str]:
    """Convert a language-ID model to a model directory. Weights keep their precision.

    Args:
        source: Folder with ``embedding_model.ckpt``, ``classifier.ckpt`` and ``label_encoder.txt``.
        out: Model directory to write.

    Returns:
        Description of the source, configuration, and licence.

    Raises:
        ModelError: A file is missing or damaged, or the model is of another architecture.
    """
    label_file = next((source / n for n in LABEL_FILES if (source / n).is_file()), None)
    if label_file is None:
        raise ModelError(f"{source} is no language-ID model: it has no {LABEL_FILES[0]}")
    paths = [source / f"{EMBEDDING}.ckpt", source / f"{CLASSIFIER}.ckpt", label_file]
    sources = {path.name: _digest(path) for path in paths}
    weights = {
        f"{name}.{key}": weight
        for name in (EMBEDDING, CLASSIFIER)
        for key, weight in _read_weights(source / f"{name}.ckpt").items()
    }
    config, weights = convert_ecapa(weights, read_labels(label_file), str(source), sources)
    is_published = VOXLINGUA107.items() <= sources.items()
    kind = "ECAPA language identification, speechbrain folder"
    kind += ", the published VoxLingua107 weights" if is_published else ""
    licence = "Apache-2.0" if is_published else read_licence(source)
    write_ecapa(out, config, weights, _card(out.name, source, kind, config, licence))
    return kind, config, licence


def _digest(path: Path) -> str:
    """SHA-256 of a file, which must be the one that the hub's cache names its large files by."""
    digest = digest_file(path, ModelError)
    stored = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", stored.name) and stored.name != digest:
        raise ModelError(f"{path} is damaged: delete {stored} and download it again")
    return digest


def _read_weights(path: Path) -> dict[str, Tensor]:
    weights = read_checkpoint(path)
    if not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise ModelError(f"{path} is no file of weights: it holds other things than tensors")
    check_tensors(path, weights)
    return weights


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of speechbrain's label encoder, in the order of their indices.

    A line is ``'th: Thai' => 94``, in Python's notation; after a line of 16 ``=`` follow settings.

    Raises:
        ModelError: The file is broken, or the indices are not 0, 1, 2, ...
    """
    labels: dict[int, str] = {}
    try:
        lines = split_lines(path.read_text("utf-8"))
        end = lines.index(SEPARATOR)
        for line in lines[:end]:
            text, _, index = line.rpartition(" => ")
            label = ast.literal_eval(text)
            if not isinstance(label, str) or not label.strip() or int(index) in labels:
                raise ValueError(f"'{line}' is no label, or its index is taken")
            labels[int(index)] = label
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ModelError(f"{path} is no file of labels: {' '.join(str(error).split())}") from error
    if sorted(labels) != list(range(len(labels))):
        raise ModelError(f"{path} is no file of labels: its indices are not 0, 1, 2, ...")
    return tuple(labels[index] for index in range(len(labels)))


def label_code(label: str) -> str:
    """Find the language code of a label; a label without a known language stays as it is.

    Args:
        label: A code (``iw``, ``zh_CN``), a code with a name (``th: Thai``), or a name, also with a
            country or dialect (``Chinese_Taiwan``).
    """
    text = label.partition(":")[0].strip()
    if re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})*", text):
        return canonical_code(text) or label
    if text.lower() in _LABEL_CODES:
        return _LABEL_CODES[text.lower()]
    names = {name.lower(): code for code, name in LANGUAGE_NAMES.items()}
    return names.get(text.partition("_")[0].lower(), label)


def convert_ecapa(
    weights: Mapping[str, Tensor],
    labels: tuple[str, ...],
    where: str,
    sources: Mapping[str, str] | None = None,
) -> tuple[EcapaConfig, dict[str, Tensor]]:
    """Infer the sizes of a model from its weights, and rename these.

    Args:
        weights: Weights of both files, by ``embedding_model.KEY`` and ``classifier.KEY``.
        labels: The labels.
        where: What an error calls the model, such as its path.
        sources: For the configuration.

    Returns:
        Configuration, and weights of ``Ecapa``.

    Raises:
        ModelError: Weights are missing, unexpected, or do not fit each other.
    """
    config = _config(weights, labels, where, sources or {})
    if len(labels) != (scores := _num_scores(weights)):
        raise ModelError(f"{where} has {len(labels)} labels, but its classifier scores {scores}")
    with init_on_meta():
        model = Ecapa(config)
    names = {ours: speechbrain_key(ours) for ours in model.state_dict()}
    converted = {
        ours: _arrange(ours, weights[theirs], config)
        for ours, theirs in names.items()
        if theirs in weights
    }
    known = set(names.values())
    unexpected = {theirs: weight for theirs, weight in weights.items() if theirs not in known}
    check_weights(model, converted | unexpected, where, lambda name: names.get(name, name))
    return config, converted


def speechbrain_key(name: str) -> str:
    """Return speechbrain's name of a weight of ``Ecapa``, file included."""
    for pattern, replacement in _KEYS:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    raise KeyError(name)


def _arrange(name: str, weight: Tensor, config: EcapaConfig) -> Tensor:
    """Turn a convolution (out, in, kernel) into a linear layer over shifted copies of the input."""
    if weight.dim() == 3:
        weight = weight.transpose(1, 2).flatten(1)
    if name == "pooling.frames.weight":
        return weight[:, : config.pooled_channels]
    return weight[:, config.pooled_channels :] if name == "pooling.context.weight" else weight


def _num_scores(weights: Mapping[str, Tensor]) -> int:
    head = weights.get(f"{CLASSIFIER}.weight", weights.get(f"{CLASSIFIER}.out.w.weight"))
    return 0 if head is None else len(head)


def _config(
    weights: Mapping[str, Tensor],
    labels: tuple[str, ...],
    where: str,
    sources: Mapping[str, str],
) -> EcapaConfig:
    """Infer the sizes from the weights; settings beside published files do not always fit them."""
    hidden_key = "DNN.block_0.linear.w.weight"
    has_cosines = f"{CLASSIFIER}.weight" in weights
    try:
        stem = weights[f"{EMBEDDING}.blocks.0.conv.conv.weight"]
        kernels = [stem.shape[2]]
        while f"{EMBEDDING}.blocks.{len(kernels)}.tdnn1.conv.conv.weight" in weights:
            block = f"{EMBEDDING}.blocks.{len(kernels)}.res2net_block.blocks.0.conv.conv.weight"
            kernels.append(weights[block].shape[2])
        aggregation = weights[f"{EMBEDDING}.mfa.conv.conv.weight"]
        group_width = weights[f"{EMBEDDING}.blocks.1.res2net_block.blocks.0.conv.conv.weight"]
        return EcapaConfig(
            labels=labels,
            languages=tuple(map(label_code, labels)),
            filters=stem.shape[1],
            channels=len(stem),
            kernels=(*kernels, aggregation.shape[2]),
            groups=len(stem) // len(group_width),
            gate_channels=len(weights[f"{EMBEDDING}.blocks.1.se_block.conv1.conv.weight"]),
            pooled_channels=len(aggregation),
            attention_channels=len(weights[f"{EMBEDDING}.asp.tdnn.conv.conv.weight"]),
            embedding=len(weights[f"{EMBEDDING}.fc.conv.weight"]),
            hidden=None if has_cosines else len(weights[f"{CLASSIFIER}.{hidden_key}"]),
            temperature=1 / COSINE_SCALE if has_cosines else 1.0,
            sources=dict(sources),
        )
    except KeyError as error:
        raise ModelError(
            f"{where} is of another architecture: it has no {error.args[0]}"
        ) from error
    except (IndexError, TypeError, ZeroDivisionError, ConfigError) as error:
        raise ModelError(f"{where} is of another architecture: {error}") from error


def _card(name: str, source: Path, kind: str, config: EcapaConfig, licence: str) -> str:
    """Return the README of the model directory."""
    return (
        f"# {name}\n\nTells {len(config.codes)} languages apart by their sound; it writes no "
        f"text. Imported from `{source.name}` ({kind}).\n\n"
        f"Languages: {', '.join(config.codes)}\n\nLicence: {licence}\n"
    )
