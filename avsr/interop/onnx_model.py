"""Run a model directory of ONNX files with onnxruntime on the CPU.

``avsr export --format onnx`` writes such a directory: instead of ``model.safetensors`` it has one
graph per part of the network, named after the part. Here each graph replaces the part in an
AVSRModel, so that all other code is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from avsr.encoder import EncoderOutput
from avsr.errors import ModelError
from avsr.model.directory import ONNX, load_outline
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.rates import FBANK_DIM


class Graph:
    """An ONNX file as a function of tensors."""

    def __init__(self, path: Path) -> None:
        """Open a file; raise ModelError if it is missing or broken, or without onnxruntime."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"{path.parent} needs onnxruntime, which is not installed: pip install avsr[onnx]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exception classes are not public
            reason = " ".join(str(error).split())
            raise ModelError(f"{path} cannot be opened by onnxruntime: {reason}") from error
        self.inputs = [value.name for value in self.session.get_inputs()]

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Run the graph on tensors in the order of its inputs; return its outputs."""
        arrays = (tensor.detach().contiguous().numpy() for tensor in tensors)
        outputs = self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        return [torch.from_numpy(array) for array in outputs]


class OnnxFrontend(nn.Module):
    """Replaces VisualFrontend."""

    def __init__(self, folder: Path, out_dim: int) -> None:
        super().__init__()
        self.graph, self.out_dim = Graph(folder / "frontend.onnx"), out_dim

    def forward(self, mouth: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, 88, 88) -> (B, T, 8 * width); padded frames are zero."""
        visual = self.graph(mouth)[0]
        return visual if padding_mask is None else visual.masked_fill(padding_mask[..., None], 0)


class OnnxEncoder(nn.Module):
    """Replaces AVHubertEncoder."""

    def __init__(self, folder: Path, frontend_dim: int) -> None:
        super().__init__()
        self.frontend = OnnxFrontend(folder, frontend_dim)
        self.graph = Graph(folder / ONNX)
        self.register_buffer("place", torch.empty(0))  # the model reads its device from it

    def forward(
        self,
        fbank: Tensor | None,
        mouth: Tensor | None,
        padding_mask: Tensor | None = None,
        *,
        visual: Tensor | None = None,
    ) -> EncoderOutput:
        """See AVHubertEncoder.forward."""
        if mouth is not None:
            visual = self.frontend(mouth, padding_mask)
        stream = fbank if visual is None else visual
        if stream is None:
            raise ValueError("the encoder needs fbank, mouth or both")
        shape = stream.shape[:2]
        present = torch.tensor([fbank is not None, visual is not None], dtype=torch.float32)
        prompts, features, *scores = self.graph(
            torch.zeros(*shape, FBANK_DIM) if fbank is None else fbank,
            torch.zeros(*shape, self.frontend.out_dim) if visual is None else visual,
            present,
            torch.zeros(shape, dtype=torch.bool) if padding_mask is None else padding_mask,
        )
        has_scores = bool(scores) and fbank is not None and visual is not None
        return EncoderOutput(prompts, features, padding_mask, scores[0] if has_scores else None)


class OnnxClassifier(nn.Module):
    """Replaces LanguageClassifier."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.graph = Graph(folder / "classifier.onnx")

    def forward(self, memory: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, S, D) -> logits (B, languages)."""
        return self.graph(memory, _padding(memory, padding_mask))[0]


