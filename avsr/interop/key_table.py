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

# Prefixes of the Hugging Face port (names of transformers' speech-to-text models around those of
# AV-HuBERT). Its sinusoids are computed, its output layer is the embedding.
HUGGING_FACE_PREFIXES = [
    (r"model\.encoder\.(?:w2v_model\.|avhubert\.)?", PREFIX),
    (r"model\.decoder\.", "decoder."),
]
_HUGGING_FACE_ENDINGS = [
    (r"pos_conv\.0\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv\.0\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
]


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


def from_hugging_face(port: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of the Hugging Face port to the names of a fine-tuned checkpoint."""
    renamed = {}
    for key, value in port.items():
        for pattern, prefix in HUGGING_FACE_PREFIXES:
            key = re.sub(rf"\A{pattern}", prefix, key)
        for pattern, ending in _HUGGING_FACE_ENDINGS:
            key = re.sub(rf"{pattern}\Z", ending, key)
        renamed[key] = value
    renamed.pop("decoder.embed_positions.weights", None)
    head = renamed.pop("lm_head.weight", None)  # tied to the embedding: either may be stored
    if head is not None:
        renamed.setdefault("decoder.embed_tokens.weight", head)
    return renamed
