"""Visual front end: mouth crops -> one vector per video frame (3-D stem and a ResNet-18)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avsr.layers.activation import PReLU
from avsr.layers.chunked_frontend import run_frontend, use_channels_last
from avsr.layers.plain import plain
from avsr.rates import CROP_SIZE, MOUTH_SIZE, PIXEL_MEAN, PIXEL_STD

MIN_CONTRAST = 8  # grey levels between the darkest and the brightest pixel of a frame with content


def normalize_mouth(mouth: Tensor) -> Tensor:
    """Centre-crop grey mouth crops to 88x88 and scale them as AV-HuBERT does.

    Args:
        mouth: (..., H, W) uint8 with H, W >= 88.

    Returns:
        (..., 88, 88) float32, ``(mouth / 255 - 0.421) / 0.165``.
    """
    top = (mouth.shape[-2] - CROP_SIZE) // 2
    left = (mouth.shape[-1] - CROP_SIZE) // 2
    mouth = mouth[..., top : top + CROP_SIZE, left : left + CROP_SIZE]
    return (mouth.float() / 255.0 - PIXEL_MEAN) / PIXEL_STD


def fill_blank(mouth: Tensor) -> Tensor:
    """Replace blank frames (one grey all over, as of a camera that drops frames) by the nearest.

    Args:
        mouth: (T, H, W) uint8.

    Returns:
        (T, H, W). Of two frames that are equally near the earlier one is taken; if all frames are
        blank nothing changes.
    """
    flat = mouth.flatten(1)
    filled = (flat.amax(1) - flat.amin(1) >= MIN_CONTRAST).nonzero()[:, 0]
    if len(filled) in (0, len(mouth)):
        return mouth
    frames = torch.arange(len(mouth), device=mouth.device)
    after = torch.searchsorted(filled, frames).clamp(max=len(filled) - 1)
    before = (after - 1).clamp(min=0)
    later = (filled[after] - frames).abs() < (frames - filled[before]).abs()
    return mouth[torch.where(later, filled[after], filled[before])]


def random_crop_flip(mouth: Tensor, generator: torch.Generator) -> Tensor:
    """Crop one random 88x88 window and flip at random: the training version of the centre crop.

    Args:
        mouth: (T, 96, 96) uint8.
        generator: Source of the window and the flip, which are the same for the whole clip.

    Returns:
        (T, 88, 88) uint8.
    """
    room = MOUTH_SIZE - CROP_SIZE + 1
    top, left, flip = torch.randint(0, 2 * room * room, (3,), generator=generator).tolist()
    top, left = top % room, left % room
    mouth = mouth[:, top : top + CROP_SIZE, left : left + CROP_SIZE]
    return mouth.flip(-1) if flip % 2 else mouth


def shift_frames(frames: Tensor, late: int) -> Tensor:
    """Undo a delay of video frames (T, ...): frame t becomes frame t + ``late``.

    Past either end the first or last frame is repeated.
    """
    return frames[
        (torch.arange(len(frames), device=frames.device) + late).clamp(0, len(frames) - 1)
    ]


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
        # The shortcut's stride is applied here: oneDNN's gradient of a 1x1 convolution with stride
        # writes past its buffer when there are fewer than 16 channels and two threads.
        x = x[:, :, :: self.stride, :: self.stride]
        return self.act2(self.norm2(self.conv2(y)) + self.shortcut(x))


class VisualFrontend(nn.Module):
    """Conv3d stem, max-pool, ResNet-18 with PReLU, mean over space (Shi et al. 2022)."""

    def __init__(self, width: int) -> None:
        """Make the layers; ``width`` channels in the stem, ``8 * width`` in the output."""
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
        self.out_dim = channels
        self.is_channels_last = False
        if not plain():
            use_channels_last(self)

    def forward(self, mouth: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Compute one vector per video frame; padded frames come out zero.

        Padded frames are left out after the stem, so that they do not reach the batch statistics.

        Args:
            mouth: (B, T, 88, 88) normalised mouths.
            padding_mask: (B, T), True = padding; None where no frame is padding.

        Returns:
            (B, T, 8 * width).
        """
        valid = None if padding_mask is None else ~padding_mask
        x = run_frontend(self, mouth, valid) if not plain() else self.valid_frames(mouth, valid)
        if valid is None:
            return rearrange(x, "(b t) c -> b t c", b=mouth.shape[0])
        features = x.new_zeros(*valid.shape, self.out_dim)
        features[valid] = x
        return features

    def valid_frames(self, mouth: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, 88, 88) -> (N, 8 * width) for the N frames that ``valid`` (B, T) marks."""
        x = self.stem_act(self.stem_norm(self.stem(mouth[:, None])))
        x = self.stem_pool(rearrange(x, "b c t h w -> (b t) c h w"))
        if valid is not None:
            x = x[valid.flatten()]
        return self.blocks(x).mean((2, 3))