class OnnxCtc(nn.Module):
    """Replaces the CTC head."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.graph = Graph(folder / "ctc.onnx")

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.graph(features)[0]


@dataclass
class OnnxState:
    """Key/value cache of N hypotheses, grouped by utterance, equally many per utterance."""

    cross: Sequence[Tensor]
    """Keys and values (U, heads, S, d) of the memory of U utterances, layer by layer in turn."""
    padding: Tensor
    """(U, S), True = padding."""
    utterance: Tensor
    """(N,) the utterance of each hypothesis, in 0 .. U - 1."""
    languages: Tensor
    """(U,) language ids; 0 if the decoder has no language embedding."""
    past: Sequence[Tensor]
    """Keys and values (N, heads, L, d) of the tokens so far, layer by layer in turn."""
    length: int = 0

    def select(self, rows: Tensor) -> Self:
        """See DecoderState.select."""
        return type(self)(
            self.cross,
            self.padding,
            self.utterance[rows],
            self.languages,
            [tensor[rows] for tensor in self.past],
            self.length,
        )

    def grouped(self) -> "OnnxState":
        """Return an equal state in which every utterance, in order, has hypotheses."""
        utterances, counts = self.utterance.unique_consecutive(return_counts=True)
        if len(counts.unique()) > 1:  # unequal: every hypothesis gets a copy of its utterance
            utterances, counts = self.utterance, torch.ones_like(self.utterance)
        if torch.equal(utterances, torch.arange(len(self.padding))):
            return self
        return OnnxState(
            [tensor[utterances] for tensor in self.cross],
            self.padding[utterances],
            torch.arange(len(utterances)).repeat_interleave(counts),
            self.languages[utterances],
            self.past,
            self.length,
        )


class OnnxDecoder(nn.Module):
    """Replaces AttentionDecoder; it has no ``forward``, which only training needs."""

    def __init__(self, folder: Path, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width // heads
        self.memory, self.graph = Graph(folder / "memory.onnx"), Graph(folder / "step.onnx")

    def start(
        self,
        memory: Tensor,
        memory_padding_mask: Tensor | None = None,
        languages: Tensor | None = None,
    ) -> OnnxState:
        """See AttentionDecoder.start."""
        count = len(memory)
        cross = self.memory(memory)
        nothing = torch.zeros(count, self.heads, 0, self.width)
        return OnnxState(
            cross,
            _padding(memory, memory_padding_mask),
            torch.arange(count),
            torch.zeros(count, dtype=torch.int64) if languages is None else languages,
            [nothing] * len(cross),
        )

    def step(self, tokens: Tensor, state: OnnxState) -> tuple[Tensor, OnnxState]:
        """See AttentionDecoder.step."""
        state = state.grouped()
        log_probs, *past = self.graph(
            tokens,
            torch.tensor(state.length),
            state.languages[state.utterance],
            state.padding,
            *state.cross,
            *state.past,
        )
        state_after = OnnxState(
            state.cross, state.padding, state.utterance, state.languages, past, state.length + 1
        )
        return log_probs, state_after


def _padding(memory: Tensor, padding_mask: Tensor | None) -> Tensor:
    if padding_mask is None:
        return torch.zeros(memory.shape[:2], dtype=torch.bool)
    return padding_mask


def load_onnx(
    path: Path, device: str = "auto", precision: Precision = "auto", *, calibrated: bool = True
) -> AVSRModel:
    """Load a directory of ONNX files as a model.

    Args:
        path: Directory that ``avsr export --format onnx`` wrote.
        device: ``cpu`` or ``auto``; ONNX runs on the CPU only.
        precision: ``fp32`` or ``auto``.
        calibrated: Read ``reliability.json``, if there is one.

    Returns:
        A model in evaluation mode whose parts run in onnxruntime.

    Raises:
        ModelError: The directory is broken, onnxruntime is not installed, or the device or
            precision is another one.
    """
    if device not in ("auto", "cpu") or precision not in ("auto", "fp32"):
        raise ModelError(f"{path} is in ONNX: it runs on the CPU only, in no other precision")
    model = load_outline(path, ONNX, calibrated=calibrated)
    config = model.config
    parts: dict[str, Any] = {"encoder": OnnxEncoder(path, 8 * config.encoder.frontend_width)}
    if model.has("classifier"):
        parts["classifier"] = OnnxClassifier(path)
    if model.has("ctc"):
        parts["ctc"] = OnnxCtc(path)
    if model.has("decoder"):
        parts["decoder"] = OnnxDecoder(path, config.decoder.heads, config.decoder.dim)
    for name, part in parts.items():
        setattr(model, name, part)
    return model.eval()
