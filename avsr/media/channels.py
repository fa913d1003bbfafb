"""Mix the channels of a sound into one without losing what is said in them."""

import functools
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import av
import numpy as np
from av.audio.frame import AudioFrame

from avsr.media.messages import Note, Warn
from avsr.rates import SAMPLE_RATE

BLOCK_SECONDS = 5.0  # in which the channels are compared; it bounds memory
BLOCK_VALUES = 8_000_000  # of all channels, likewise
CANCELLED = 0.25  # of the power that channels without relation would have in the mix
DROWNED = 0.01  # of the power of the loudest channel: FFmpeg's mixes keep more of any but the LFE
DILUTED = 0.25  # the same for unlabelled channels
QUIET = 2e-5  # RMS of differences, full scale 1, below which a block is silent: nothing to judge
MANY_PLANES = 8  # channels that PyAV does not read plane by plane: it crashes
MUTE = 1e-4  # of the power of the loudest unlabelled channel: those below are not mixed in


def mix_channels(
    timed: Iterable[tuple[float, AudioFrame]], name: str, warn: Warn
) -> Iterator[tuple[float, AudioFrame]]:
    """Leave frames as they are where FFmpeg's mix to mono is good; replace others by mono ones.

    FFmpeg knows how to mix labelled channels. Three and more without labels are most often
    microphones: those with sound are mixed alike. Where a mix loses most of the sound, since its
    channels are opposite or one speaks among many, the loudest channel is taken. This is decided
    anew every ``BLOCK_SECONDS``.

    Args:
        timed: (start of its run in s, frame); the frames of a run follow each other in one format.
        name: The file, for messages.
        warn: Called where the loudest channel is taken.

    Yields:
        (start of its run in s, frame); a new run begins where the mix changes.
    """
    has_warned = False
    for start, run in groupby(timed, key=itemgetter(0)):
        chosen: np.ndarray | None = None
        seconds, part = 0.0, start
        for block in _blocks(frame for _, frame in run):
            first = block[0]
            count = first.layout.nb_channels
            if count > 1:
                samples = np.concatenate([to_planes(frame) for frame in block], axis=1)
                before, chosen = chosen, _choose_mix(samples, first.layout.name, chosen)
                if not _is_same(before, chosen):
                    part = start + seconds
                if chosen is not None and np.count_nonzero(chosen) == 1 and not has_warned:
                    has_warned = True
                    number = int(chosen.argmax()) + 1
                    warn(
                        Note(
                            f"{name}: the mix of the {count} sound channels loses most of the "
                            f"sound, so the loudest, {number}, is read"
                        )
                    )
            seconds += sum(frame.samples for frame in block) / first.sample_rate
            if chosen is None:
                yield from ((part, frame) for frame in block)
            else:
                yield part, from_planes(chosen[None] @ samples, first.sample_rate, "mono")


def _is_same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _blocks(frames: Iterator[AudioFrame]) -> Iterator[list[AudioFrame]]:
    """Yield frames in lists: mono ones at once, others a few seconds together."""
    block: list[AudioFrame] = []
    seconds, values = 0.0, 0
    for frame in frames:
        block.append(frame)
        seconds += frame.samples / frame.sample_rate
        values += frame.samples * frame.layout.nb_channels
        is_mono = frame.layout.nb_channels == 1
        if is_mono or seconds >= BLOCK_SECONDS or values >= BLOCK_VALUES:
            yield block
            block, seconds, values = [], 0.0, 0
    if block:
        yield block


