"""``avsr export --precision``: a model directory whose matrices are stored in bf16 or int8."""

from pathlib import Path
from typing import Literal

from safetensors.torch import load_file
from torch import Tensor

from avsr.errors import ModelError
from avsr.model.directory import WEIGHTS, load_directory, write_directory
from avsr.model.quantization import SCALE, linear_layers, quantize

KINDS = {"bf16": "bf16", "int8": "int8, with a scale for each output of a layer"}


def convert_model(model_directory: Path, out: Path, precision: Literal["bf16", "int8"]) -> None:
    """Write a model directory that loads in ``precision`` without being converted.

    Weights other than those of linear layers keep the precision that they are stored in. Raises
    ModelError for what is no model directory, or cannot be written.
    """
    if out.resolve() == model_directory.resolve():
        raise ModelError(f"{out} is the model itself: write into another directory")
    model = load_directory(model_directory)
    weights: dict[str, Tensor] = {
        name: weight
        for name, weight in load_file(model_directory / WEIGHTS).items()
        if not name.endswith(SCALE)
    }
    for name, layer in linear_layers(model).items():
        if precision == "bf16":
            weights[f"{name}.weight"] = layer.weight.detach().bfloat16()
            weights[f"{name}.bias"] = layer.bias.detach().bfloat16()
        else:
            rows, scale = quantize(layer.weight.detach())
            weights |= {f"{name}.weight": rows, f"{name}.weight{SCALE}": scale}
            weights[f"{name}.bias"] = layer.bias.detach()
    card = model_directory / "README.md"
    text = f"{card.read_text('utf-8').rstrip()}\n\n" if card.is_file() else ""
    text += f"The matrices of this directory are stored in {KINDS[precision]}.\n"
    try:
        write_directory(out, model.config, weights, model.tokenizer, text, model.language_models)
    except OSError as error:
        raise ModelError(f"cannot write {out}: {error.strerror}") from error
