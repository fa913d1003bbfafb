"""``avsr export --format onnx``: write each part of a network as an ONNX graph and check it.

Tracing must not fix any size: sizes of tensors are read as ``x.shape[0]``, never as ``len(x)``.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from avsr.decoder.transformer import FIRST_POSITION
from avsr.errors import ModelError
from avsr.interop.onnx_model import Graph
from avsr.model.directory import WEIGHTS, load_directory, replace_model, write_contents
from avsr.model.network import AVSRModel
from avsr.rates import CROP_SIZE, FBANK_DIM

TOLERANCE = 1e-3  # largest absolute difference to torch; outputs are about 1 to 10
OPSET = 18


class FrontendGraph(nn.Module):
    """``mouth`` (B, T, 88, 88) -> (B, T, 8 * width)."""

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.part = model.encoder.frontend

    def forward(self, mouth: Tensor) -> Tensor:
        return self.part(mouth)


class EncoderGraph(nn.Module):
    """AVHubertEncoder after its front end.

    ``present`` (2,) is 1 for each of (audio, video) that the clips have, else 0. Outputs: prompts,
    features, and the scores of an encoder with ``reliability``.
    """

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.part = model.encoder

    def forward(
        self, fbank: Tensor, visual: Tensor, present: Tensor, padding: Tensor
    ) -> tuple[Tensor, ...]:
        audio = self.part.audio_proj(fbank) * present[0]
        video = self.part.video_proj(visual) * present[1]
        scores: tuple[Tensor, ...] = ()
        if self.part.reliability is not None:
            has_both = present[0] * present[1]  # otherwise nothing is weighed
            weights = self.part.reliability(audio, video, padding) * has_both + (1 - has_both)
            audio, video = audio * weights[..., :1], video * weights[..., 1:]
            scores = (weights.masked_fill(padding[..., None], 0.0),)  # otherwise arbitrary
        fused = self.part.fusion_norm(torch.cat([audio, video], -1))
        prompts, features = self.part.transformer(self.part.fusion_proj(fused), padding)
        return prompts, features.masked_fill(padding[..., None], 0.0), *scores


class ClassifierGraph(nn.Module):
    """LanguageClassifier in evaluation mode; masks frames instead of selecting them."""

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.part = model.classifier

    def forward(self, memory: Tensor, padding: Tensor) -> Tensor:
        hidden = padding[:, None]
        x = memory.transpose(1, 2).masked_fill(hidden, 0.0)
        for conv, norm in zip(self.part.convs, self.part.norms, strict=True):
            x = F.relu(norm(conv(x))).masked_fill(hidden, 0.0)
        mean = x.sum(2) / (~padding).sum(1, keepdim=True)
        return self.part.out(F.relu(self.part.hidden(mean)))


class CtcGraph(nn.Module):
    """``features`` (B, T, D) -> (B, T, V)."""

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.part = model.ctc

    def forward(self, features: Tensor) -> Tensor:
        return self.part(features)


class MemoryGraph(nn.Module):
    """``memory`` (B, S, D) -> keys and values (B, heads, S, d) for every layer of the decoder."""

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.layers, self.heads = model.decoder.layers, model.config.decoder.heads

    def forward(self, memory: Tensor) -> tuple[Tensor, ...]:
        crosses = [layer.cross_attention for layer in self.layers]
        return tuple(
            _split(project(memory), self.heads)
            for cross in crosses
            for project in (cross.key, cross.value)
        )


class StepGraph(nn.Module):
    """AttentionDecoder.step for N hypotheses, N / U of each of U utterances.

    Inputs: ``tokens`` (N,), ``position`` () number of tokens so far, ``languages`` (N,),
    ``padding`` (U, S), ``cross`` as returned by MemoryGraph, ``past`` keys and values
    (N, heads, L, d). Outputs: log-probabilities (N, V), and keys and values of L + 1 tokens.
    """

    def __init__(self, model: AVSRModel) -> None:
        super().__init__()
        self.part, self.heads = model.decoder, model.config.decoder.heads
        self.has_languages = model.has("classifier")

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        languages: Tensor,
        padding: Tensor,
        cross: list[Tensor],
        past: list[Tensor],
    ) -> tuple[Tensor, ...]:
        part, heads = self.part, self.heads
        x = part.embedding(tokens) + part.positions[FIRST_POSITION + position]
        if self.has_languages:
            x = x + part.language_embedding(languages) * (position == 0)
        else:
            x = x + 0.0 * languages[:, None]  # keeps it an input of the graph
        valid = ~padding[:, None, None]
        caches: list[Tensor] = []
        for i, layer in enumerate(part.layers):
            attention, cross_attention = layer.self_attention, layer.cross_attention
            y = layer.self_norm(x)[:, None]
            keys = torch.cat([past[2 * i], _split(attention.key(y), heads)], 2)
            values = torch.cat([past[2 * i + 1], _split(attention.value(y), heads)], 2)
            caches += [keys, values]
            y = F.scaled_dot_product_attention(_split(attention.query(y), heads), keys, values)
            x = x + attention.out(_join(y)[:, 0])
            y = cross_attention.query(layer.cross_norm(x))
            y = y.unflatten(0, (padding.shape[0], -1))
            y = F.scaled_dot_product_attention(
                _split(y, heads), cross[2 * i], cross[2 * i + 1], attn_mask=valid
            )
            x = x + cross_attention.out(_join(y).flatten(0, 1))
            x = x + layer.ffn_out(layer.ffn_in(layer.ffn_norm(x)))
        return part.logits(x).log_softmax(-1), *caches


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) -> (B, heads, L, D / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """(B, heads, L, d) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Shape:
    """Sizes of inputs with which a graph is tested."""

    batch: int
    frames: int
    rows: int
    """Hypotheses of each utterance."""
    tokens: int
    """Length of each hypothesis so far."""


