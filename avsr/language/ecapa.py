"""ECAPA-TDNN language identification (Desplanques et al. 2020): filterbank -> score of every label.

It reads the public VoxLingua107 model and its relatives, which ``avsr import`` converts. Features
have the layout (B, T, C). A dilated convolution over time is a linear layer over shifted copies of
its input, so that nearly all of the work is matrix products.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.errors import ConfigError
from avsr.layers.linear import LinearActivation
from avsr.rates import FBANK_HOP
from avsr.settings import Bounds, build_settings, check_settings

MIN_VARIANCE = 1e-12  # before the root of a standard deviation
# Far above those of any network. A file of weights limits the sizes of its network, too.
Size = Annotated[int, Bounds(high=65_536)]
Kernel = Annotated[int, Bounds(high=1_000)]
ROUNDING = 1e-6  # frames; a length times the number of frames is not exact


@dataclass(frozen=True, kw_only=True)
class EcapaConfig:
    """Sizes and labels of an ECAPA-TDNN. The default sizes are those of the VoxLingua107 model."""

    labels: tuple[str, ...]
    """Labels as the source names them (``th: Thai``), in the order of the scores."""
    languages: tuple[str, ...]
    """The language code of each label; the label itself where it is no known language."""
    filters: Size = 60
    """Mel filters."""
    channels: Size = 1024
    """Channels C of the blocks."""
    kernels: tuple[Kernel, ...] = (5, 3, 3, 3, 1)
    """Frames that the convolutions of each block see, odd; the last one aggregates the blocks.
    Block i has a dilation of i + 1, the last one of 1."""
    groups: Size = 8
    """Groups of channels in a block, each of which sees more frames than the one before."""
    gate_channels: Size = 128
    """Hidden width of squeeze-excitation."""
    pooled_channels: Size = 3072
    """Channels that are pooled over time."""
    attention_channels: Size = 128
    """Hidden width of the attention over time."""
    embedding: Size = 256
    """Width of the embedding."""
    hidden: Size | None = 512
    """Hidden width of the head, whose scores are natural-log probabilities; None: the scores are
    cosines."""
    temperature: Annotated[float, Bounds(high=1e6)] = 1.0
    """Scores are divided by it before a softmax makes probabilities of them."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each imported file."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EcapaConfig":
        """Build from the content of ``config.json``; raise ConfigError for unknown keys."""
        return build_settings(cls, values, "ecapa")

    def __post_init__(self) -> None:
        check_settings(self, "ecapa")
        sizes = [
            *(self.filters, self.channels, self.groups, self.gate_channels, self.pooled_channels),
            *(self.attention_channels, self.embedding, *self.kernels),
            *([] if self.hidden is None else [self.hidden]),
        ]
        problems = []
        if not all(size > 0 for size in sizes):
            problems.append("sizes must be whole numbers from 1 on")
        elif self.channels % self.groups:
            problems.append(f"groups {self.groups} must divide channels {self.channels}")
        elif len(self.kernels) < 3 or any(kernel % 2 == 0 for kernel in self.kernels):
            problems.append("kernels must be three odd numbers or more")
        if not self.labels or len(self.labels) != len(self.languages):
            problems.append("labels and languages must be of the same number, one at least")
        if not self.temperature >= 1e-3:
            problems.append("temperature must be 0.001 or more")
        if problems:
            raise ConfigError(f"ecapa: {'; '.join(problems)}")

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes in ``languages``, each once."""
        return tuple(dict.fromkeys(self.languages))

    @property
    def min_samples(self) -> int:
        """Samples at 16 kHz that a clip must have; the convolutions reflect that many at its ends.

        640 (40 ms) in the published models.
        """
        reaches = [
            kernel // 2 * (i + 1 if i + 1 < len(self.kernels) else 1)
            for i, kernel in enumerate(self.kernels)
        ]
        return max(reaches) * FBANK_HOP


def valid_frames(relative_lengths: Tensor, num_frames: int, rounding: float = 0.0) -> Tensor:
    """Mark the frames of a batch that are not padding.

    Args:
        relative_lengths: (B,) float32 length of each clip as a share of the longest.
        num_frames: Frames T of the longest.
        rounding: Frames that a length may be too long by rounding.

    Returns:
        (B, T) bool, True = valid: ``index < length * T - rounding``, so partial frames count.
    """
    indices = torch.arange(num_frames, device=relative_lengths.device)
    return indices < (relative_lengths * num_frames - rounding)[:, None]


def subtract_mean(fbank: Tensor, relative_lengths: Tensor | None = None) -> Tensor:
    """Subtract from every filter its mean over the valid frames, in padding too.

    Args:
        fbank: (B, T, filters).
        relative_lengths: As in ``Ecapa.forward``.
    """
    if relative_lengths is None:
        return fbank - fbank.mean(1, keepdim=True)
    valid = valid_frames(relative_lengths, fbank.shape[1], ROUNDING)
    return fbank - _mean(fbank, valid)[:, None]


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean (B, C) of (B, T, C) over the valid frames."""
    if valid is None:
        return x.mean(1)
    return (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)


