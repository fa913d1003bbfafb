"""Visual front end: mouth crops -> one vector per video frame (3-D stem and a ResNet-18)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsr.rates import CROP_SIZE, MOUTH_SIZE, PIXEL_MEAN, PIXEL_STD
from avsr.runtime.progress import check_cancelled

CONTRAST = 8  # grey levels between the darkest and the brightest pixel of a picture, at least
# Frames that go through the layers together in inference: so few that what one layer writes is
# still in the cache when the next one reads it, and that memory is not mapped anew every time.
EARLY_CHANNELS = 1024  # frames times width in the stem and the first EARLY_BLOCKS blocks
LATE_FRAMES = 64  # in the other blocks, whose weights are larger than the pictures
EARLY_BLOCKS = 4
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of dimensions


def normalize_mouth(mouth: Tensor) -> Tensor:
    """Centre-crop grey mouth crops to 88x88 and scale them as AV-HuBERT does.

    ``mouth`` (..., H, W) uint8 with H, W >= 88; returns (..., 88, 88) float32,
    ``(mouth / 255 - 0.421) / 0.165``.
    """
    top = (mouth.shape[-2] - CROP_SIZE) // 2
    left = (mouth.shape[-1] - CROP_SIZE) // 2
    mouth = mouth[..., top : top + CROP_SIZE, left : left + CROP_SIZE]
    return (mouth.float() / 255.0 - PIXEL_MEAN) / PIXEL_STD


def fill_blank(mouth: Tensor) -> Tensor:
    """Frames without a picture, of one grey all over, become copies of the nearest one with one.

    ``mouth`` (T, H, W) uint8, as from a camera that drops frames; returns the same shape. Of two
    that are as near the earlier one is taken; without any picture nothing changes.
    """
    flat = mouth.flatten(1)
    seen = (flat.amax(1) - flat.amin(1) >= CONTRAST).nonzero()[:, 0]
    if len(seen) in (0, len(mouth)):
        return mouth
    frames = torch.arange(len(mouth), device=mouth.device)
    after = torch.searchsorted(seen, frames).clamp(max=len(seen) - 1)
    before = (after - 1).clamp(min=0)
    later = (seen[after] - frames).abs() < (frames - seen[before]).abs()
    return mouth[torch.where(later, seen[after], seen[before])]


def random_crop_flip(mouth: Tensor, generator: torch.Generator) -> Tensor:
    """The training version of the centre crop: one random 88x88 window and flip for a clip.

    ``mouth`` (T, 96, 96) uint8; returns (T, 88, 88) uint8.
    """
    room = MOUTH_SIZE - CROP_SIZE + 1
    top, left, flip = torch.randint(0, 2 * room * room, (3,), generator=generator).tolist()
    top, left = top % room, left % room
    mouth = mouth[:, top : top + CROP_SIZE, left : left + CROP_SIZE]
    return mouth.flip(-1) if flip % 2 else mouth


class PReLU(nn.PReLU):
    """``nn.PReLU`` with a faster backward pass on CPUs (a quarter of the time in bf16)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        slope = self.weight.to(x.dtype).view(-1, *[1] * (x.dim() - 2))
        return F.relu(x) - slope * F.relu(-x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and PReLU around a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.stride = stride
        self.norm1 = nn.BatchNorm2d(channels)
        self.act1 = PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.act2 = PReLU(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        y = self.act1(self.norm1(self.conv1(x)))
        # The shortcut's stride is taken here: oneDNN's gradient of a 1x1 convolution with stride
        # writes past its buffer when there are fewer than 16 channels and two threads.
        x = x[:, :, :: self.stride, :: self.stride]
        return self.act2(self.norm2(self.conv2(y)) + self.shortcut(x))


class VisualFrontend(nn.Module):
    """Conv3d stem, max-pool, ResNet-18 with PReLU, mean over space.

    ``width`` channels in the stem, ``8 * width`` in the output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False)
        self.stem_norm = nn.BatchNorm3d(width)
        self.stem_act = PReLU(width)
        self.stem_pool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            out = width * 2**stage
            blocks.append(ResidualBlock(channels, out, stride=1 if stage == 0 else 2))
            blocks.append(ResidualBlock(out, out, stride=1))
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.use_channels_last()
        self.out_dim = channels

    def use_channels_last(self) -> None:
        """Lay the weights out as the convolutions like them; needed again after an assignment."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                layout = CHANNELS_LAST[module.weight.dim()]
                module.weight.data = module.weight.data.contiguous(memory_format=layout)
        self.laid_out = True

    def forward(self, mouth: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, 88, 88) normalised mouths -> (B, T, 8 * width); padded frames come out zero.

        Padded frames (``padding_mask`` (B, T), True = padding) take no part after the stem, so
        that they cost nothing and do not reach the batch statistics.
        """
        batch, num_frames = mouth.shape[:2]
        if not self.laid_out:
            self.use_channels_last()
        valid = None if padding_mask is None else ~padding_mask
        at_once = (
            self.training
            or torch.is_grad_enabled()
            or torch.compiler.is_exporting()
            or mouth.device.type != "cpu"
        )
        x = self._at_once(mouth, valid) if at_once else self._in_parts(mouth, valid)
        if valid is not None:
            full = x.new_zeros(batch, num_frames, self.out_dim)
            full[valid] = x
            return full
        return rearrange(x, "(b t) c -> b t c", b=batch)

    def _at_once(self, mouth: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, 88, 88) -> (N, 8 * width) of the N valid frames, layer by layer."""
        x = self.stem_act(self.stem_norm(self.stem(mouth.unsqueeze(1))))
        # Channels last: pooling and the convolutions behind it are several times faster.
        x = rearrange(x, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        x = self.stem_pool(x)
        if valid is not None:
            x = x[valid.reshape(-1)].contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            check_cancelled()
            x = block(x)
        return x.mean((2, 3))

    def _in_parts(self, mouth: Tensor, valid: Tensor | None) -> Tensor:
        """The same for inference on a CPU, some frames after the others."""
        seen = self.stem.kernel_size[0]
        before = seen // 2
        # (B, T, 88, 88, 5): what the stem sees of time, for a convolution in two dimensions.
        windows = F.pad(mouth, (0, 0, 0, 0, before, before)).unfold(1, seen, 1)
        weight, bias = self._normed_stem()
        rises = bool((self.stem_act.weight >= 0).all())
        step = max(1, EARLY_CHANNELS // len(weight))
        waiting: list[Tensor] = []
        done: list[Tensor] = []
        for row, clip in enumerate(windows):
            for first in range(0, len(clip), step):
                check_cancelled()
                part = clip[first : first + step]
                if valid is not None:
                    part = part[valid[row, first : first + step]]
                if not len(part):
                    continue
                x = part.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
                x = F.conv2d(x, weight, bias, self.stem.stride[1:], self.stem.padding[1:])
                # What rises everywhere may as well come behind a maximum, where less is left.
                x = self.stem_act(self.stem_pool(x)) if rises else self.stem_pool(self.stem_act(x))
                waiting.append(self.blocks[:EARLY_BLOCKS](x))
                if sum(map(len, waiting)) >= LATE_FRAMES:
                    done.append(self._finish(waiting))
        if waiting or not done:
            done.append(self._finish(waiting))
        return torch.cat(done)

    def _finish(self, waiting: list[Tensor]) -> Tensor:
        """The late blocks for all that is ``waiting``, which it takes away: (N, 8 * width)."""
        if not waiting:
            return self.stem.weight.new_zeros(0, self.out_dim)
        x = torch.cat(waiting)
        waiting.clear()
        return self.blocks[EARLY_BLOCKS:](x).mean((2, 3))

    def _normed_stem(self) -> tuple[Tensor, Tensor]:
        """Weight (width, 5, 7, 7) and bias (width,) of the stem with its norm in evaluation."""
        norm, weight = self.stem_norm, self.stem.weight
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        weight = (weight[:, 0] * scale[:, None, None, None]).to(weight.dtype)
        return weight.contiguous(memory_format=torch.channels_last), bias.to(weight.dtype)


def shift_frames(frames: Tensor, late: int) -> Tensor:
    """Frames (T, ...) that came ``late``, put right; the first or last one stands."""
    return frames[(torch.arange(len(frames)) + late).clamp(0, len(frames) - 1)]