TRACED_SHAPE = Shape(batch=2, frames=7, rows=3, tokens=2)
TESTED_SHAPES = (TRACED_SHAPE, Shape(batch=1, frames=11, rows=1, tokens=0), Shape(3, 1, 2, 5))


class ExampleInputs:
    """Make random inputs for the graphs of a model; each method is named after its graph."""

    def __init__(self, model: AVSRModel) -> None:
        """Read the sizes of ``model``."""
        self.config, self.frontend_dim = model.config, model.encoder.frontend.out_dim
        self.dim, self.prompts = model.config.encoder.dim, model.config.encoder.prompts
        self.num_languages = len(model.config.languages) if model.has("classifier") else 1
        self.generator = torch.Generator().manual_seed(0)

    def frontend(self, shape: Shape) -> tuple[Any, ...]:
        return (self._random(shape.batch, shape.frames, CROP_SIZE, CROP_SIZE),)

    def encoder(self, shape: Shape) -> tuple[Any, ...]:
        fbank = self._random(shape.batch, shape.frames, FBANK_DIM)
        visual = self._random(shape.batch, shape.frames, self.frontend_dim)
        present = torch.tensor([1.0, float(shape.batch != 3)])  # the third shape has no video
        return fbank, visual, present, self._padding(shape)

    def classifier(self, shape: Shape) -> tuple[Any, ...]:
        return *self.memory(shape), self._padding(shape, self.prompts)

    def ctc(self, shape: Shape) -> tuple[Any, ...]:
        return (self._random(shape.batch, shape.frames, self.dim),)

    def memory(self, shape: Shape) -> tuple[Any, ...]:
        return (self._random(shape.batch, shape.frames + self.prompts, self.dim),)

    def step(self, shape: Shape) -> tuple[Any, ...]:
        sizes, count = self.config.decoder, shape.batch * shape.rows
        heads, width, caches = sizes.heads, sizes.dim // sizes.heads, range(2 * sizes.layers)
        length = self.prompts + shape.frames
        cross = [self._random(shape.batch, heads, length, width) for _ in caches]
        past = [self._random(count, heads, shape.tokens, width) for _ in caches]
        return (
            torch.arange(count) % self.config.vocabulary_size,
            torch.tensor(shape.tokens),
            torch.arange(count) % max(1, self.num_languages),
            self._padding(shape, self.prompts),
            cross,
            past,
        )

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def _padding(self, shape: Shape, prompts: int = 0) -> Tensor:
        """Return a mask (B, prompts + T) that pads half of the first of several utterances."""
        mask = torch.zeros(shape.batch, prompts + shape.frames, dtype=torch.bool)
        mask[0, prompts + (shape.frames + 1) // 2 :] = shape.batch > 1
        return mask


def _dynamic_axes(num_layers: int) -> dict[str, tuple[Any, ...]]:
    """Return, by graph, the axes of each input that may have any size."""
    names = ("batch", "frames", "places", "rows", "tokens")  # as the files name them
    batch, frames, length, rows, tokens = map(torch.export.Dim, names)
    clip, memory = {0: batch, 1: frames}, {0: batch, 1: length}
    cross, past = [{0: batch, 2: length}], [{0: rows, 2: tokens}]
    return {
        "frontend": (clip,),
        "encoder": (clip, clip, {}, clip),
        "classifier": (memory, memory),
        "ctc": (clip,),
        "memory": (memory,),
        "step": ({0: rows}, {}, {0: rows}, memory, 2 * num_layers * cross, 2 * num_layers * past),
    }


def _make_graphs(model: AVSRModel) -> dict[str, nn.Module]:
    """Return the graphs of the parts that a model has, by name."""
    graphs: dict[str, nn.Module] = {"frontend": FrontendGraph(model)}
    if model.has("classifier"):
        graphs["classifier"] = ClassifierGraph(model)
    if model.has("ctc"):
        graphs["ctc"] = CtcGraph(model)
    if model.has("decoder"):
        graphs |= {"memory": MemoryGraph(model), "step": StepGraph(model)}
    return graphs | {"encoder": EncoderGraph(model)}


def export_onnx(model_directory: Path, out: Path) -> dict[str, float]:
    """Write a model directory of ONNX files, which ``avsr transcribe --model`` runs.

    Args:
        model_directory: Model to export.
        out: Directory to write.

    Returns:
        Largest absolute difference to torch of each graph, over several sizes of batch and clip.

    Raises:
        ModelError: If ``model_directory`` is not a model directory, a difference exceeds
            TOLERANCE, a package of the extra ``onnx`` is missing, or ``out`` cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError("to write ONNX, install the extra: pip install avsr[onnx]") from error
    if (out / WEIGHTS).exists():
        raise ModelError(f"{out} is a model directory already: write into another one")
    model = load_directory(model_directory)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):  # store the computed weight
            parametrize.remove_parametrizations(module, "weight")
    card = model_directory / "README.md"
    text = card.read_text("utf-8") if card.is_file() else ""
    with replace_model(out) as folder:
        write_contents(
            folder,
            model.config,
            None,
            model.tokenizer,
            text,
            model.language_models,
            model.reliability,
        )
        return _write_graphs(model, folder)


def _write_graphs(model: AVSRModel, out: Path) -> dict[str, float]:
    """Write every graph of a model and compare it with torch; return the largest differences."""
    inputs, axes = ExampleInputs(model), _dynamic_axes(model.config.decoder.layers)
    differences = {}
    for name, graph in _make_graphs(model).items():
        path, make_inputs = out / f"{name}.onnx", getattr(inputs, name)
        _write(graph.eval(), make_inputs(TRACED_SHAPE), axes[name], path)
        differences[name] = max(
            _difference(graph, make_inputs(shape), path) for shape in TESTED_SHAPES
        )
        if not differences[name] <= TOLERANCE:
            raise ModelError(
                f"{path.name} differs from torch by {differences[name]:.1e}, more than {TOLERANCE}"
            )
    return differences


def _write(graph: nn.Module, inputs: tuple[Any, ...], axes: tuple[Any, ...], path: Path) -> None:
    with _silence():
        program = torch.onnx.export(
            graph, inputs, dynamo=True, dynamic_shapes=axes, opset_version=OPSET, verbose=False
        )
    assert program is not None
    program.save(path)
    if path.with_name(f"{path.name}.data").exists():  # torch writes one from 1.5 GB on
        raise ModelError(f"{path.name} would be too large for a single file")


@torch.inference_mode()
def _difference(graph: nn.Module, inputs: tuple[Any, ...], path: Path) -> float:
    """Return the largest absolute difference between the outputs of a graph and of its file."""
    flat: list[Tensor] = []
    for value in inputs:
        flat += value if isinstance(value, list) else [value]
    expected = graph(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    pairs = zip(expected, Graph(path)(*flat), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the exporter's warnings, which concern its own deprecated code."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)
