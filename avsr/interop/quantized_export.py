"""``avsr export --precision``: convert a model directory to bf16 or int8 matrices."""

from pathlib import Path
from typing import Literal

from safetensors.torch import load_file
from torch import Tensor

from avsr.errors import ModelError
from avsr.model.directory import WEIGHTS, load_directory, write_directory
from avsr.model.quantization import SCALE, linear_layers, quantize

KINDS = {"bf16": "bf16", "int8": "int8, with a scale for each output of a layer"}


def convert_model(model_directory: Path, out: Path, precision: Literal["bf16", "int8"]) -> None:
    """Write a model directory whose linear layers are stored in another precision.

    It loads in that precision without a conversion. Other weights keep their stored precision.

    Args:
        model_directory: Model to convert.
        out: Directory to write; it must be another one.
        precision: ``bf16``, or ``int8`` with a scale for each output of a layer.

    Raises:
        ModelError: If ``model_directory`` is not a model directory, or ``out`` is the same
            directory or cannot be written.
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
    write_directory(
        out,
        model.config,
        weights,
        model.tokenizer,
        text,
        model.language_models,
        model.reliability,
    )
