"""What a run was made of: the model and the data, with digests."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsr.corpus import Record
from avsr.errors import ConfigError, LanguageError
from avsr.evaluation.config import EvaluationConfig
from avsr.evaluation.predictor import AUTO, Recognizer
from avsr.evaluation.run_folder import digest, to_json
from avsr.hub import find_model, load_network
from avsr.model.directory import WEIGHTS
from avsr.model.network import AVSRModel
from avsr.model.weights import stored_precision
from avsr.recognition.senses import find_rule
from avsr.runtime.file_digest import digest_file
from avsr.search import pack_ngrams

SEARCH = ("beam_size", "ctc_weight", "lm_weight", "sync", "check")  # settings that decode


def describe_model(
    config: EvaluationConfig, records: Iterable[Record], recognizer: Recognizer | None
) -> dict[str, Any]:
    """Give name, digest of the weights, and search options of the model.

    Raises:
        LanguageError: The manifest has languages that the model does not know.
        ConfigError: The config has a language mode that the model does not know.
    """
    options = {name: getattr(config, name) for name in SEARCH}
    del options["check"]  # runs without it keep their folders of earlier versions
    if recognizer is not None:
        return {"name": type(recognizer).__name__.lower(), "weights": None, **options}
    model = load_network(config.model, "cpu", "fp32")
    _check_languages(config, records, model.config.languages)
    if config.check and (rule := find_rule(model)) is not None:
        options["check"] = digest(rule.to_dict())
    folder = find_model(config.model)
    precision = config.precision
    if precision == "auto" and (folder / WEIGHTS).is_file():
        precision = stored_precision(folder / WEIGHTS)
    if precision not in ("auto", "fp32"):  # runs in fp32 keep their folders of earlier versions
        options["precision"] = precision
    path = Path(config.model or "tiny").resolve()
    name = path.parent.name if path.name == "model" else path.name
    return {"name": name, "weights": _weights_digest(model, folder), **options}


def _check_languages(
    config: EvaluationConfig, records: Iterable[Record], languages: Sequence[str]
) -> None:
    unknown = sorted({r.language for r in records} - set(languages))
    if unknown:
        raise LanguageError(
            f"the model does not know {', '.join(unknown)}, which the manifest has; score the "
            "others with 'languages'"
        )
    modes = [m for m in config.language_modes if m not in (AUTO, "given", *languages)]
    if modes:
        raise ConfigError(
            f"language_modes: '{modes[0]}' is neither auto, given nor a language of the model"
        )


def _weights_digest(model: AVSRModel, folder: Path) -> str:
    """Compute the SHA-256 of all that decides the model's output."""
    # The configuration counts: a temperature may change while the weights stay.
    sha256 = hashlib.sha256(to_json(model.config.to_dict()).encode())
    for name, weight in sorted(model.state_dict().items()):
        sha256.update(name.encode())
        sha256.update(weight.contiguous().numpy().tobytes())
    sha256.update(pack_ngrams(model.language_models))
    if model.reliability is not None:
        sha256.update(replace(model.reliability, senses=None).to_json().encode())
    for graph in sorted(folder.glob("*.onnx*")):  # ONNX graphs are not in the state
        sha256.update(graph.read_bytes())
    return sha256.hexdigest()


def describe_manifest(config: EvaluationConfig, records: Sequence[Record]) -> dict[str, Any]:
    """Give name, digest and selection of the manifest, and the number of utterances."""
    return {
        "name": Path(config.manifest).name,
        "sha256": digest_file(Path(config.manifest), ConfigError),
        "split": config.split,
        "languages": None if config.languages is None else list(config.languages),
        "limit": config.limit,
        "utterances": len(records),
    }