def _choose_mix(samples: np.ndarray, layout: str, before: np.ndarray | None) -> np.ndarray | None:
    """Weights (C,) of the channels of a block (C, S); None for FFmpeg's own mix.

    Differences of neighbouring samples are compared, in which hum and offsets hardly count.
    Opposite channels that are a few samples apart cancel in the samples themselves.
    """
    means = samples.mean(axis=1)
    centred = samples @ samples.T - samples.shape[1] * np.outer(means, means)
    differences = np.diff(samples)
    products = differences @ differences.T
    powers = products.diagonal()
    loudest = float(powers.max(initial=0.0))
    weights = ffmpeg_weights(layout, len(samples))
    is_labelled = weights is not None
    if weights is None:
        active = powers > MUTE * loudest
        weights = (active if active.any() else np.ones(len(powers))).astype(np.float32)
        weights /= weights.sum()
    if loudest <= QUIET**2 * differences.shape[1]:
        return before if is_labelled or before is not None else weights
    least = DROWNED if is_labelled else DILUTED
    if _is_kept(weights, products, least) and _is_kept(weights, centred, least):
        return None if is_labelled else weights
    index = int(powers.argmax())
    if before is not None and np.count_nonzero(before) == 1:
        kept = int(before.argmax())
        index = kept if powers[kept] > loudest / 2 else index
    return np.eye(len(powers), dtype=np.float32)[index]


def _is_kept(weights: np.ndarray, products: np.ndarray, least: float) -> bool:
    """Whether channels of which the products (C, C) are given neither cancel nor drown in a mix."""
    powers = products.diagonal()
    power = float(weights @ products @ weights)
    is_whole = power >= CANCELLED * float(weights**2 @ powers)
    return is_whole and power >= least * float(powers.max())


@functools.cache
def ffmpeg_weights(layout: str, count: int) -> np.ndarray | None:
    """Weights (C,) of the channels in FFmpeg's mix to mono; None if it has no good one.

    FFmpeg takes three or more channels without labels for loudspeakers and drops some.
    """
    if count > 2 and layout == f"{count} channels":
        return None
    silence, loud = np.zeros((count, 64), np.float32), 0.5
    weights = []
    for channel in range(count):
        planes = silence.copy()
        planes[channel] = loud
        # 16 bit as in `aligned_audio`: FFmpeg then scales the mix so that nothing clips
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        try:
            frames = resampler.resample(from_planes(planes, 8000, layout))
            frames += resampler.resample(None)
        except (av.FFmpegError, ValueError):
            return None
        mixed = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        weights.append(float(mixed.mean()) / 32768 / loud)
    return np.array(weights, np.float32)


def label_channels(
    timed: Iterable[tuple[float, AudioFrame]], layout: str
) -> Iterator[tuple[float, AudioFrame]]:
    """Give channels without labels those of a layout with as many, so that none is lost.

    Where there are more, they are mixed as for ``mix_channels``.
    """
    count = av.AudioLayout(layout).nb_channels
    for time, frame in timed:
        here = frame.layout.nb_channels
        weights = ffmpeg_weights(frame.layout.name, here)
        if weights is not None:
            yield time, frame
        elif here == count:
            yield time, from_planes(to_planes(frame), frame.sample_rate, layout)
        else:
            mean = to_planes(frame).mean(axis=0, keepdims=True)
            yield time, from_planes(mean, frame.sample_rate, "mono")


def find_problem(frame: AudioFrame) -> str:
    """Why the sound that begins with a frame cannot be converted; empty if it can."""
    if ffmpeg_weights(frame.layout.name, frame.layout.nb_channels) is None:
        frame = from_planes(to_planes(frame)[:1], frame.sample_rate, "mono")
    try:
        av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE).resample(frame)
    except (av.FFmpegError, MemoryError, ValueError) as error:
        return f"cannot be converted ({getattr(error, 'strerror', None) or error})"
    return ""


def to_planes(frame: AudioFrame) -> np.ndarray:
    """Return the samples of a frame as (channels, n) float32, full scale 1."""
    if frame.format.is_planar and frame.layout.nb_channels >= MANY_PLANES:
        packed = av.AudioResampler(format=frame.format.packed.name)
        frame = packed.resample(frame)[0]
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # to infinity
            return samples.astype(np.float32)
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32768)
    middle = 128 if samples.dtype == np.uint8 else 0
    full_scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return ((samples.astype(np.float64) - middle) / full_scale).astype(np.float32)


def from_planes(planes: np.ndarray, rate: int, layout: str) -> AudioFrame:
    """Make a frame of samples (channels, n) float32."""
    # Not planar: see MANY_PLANES.
    packed = np.ascontiguousarray(planes.T, np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = rate
    return frame
