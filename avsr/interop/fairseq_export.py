"""``avsr export``: a model directory -> a folder as MuAViC's are, for other programs."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from avsr.decoder import Tokenizer
from avsr.errors import ModelError
from avsr.interop.checkpoint_import import CHECKPOINT
from avsr.interop.key_table import PREFIX, foreign_name
from avsr.interop.vocabulary import SPECIAL
from avsr.model.directory import WEIGHTS, load_directory, read_licence
from avsr.model.network import AVSRModel
from avsr.model.weights import stored_precision
from avsr.runtime.atomic_files import atomic_write, replace_bytes, replace_text

LEFT_OUT = {
    "classifier": "language classifier",
    "ctc": "CTC head",
    "decoder": "the decoder's vectors of languages",
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export made."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    """Parts that fairseq's layout has no place for."""


def export_fairseq(model_directory: Path, out: Path) -> Exported:
    """Write ``checkpoint_best.pt``, ``dict.<language>.txt`` and ``tokenizer.model`` into ``out``.

    The checkpoint holds tensors in plain containers: ``model`` under the names of AV-HuBERT's
    fine-tuned models (without what an import leaves out: pre-training's parts), ``cfg`` with the
    settings that weights do not show. Weights keep the directory's precision. Raises ModelError for
    a model with prompts, which would be another one without them.
    """
    model = load_directory(model_directory)  # checks it; its weights may be in another precision
    config = model.config
    if config.encoder.prompts:
        raise ModelError(
            f"{model_directory} has {config.encoder.prompts} language prompts in every layer, for "
            "which fairseq's layout has no place"
        )
    if stored_precision(model_directory / WEIGHTS) == "int8":
        raise ModelError(f"{model_directory} is in int8: export the model that it was made from")
    stored = load_file(model_directory / WEIGHTS)
    named = {name: foreign_name(name) for name in stored}
    weights = OrderedDict((their, stored[own].clone()) for own, their in named.items() if their)
    if model.has("decoder"):
        weights["decoder.embed_positions._float_tensor"] = torch.zeros(1)
    else:
        weights = OrderedDict((k.removeprefix(PREFIX), value) for k, value in weights.items())
    content = {
        "args": None,
        "cfg": {"_name": None, "model": _settings(model)},
        "model": weights,
        "languages": list(config.languages),
        "licence": read_licence(model_directory),
    }
    try:
        files = _write(out, content, model.tokenizer, config.languages)
    except OSError as error:
        raise ModelError(f"cannot write {out}: {error.strerror}") from error
    lost = [name for name, their in named.items() if their is None and stored[name].numel()]
    kinds = dict.fromkeys(LEFT_OUT[name.split(".")[0]] for name in lost)
    return Exported(files=files, left_out=tuple(kinds))


def _settings(model: AVSRModel) -> dict[str, Any]:
    """What fairseq calls the sizes, and the choices that weights do not show."""
    encoder, decoder = model.config.encoder, model.config.decoder
    inner = {
        "_name": "av_hubert",
        "encoder_layers": encoder.layers,
        "encoder_embed_dim": encoder.dim,
        "encoder_ffn_embed_dim": encoder.ffn_dim,
        "encoder_attention_heads": encoder.heads,
        "conv_pos": encoder.position_kernel,
        "conv_pos_groups": encoder.position_groups,
        "layer_norm_first": True,
    }
    if not model.has("decoder"):
        return inner
    return {
        "_name": "av_hubert_seq2seq",
        "w2v_args": {"model": inner},
        "decoder_layers": decoder.layers,
        "decoder_embed_dim": decoder.dim,
        "decoder_ffn_embed_dim": decoder.ffn_dim,
        "decoder_attention_heads": decoder.heads,
        "decoder_normalize_before": True,
        "share_decoder_input_output_embed": True,
    }


def _write(
    out: Path, content: dict[str, Any], tokenizer: Tokenizer | None, languages: tuple[str, ...]
) -> tuple[Path, ...]:
    out.mkdir(parents=True, exist_ok=True)
    files = [out / CHECKPOINT]
    with atomic_write(files[0]) as temporary:
        torch.save(content, temporary)
    if tokenizer is not None:
        files += [out / f"dict.{languages[0] if len(languages) == 1 else 'x'}.txt"]
        pieces = tokenizer.pieces(range(len(SPECIAL), len(tokenizer)))
        replace_text(files[-1], "".join(f"{piece} 1\n" for piece in pieces))
        files += [out / "tokenizer.model"]
        replace_bytes(files[-1], tokenizer.model)
    return tuple(files)
