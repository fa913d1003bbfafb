"""``avsr export``: convert a model directory to a fairseq checkpoint in the layout of MuAViC."""

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
from avsr.model.directory import TOKENIZER, WEIGHTS, load_directory, read_licence
from avsr.model.network import AVSRModel
from avsr.model.weights import stored_precision
from avsr.runtime.atomic_files import replace_files

LEFT_OUT = {
    "classifier": "language classifier",
    "ctc": "CTC head",
    "decoder": "language embedding of the decoder",
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of an export."""

    files: tuple[Path, ...]
    """The files written, the checkpoint first."""
    left_out: tuple[str, ...]
    """Parts of the model that fairseq's layout cannot hold."""


def export_fairseq(model_directory: Path, out: Path) -> Exported:
    """Write ``checkpoint_best.pt``, ``dict.<language>.txt`` and ``tokenizer.model`` into ``out``.

    The checkpoint holds tensors in plain containers: ``model`` with the weight names of AV-HuBERT's
    fine-tuned models (without parts of pre-training, which an import drops), and ``cfg`` with the
    settings that weights do not reveal. Weights keep their stored precision.

    Args:
        model_directory: Model to export.
        out: Folder to write to.

    Returns:
        The files, and the parts of the model that were left out.

    Raises:
        ModelError: For an int8 model, a model with language prompts or reliability scores (it would
            behave differently without them), or a folder that cannot be written.
    """
    model = load_directory(model_directory)  # validates it; the weights below keep their precision
    config = model.config
    if config.encoder.prompts:
        raise ModelError(
            f"{model_directory} has {config.encoder.prompts} language prompts in every layer, "
            "which fairseq's layout cannot hold"
        )
    if config.encoder.reliability:
        raise ModelError(
            f"{model_directory} weighs sound and lips by their reliability, which fairseq's layout "
            "cannot hold"
        )
    if stored_precision(model_directory / WEIGHTS) == "int8":
        raise ModelError(f"{model_directory} is in int8: export the model that it was made from")
    stored = load_file(model_directory / WEIGHTS)
    names = {name: foreign_name(name) for name in stored}
    weights = OrderedDict((foreign, stored[n].clone()) for n, foreign in names.items() if foreign)
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
    except (OSError, RuntimeError) as error:  # PyTorch's own for a full disk
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot write {out}: {reason}") from error
    dropped = [name for name, foreign in names.items() if not foreign and stored[name].numel()]
    left_out = dict.fromkeys(LEFT_OUT[name.split(".")[0]] for name in dropped)
    return Exported(files=files, left_out=tuple(left_out))


def _settings(model: AVSRModel) -> dict[str, Any]:
    """Return the sizes and settings of a model under fairseq's names."""
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
    names = [CHECKPOINT]
    with replace_files(out) as folder:
        torch.save(content, folder / CHECKPOINT)
        if tokenizer is not None:
            names += [f"dict.{languages[0] if len(languages) == 1 else 'x'}.txt", TOKENIZER]
            pieces = tokenizer.pieces(range(len(SPECIAL), len(tokenizer)))
            (folder / names[1]).write_text("".join(f"{piece} 1\n" for piece in pieces), "utf-8")
            (folder / TOKENIZER).write_bytes(tokenizer.model)
    return tuple(out / name for name in names)
