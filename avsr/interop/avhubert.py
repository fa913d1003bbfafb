"""Names of the public AV-HuBERT checkpoints (fairseq layout) -> names of ``AVSRModel``."""

import re
from collections.abc import Mapping

from torch import Tensor

_ENCODER = r"encoder\.w2v_model\."
_TRUNK = _ENCODER + r"feature_extractor_video\.resnet\.trunk\.layer(\d)\.(\d)\."


def _block(match: re.Match[str], rest: str) -> str:
    stage, block = int(match[1]) - 1, int(match[2])
    return f"encoder.frontend.blocks.{2 * stage + block}.{rest}"


_ATTENTION = {"q": "query", "k": "key", "v": "value", "out": "out"}
_NORMS = {
    "self_attn_layer_norm": "attention_norm",
    "final_layer_norm": "ffn_norm",
}
_DECODER_NORMS = {
    "self_attn_layer_norm": "self_norm",
    "encoder_attn_layer_norm": "cross_norm",
    "final_layer_norm": "ffn_norm",
}

# One row per kind of key: an anchored pattern and the name it becomes; None drops it on purpose.
KEY_TABLE = [
    (_ENCODER + r"(mask_emb|label_embs_concat|final_proj\..*)", None),  # pre-training only
    (r"decoder\.embed_positions\._float_tensor", None),  # uninitialised memory
    (_ENCODER + r"feature_extractor_audio\.proj\.(.*)", r"encoder.audio_proj.\1"),
    (_ENCODER + r"feature_extractor_video\.proj\.(.*)", r"encoder.video_proj.\1"),
    (
        _ENCODER + r"feature_extractor_video\.resnet\.frontend3D\.0\.(.*)",
        r"encoder.frontend.stem.\1",
    ),
    (
        _ENCODER + r"feature_extractor_video\.resnet\.frontend3D\.1\.(.*)",
        r"encoder.frontend.stem_norm.\1",
    ),
    (
        _ENCODER + r"feature_extractor_video\.resnet\.frontend3D\.2\.(.*)",
        r"encoder.frontend.stem_act.\1",
    ),
    (_TRUNK + r"conv(\d)\.(.*)", lambda m: _block(m, f"conv{m[3]}.{m[4]}")),
    (_TRUNK + r"bn(\d)\.(.*)", lambda m: _block(m, f"norm{m[3]}.{m[4]}")),
    (_TRUNK + r"relu(\d)\.(.*)", lambda m: _block(m, f"act{m[3]}.{m[4]}")),
    (_TRUNK + r"downsample\.(\d)\.(.*)", lambda m: _block(m, f"shortcut.{m[3]}.{m[4]}")),
    (_ENCODER + r"layer_norm\.(.*)", r"encoder.fusion_norm.\1"),
    (_ENCODER + r"post_extract_proj\.(.*)", r"encoder.fusion_proj.\1"),
    (
        _ENCODER + r"encoder\.pos_conv\.0\.bias",
        "encoder.transformer.position.conv.bias",
    ),
    (
        _ENCODER + r"encoder\.pos_conv\.0\.weight_g",
        "encoder.transformer.position.conv.parametrizations.weight.original0",
    ),
    (
        _ENCODER + r"encoder\.pos_conv\.0\.weight_v",
        "encoder.transformer.position.conv.parametrizations.weight.original1",
    ),
    (
        _ENCODER + r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v|out)_proj\.(.*)",
        lambda m: f"encoder.transformer.layers.{m[1]}.attention.{_ATTENTION[m[2]]}.{m[3]}",
    ),
    (
        _ENCODER + r"encoder\.layers\.(\d+)\.(\w+_layer_norm)\.(.*)",
        lambda m: f"encoder.transformer.layers.{m[1]}.{_NORMS[m[2]]}.{m[3]}",
    ),
    (
        _ENCODER + r"encoder\.layers\.(\d+)\.fc(1|2)\.(.*)",
        lambda m: (
            f"encoder.transformer.layers.{m[1]}.{('ffn_in', 'ffn_out')[int(m[2]) - 1]}.{m[3]}"
        ),
    ),
    (_ENCODER + r"encoder\.layer_norm\.(.*)", r"encoder.transformer.norm.\1"),
    (r"decoder\.embed_tokens\.weight", "decoder.embedding.weight"),
    (
        r"decoder\.layers\.(\d+)\.(self|encoder)_attn\.(q|k|v|out)_proj\.(.*)",
        lambda m: (
            f"decoder.layers.{m[1]}.{'self' if m[2] == 'self' else 'cross'}_attention."
            f"{_ATTENTION[m[3]]}.{m[4]}"
        ),
    ),
    (
        r"decoder\.layers\.(\d+)\.(\w+_layer_norm)\.(.*)",
        lambda m: f"decoder.layers.{m[1]}.{_DECODER_NORMS[m[2]]}.{m[3]}",
    ),
    (
        r"decoder\.layers\.(\d+)\.fc(1|2)\.(.*)",
        lambda m: f"decoder.layers.{m[1]}.{('ffn_in', 'ffn_out')[int(m[2]) - 1]}.{m[3]}",
    ),
    (r"decoder\.layer_norm\.(.*)", r"decoder.norm.\1"),
]


def rename_keys(foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a fine-tuned AV-HuBERT under this project's names, pre-training parts dropped.

    A key that no row of the table knows keeps its name, so that the check against the model
    reports it as unexpected.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in foreign.items():
        for pattern, target in KEY_TABLE:
            match = re.fullmatch(pattern, key)
            if match is None:
                continue
            if target is not None:
                name = target(match) if callable(target) else match.expand(target)
                renamed[name] = value
            break
        else:
            renamed[key] = value
    return renamed