def statistics(x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute weighted mean and standard deviation over time.

    Args:
        x: (B, T, C).
        weights: (B, T, C) or (B, T, 1), with a sum of 1 over time; None: all frames count alike.

    Returns:
        Mean and deviation, (B, C) each.
    """
    if weights is None:  # torch.var_mean takes twice as long over this dimension
        mean = x.mean(1)
        variance = (x - mean[:, None]).square_().mean(1)
    else:
        mean = (x * weights).sum(1)
        variance = (x - mean[:, None]).square_().mul_(weights).sum(1)
    return mean, variance.clamp(min=MIN_VARIANCE).sqrt()


class TimeConvolution(nn.Module):
    """Convolution over time that keeps the length, ReLU, then batch norm.

    Beyond its ends a clip is reflected; the frame at the end is not repeated.
    """

    def __init__(self, in_dim: int, out_dim: int, kernel: int, dilation: int = 1) -> None:
        """Make the layers; ``kernel`` is odd."""
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.conv = LinearActivation(kernel * in_dim, out_dim, "relu")
        self.norm = nn.BatchNorm1d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in_dim) -> (B, T, out_dim)."""
        if self.kernel > 1:
            x = self._shifted_copies(x)
        y = self.conv(x)
        return self.norm(y.flatten(0, 1)).view_as(y)

    def _shifted_copies(self, x: Tensor) -> Tensor:
        """Join to each frame its neighbours, (B, T, kernel * in_dim)."""
        batch, length, dim = x.shape
        frames = torch.arange(length, device=x.device)[:, None]
        offsets = torch.arange(self.kernel, device=x.device) - self.kernel // 2
        last = length - 1
        indices = last - (last - (frames + self.dilation * offsets).abs()).abs()
        return x.index_select(1, indices.flatten()).view(batch, length, self.kernel * dim)


class Res2Net(nn.Module):
    """Groups of channels of which each sees the output of the one before (Gao et al. 2019)."""

    def __init__(self, channels: int, groups: int, kernel: int, dilation: int) -> None:
        """Make a convolution for every group but the first, which passes unchanged."""
        super().__init__()
        width = channels // groups
        self.units = nn.ModuleList(
            TimeConvolution(width, width, kernel, dilation) for _ in range(groups - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        first, *others = x.chunk(len(self.units) + 1, -1)
        outputs = [first]
        for unit, group in zip(self.units, others, strict=True):
            outputs.append(unit(group + outputs[-1] if len(outputs) > 1 else group))
        return torch.cat(outputs, -1)


class Gate(nn.Module):
    """Squeeze-excitation (Hu et al. 2018): a factor for every channel, by its mean over time."""

    def __init__(self, channels: int, hidden: int) -> None:
        """Make the two layers."""
        super().__init__()
        self.squeeze = LinearActivation(channels, hidden, "relu")
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, C) -> factors (B, 1, C)."""
        return self.excite(self.squeeze(_mean(x, valid)))[:, None].sigmoid()


class Block(nn.Module):
    """Two 1x1 convolutions around a Res2Net, a gate, and the block's input."""

    def __init__(self, config: EcapaConfig, kernel: int, dilation: int) -> None:
        """Make the layers."""
        super().__init__()
        self.tdnn1 = TimeConvolution(config.channels, config.channels, 1)
        self.res2net = Res2Net(config.channels, config.groups, kernel, dilation)
        self.tdnn2 = TimeConvolution(config.channels, config.channels, 1)
        self.gate = Gate(config.channels, config.gate_channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        y = self.tdnn2(self.res2net(self.tdnn1(x)))
        return torch.addcmul(x, y, self.gate(y, valid))


class AttentivePooling(nn.Module):
    """Mean and deviation over time, weighted for every channel by attention to the context."""

    def __init__(self, channels: int, hidden: int) -> None:
        """Make the layers; the first is split in two, since statistics are the same at all times.

        ``frames`` takes the frames, ``context`` their mean and deviation.
        """
        super().__init__()
        self.frames = nn.Linear(channels, hidden)
        self.context = nn.Linear(2 * channels, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, channels)

    def attention(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, C) -> weights (B, T, C), with a sum of 1 over time; 0 for padding."""
        weights = None if valid is None else (valid / valid.sum(1, keepdim=True))[..., None]
        mean, deviation = statistics(x, weights)
        context = self.context(torch.cat([mean, deviation], -1))
        hidden = F.relu(self.frames(x) + context[:, None])
        hidden = self.norm(hidden.flatten(0, 1)).view_as(hidden)
        logits = self.out(torch.tanh(hidden))
        if valid is not None:
            logits = logits.masked_fill(~valid[..., None], -torch.inf)
        return logits.softmax(1)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, 2 C)."""
        return torch.cat(statistics(x, self.attention(x, valid)), -1)


class ProbabilityHead(nn.Module):
    """Embedding -> natural-log probability of each label."""

    def __init__(self, embedding: int, hidden: int, num_labels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.norm = nn.BatchNorm1d(embedding)
        self.hidden = nn.Linear(embedding, hidden)
        self.hidden_norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, num_labels)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, labels). Batch norms come after the activations."""
        x = self.norm(F.leaky_relu(embedding))
        x = self.hidden_norm(F.leaky_relu(self.hidden(x)))
        return self.out(x).log_softmax(-1)


class CosineHead(nn.Module):
    """Embedding -> cosine of its angle to the vector of each label."""

    def __init__(self, embedding: int, num_labels: int) -> None:
        """Make the vectors."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_labels, embedding))
        nn.init.normal_(self.weight)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, labels), in [-1, 1]."""
        return F.linear(F.normalize(embedding), F.normalize(self.weight))


class Ecapa(nn.Module):
    """The whole network. Tensors in, tensors out; ``avsr.model.ecapa_directory`` loads it."""

    def __init__(self, config: EcapaConfig) -> None:
        """Make the layers with random weights."""
        super().__init__()
        self.config = config
        first, *kernels, last = config.kernels
        self.blocks = nn.ModuleList([TimeConvolution(config.filters, config.channels, first)])
        for dilation, kernel in enumerate(kernels, 2):
            self.blocks.append(Block(config, kernel, dilation))
        width = config.channels * len(kernels)
        self.aggregation = TimeConvolution(width, config.pooled_channels, last)
        self.pooling = AttentivePooling(config.pooled_channels, config.attention_channels)
        self.pooling_norm = nn.BatchNorm1d(2 * config.pooled_channels)
        self.projection = nn.Linear(2 * config.pooled_channels, config.embedding)
        number = len(config.labels)
        self.head = (
            CosineHead(config.embedding, number)
            if config.hidden is None
            else ProbabilityHead(config.embedding, config.hidden, number)
        )
        index = {code: i for i, code in enumerate(config.codes)}
        self._language_indices = [index[code] for code in config.languages]

    def forward(self, fbank: Tensor, relative_lengths: Tensor | None = None) -> Tensor:
        """Score every label.

        Convolutions read padding, so a clip does not get the same scores alone and in a batch.

        Args:
            fbank: (B, T, filters) of ``compute_mel_decibels``, of ``config.min_samples`` at least.
            relative_lengths: (B,) float32, the length of each clip as a share of the longest, above
                0; None: all are of one length.

        Returns:
            (B, labels) natural-log probabilities, or cosines.
        """
        return self.head(self.embed(fbank, relative_lengths))

    def embed(self, fbank: Tensor, relative_lengths: Tensor | None = None) -> Tensor:
        """As ``forward``, but return the embeddings (B, E)."""
        valid = None
        if relative_lengths is not None:
            valid = valid_frames(relative_lengths, fbank.shape[1])
        stem, *blocks = self.blocks
        x = stem(subtract_mean(fbank, relative_lengths))
        outputs = []
        for block in blocks:
            x = block(x, valid)
            outputs.append(x)
        pooled = self.pooling(self.aggregation(torch.cat(outputs, -1)), valid)
        return self.projection(self.pooling_norm(pooled))

    def language_probs(self, scores: Tensor) -> Tensor:
        """Turn scores (B, labels) into probabilities (B, codes); labels of one code are added."""
        probs = (scores / self.config.temperature).softmax(-1)
        indices = torch.tensor(self._language_indices, device=probs.device)
        return probs.new_zeros(len(probs), len(self.config.codes)).index_add_(1, indices, probs)
