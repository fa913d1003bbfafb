"""Read directories of the Hugging Face port of AV-HuBERT and MuAViC.

Its ``config.json`` is that of a wav2vec 2.0 with more keys. Those that the port does not read
(``encoder_layers``, ``encoder_ffn_dim``, ``do_stable_layer_norm``, ...) may say anything.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avsr.errors import ModelError
from avsr.interop.checkpoint_readers import (
    ANCHOR,
    DECODER_ANCHOR,
    Source,
    check_anchor,
    check_heads,
)
from avsr.interop.key_table import PORT_DROPPED, from_port, is_dropped, to_port
from avsr.model.config import ModelConfig
from avsr.model.directory import CONFIG, IN_SHARDS, SHARDS, WEIGHTS
from avsr.rates import FBANK_DIM
from avsr.settings import show

# Keys that the weights do not reveal -> values with which the port computes what this network does.
SETTINGS: dict[str, tuple[Any, ...]] = {
    "modality_fuse": ("concat",),
    "resnet_relu_type": ("prelu",),
    "hidden_act": ("gelu",),  # of the encoder
    "activation_function": ("relu",),  # of the decoder
    "layer_norm_eps": (1e-5,),
    "scale_embedding": (None, False),
    "decoder_start_token_id": (2,),
    "eos_token_id": (2,),
    "pad_token_id": (1,),
}
# Keys that must agree with the weights -> part of the configuration and field.
SIZES = {
    "num_hidden_layers": ("encoder", "layers"),
    "encoder_hidden_size": ("encoder", "dim"),
    "encoder_embed_dim": ("encoder", "dim"),
    "intermediate_size": ("encoder", "ffn_dim"),
    "num_conv_pos_embeddings": ("encoder", "position_kernel"),
    "num_conv_pos_embedding_groups": ("encoder", "position_groups"),
    "decoder_layers": ("decoder", "layers"),
    "d_model": ("decoder", "dim"),
    "decoder_hidden_size": ("decoder", "dim"),
    "decoder_ffn_dim": ("decoder", "ffn_dim"),
}
HEADS = ("encoder_attention_heads", "decoder_attention_heads")  # nothing else says them
# The port has one kind of layer and no settings for it; these are fairseq's names.
LAYER_KIND = {
    "layer_norm_first": True,
    "decoder_normalize_before": True,
    "share_decoder_input_output_embed": True,
}


def read_port(folder: Path, weights: Mapping[str, Tensor] | None = None) -> Source:
    """Read a directory of the port.

    Args:
        folder: The directory.
        weights: Its weights by their names in the file; they may be on ``meta``. None: read them.

    Raises:
        ModelError: It is any other directory, or of a network that computes something else.
    """
    if weights is None and not (folder / WEIGHTS).is_file() and (folder / SHARDS).is_file():
        raise ModelError(f"{folder}: {IN_SHARDS}")
    for name in (CONFIG, *([WEIGHTS] if weights is None else [])):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a model of the Hugging Face port: it has no {name}")
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS) if weights is None else weights
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS} is broken: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG} is broken: {error}") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / CONFIG} is broken: it must be a mapping of settings")
    for anchor in (ANCHOR, DECODER_ANCHOR):
        check_anchor(folder / WEIGHTS, weights, to_port(anchor))
    _check_settings(folder, settings)
    renamed = {name: from_port(name) for name in weights}
    unused = [n for n, foreign in renamed.items() if n in PORT_DROPPED or is_dropped(foreign)]
    return Source(
        kind="Hugging Face directory",
        weights={renamed[name]: w for name, w in weights.items() if name not in unused},
        encoder=settings | LAYER_KIND,
        decoder=settings | LAYER_KIND,
        dropped=tuple(unused),
        port_settings=settings,
    )


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise ModelError for settings with which the port would compute something else."""
    check_heads(folder / CONFIG, settings, HEADS)
    problems = [f"it has no {key}" for key in HEADS if key not in settings]
    problems += [
        f"{key} is {show(settings[key], quoted=False)}, not {' or '.join(map(str, values))}"
        for key, values in SETTINGS.items()
        if key in settings and settings[key] not in values
    ]
    if problems:
        raise ModelError(f"{folder / CONFIG} is of another architecture: {'; '.join(problems)}")


def check_sizes(folder: Path, settings: Mapping[str, Any], config: ModelConfig) -> None:
    """Compare the sizes that ``config.json`` states with those of the weights.

    Args:
        folder: The directory of the port.
        settings: Content of its ``config.json``.
        config: Configuration that was inferred from the weights.

    Raises:
        ModelError: Names every size that differs.
    """
    actual = {key: getattr(getattr(config, part), field) for key, (part, field) in SIZES.items()}
    actual |= {"vocab_size": config.vocabulary_size, "audio_feat_dim": FBANK_DIM}
    problems = [
        f"{key} is {show(settings[key], quoted=False)}, its weights have {value}"
        for key, value in actual.items()
        if key in settings and settings[key] != value
    ]
    if problems:
        raise ModelError(f"{folder / CONFIG} does not fit the weights: {'; '.join(problems)}")
