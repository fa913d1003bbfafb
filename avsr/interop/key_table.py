"""Weight names of the public AV-HuBERT checkpoints (fairseq) <-> weight names of ``AVSRModel``.

``KEY_TABLE`` is used in both directions: each row is a foreign name and ours. ``{i}`` stands for
the number of a layer and ``{w}`` for the last component (weight, bias, running_mean, ...).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from torch import Tensor

# Prefix of the encoder's weights in a fine-tuned checkpoint; a pre-trained one has no prefix.
PREFIX = "encoder.w2v_model."
_VIDEO = PREFIX + "feature_extractor_video."
_LAYER, _OWN_LAYER = PREFIX + "encoder.layers.{i}.", "encoder.transformer.layers.{i}."
_POSITION = "encoder.transformer.position.conv."
_PROJECTIONS = {"q": "query", "k": "key", "v": "value", "out": "out"}
_BLOCKS = [(stage, block) for stage in range(4) for block in range(2)]

KEY_TABLE: list[tuple[str, str]] = [
    (PREFIX + "feature_extractor_audio.proj.{w}", "encoder.audio_proj.{w}"),
    (_VIDEO + "proj.{w}", "encoder.video_proj.{w}"),
    (_VIDEO + "resnet.frontend3D.0.{w}", "encoder.frontend.stem.{w}"),
    (_VIDEO + "resnet.frontend3D.1.{w}", "encoder.frontend.stem_norm.{w}"),
    (_VIDEO + "resnet.frontend3D.2.{w}", "encoder.frontend.stem_act.{w}"),
    *(
        (
            f"{_VIDEO}resnet.trunk.layer{stage + 1}.{block}.{theirs}.{{w}}",
            f"encoder.frontend.blocks.{2 * stage + block}.{ours}.{{w}}",
        )
        for stage, block in _BLOCKS
        for theirs, ours in [
            ("conv1", "conv1"),
            ("conv2", "conv2"),
            ("bn1", "norm1"),
            ("bn2", "norm2"),
            ("relu1", "act1"),
            ("relu2", "act2"),
            ("downsample.0", "shortcut.0"),
            ("downsample.1", "shortcut.1"),
        ]
    ),
    (PREFIX + "layer_norm.{w}", "encoder.fusion_norm.{w}"),
    (PREFIX + "post_extract_proj.{w}", "encoder.fusion_proj.{w}"),
    (PREFIX + "encoder.pos_conv.0.bias", _POSITION + "bias"),
    (PREFIX + "encoder.pos_conv.0.weight_g", _POSITION + "parametrizations.weight.original0"),
    (PREFIX + "encoder.pos_conv.0.weight_v", _POSITION + "parametrizations.weight.original1"),
    *(
        (f"{_LAYER}self_attn.{theirs}_proj.{{w}}", f"{_OWN_LAYER}attention.{ours}.{{w}}")
        for theirs, ours in _PROJECTIONS.items()
    ),
    (_LAYER + "self_attn_layer_norm.{w}", _OWN_LAYER + "attention_norm.{w}"),
    (_LAYER + "fc1.{w}", _OWN_LAYER + "ffn_in.{w}"),
    (_LAYER + "fc2.{w}", _OWN_LAYER + "ffn_out.{w}"),
    (_LAYER + "final_layer_norm.{w}", _OWN_LAYER + "ffn_norm.{w}"),
    (PREFIX + "encoder.layer_norm.{w}", "encoder.transformer.norm.{w}"),
    ("decoder.embed_tokens.weight", "decoder.embedding.weight"),
    *(
        (
            f"decoder.layers.{{i}}.{their_kind}_attn.{theirs}_proj.{{w}}",
            f"decoder.layers.{{i}}.{kind}_attention.{ours}.{{w}}",
        )
        for their_kind, kind in [("self", "self"), ("encoder", "cross")]
        for theirs, ours in _PROJECTIONS.items()
    ),
    ("decoder.layers.{i}.self_attn_layer_norm.{w}", "decoder.layers.{i}.self_norm.{w}"),
    ("decoder.layers.{i}.encoder_attn_layer_norm.{w}", "decoder.layers.{i}.cross_norm.{w}"),
    ("decoder.layers.{i}.fc1.{w}", "decoder.layers.{i}.ffn_in.{w}"),
    ("decoder.layers.{i}.fc2.{w}", "decoder.layers.{i}.ffn_out.{w}"),
    ("decoder.layers.{i}.final_layer_norm.{w}", "decoder.layers.{i}.ffn_norm.{w}"),
    ("decoder.layer_norm.{w}", "decoder.norm.{w}"),
]

# Left out on purpose: parts of pre-training, and a buffer of uninitialised memory.
DROPPED = [
    PREFIX + "mask_emb",
    PREFIX + "label_embs_concat",
    PREFIX + "final_proj.{w}",
    "decoder.embed_positions._float_tensor",
    "decoder.version",
]

# Names of the Hugging Face port -> names of a fine-tuned checkpoint, for parts of the encoder that
# it took over from transformers' wav2vec 2.0. All others differ by their prefix only.
_PORT = "model.encoder.encoder."
_PORT_LAYER = _PORT + "layers.{i}."
PORT_TABLE: list[tuple[str, str]] = [
    (_PORT + "pos_conv_embed.conv.bias", PREFIX + "encoder.pos_conv.0.bias"),
    (
        _PORT + "pos_conv_embed.conv.parametrizations.weight.original0",
        PREFIX + "encoder.pos_conv.0.weight_g",
    ),
    (
        _PORT + "pos_conv_embed.conv.parametrizations.weight.original1",
        PREFIX + "encoder.pos_conv.0.weight_v",
    ),
    *(
        (f"{_PORT_LAYER}attention.{name}_proj.{{w}}", f"{_LAYER}self_attn.{name}_proj.{{w}}")
        for name in _PROJECTIONS
    ),
    (_PORT_LAYER + "layer_norm.{w}", _LAYER + "self_attn_layer_norm.{w}"),
    (_PORT_LAYER + "feed_forward.intermediate_dense.{w}", _LAYER + "fc1.{w}"),
    (_PORT_LAYER + "feed_forward.output_dense.{w}", _LAYER + "fc2.{w}"),
]
_PORT_PREFIXES = [("model.encoder.", PREFIX), ("model.decoder.", "decoder.")]
# Left out as well: sinusoids, which are computed here, and a matrix that the port never uses. Its
# output layer is the embedding.
PORT_DROPPED = ("model.decoder.embed_positions.weights", "model.lm_head.weight")


@cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{w\}", r"(?P<w>\w+)")
    return re.compile(escaped)


def _translate(name: str, table: Sequence[tuple[str, str]]) -> str | None:
    for template, target in table:
        match = _pattern(template).fullmatch(name)
        if match is not None:
            return target.format(**match.groupdict())
    return None


def own_name(foreign: str) -> str | None:
    """Return our name of a weight of a fine-tuned checkpoint; None if the table has no such row."""
    return _translate(foreign, KEY_TABLE)


def foreign_name(name: str) -> str | None:
    """Return the name of one of our weights in a fine-tuned checkpoint; None if it has none."""
    return _translate(name, [(ours, theirs) for theirs, ours in KEY_TABLE])


def is_dropped(foreign: str) -> bool:
    """Return whether a weight is left out on purpose."""
    return any(_pattern(template).fullmatch(foreign) for template in DROPPED)


def rename_keys(foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a fine-tuned AV-HuBERT to our names and drop parts of pre-training.

    A key that is not in the table keeps its name, so that the check against the model reports it
    as unexpected.
    """
    return {own_name(key) or key: v for key, v in foreign.items() if not is_dropped(key)}


def add_prefix(pretrained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a pre-trained checkpoint to the names of a fine-tuned one."""
    return {PREFIX + key: value for key, value in pretrained.items()}


def from_port(name: str) -> str:
    """Return the name in a fine-tuned checkpoint of a weight of the Hugging Face port.

    A name that the port does not have stays as it is, so that it is reported as unexpected.
    """
    renamed = _translate(name, PORT_TABLE)
    for prefix, target in _PORT_PREFIXES:
        if renamed is None and name.startswith(prefix):
            renamed = target + name.removeprefix(prefix)
    return renamed if renamed is not None and to_port(renamed) == name else name


def to_port(foreign: str) -> str:
    """Return the name in the Hugging Face port of a weight of a fine-tuned checkpoint."""
    name = _translate(foreign, [(theirs, port) for port, theirs in PORT_TABLE])
    for port, prefix in _PORT_PREFIXES:
        if name is None and foreign.startswith(prefix):
            name = port + foreign.removeprefix(prefix)
    return foreign if name is None else name
