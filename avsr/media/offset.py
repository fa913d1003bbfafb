"""Take a constant offset (DC) off a sound."""

from collections.abc import Iterable, Iterator

import numpy as np

from avsr.rates import SAMPLE_RATE

BLOCK = 2 * SAMPLE_RATE  # samples, judged together
WINDOW = SAMPLE_RATE // 5  # samples of the mean that is taken off: only what is below 5 Hz goes
# Share of the deviation above which a mean is an offset. Of 2 s of speech it is 0.03 at most, of
# 0.2 s 0.5.
NOTABLE = 0.1
LARGE = 0.01 * 32768  # an offset as large as this is taken off even if it begins later
SMALLEST = 5e-4 * 32768  # a smaller one does no harm


def remove_offset(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Take the offset off a stream of 16-bit samples.

    Sound without a notable offset stays as it is. From the first block on that has one, the mean of
    the 0.2 s around each sample is taken off, so that an offset may begin and change at any time.

    Args:
        chunks: Chunks (n,) int16 at 16 kHz of any length.

    Yields:
        Chunks of all the samples in order.
    """
    count, total, squares = 0, 0.0, 0.0
    has_offset = False
    before = np.zeros(0, np.int16)  # the last samples of the block before, as they were
    blocks = _blocks(chunks)
    block = next(blocks, None)
    while block is not None:
        following = next(blocks, None)
        values = block.astype(np.float64)
        block_sum, block_squares = float(values.sum()), float(values @ values)
        count, total, squares = count + len(block), total + block_sum, squares + block_squares
        has_offset = (
            has_offset
            or _is_offset(count, total, squares, SMALLEST)
            or _is_offset(len(block), block_sum, block_squares, LARGE)
        )
        if not has_offset:
            yield block
        else:
            after = block[:0] if following is None else following[: WINDOW // 2]
            yield _without_mean(before, block, after)
        before = block[-WINDOW // 2 :]
        block = following


def _blocks(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join chunks to blocks of BLOCK samples; the last one has the rest as well."""
    parts: list[np.ndarray] = []
    length = 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length >= 2 * BLOCK:
            joined = np.concatenate(parts)
            ready = len(joined) // BLOCK - 1
            for i in range(ready):
                yield joined[i * BLOCK : (i + 1) * BLOCK]
            parts = [joined[ready * BLOCK :]]
            length = len(parts[0])
    if length:
        yield np.concatenate(parts)


def _is_offset(count: int, total: float, squares: float, smallest: float) -> bool:
    mean = abs(total) / count
    deviation = max(0.0, squares / count - mean * mean) ** 0.5
    return mean > smallest and mean > NOTABLE * max(1.0, BLOCK / count) * deviation


def _without_mean(before: np.ndarray, block: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The block without the mean of the window around each sample, cut at the ends."""
    sums = np.cumsum(np.concatenate([[0], before, block, after]), dtype=np.int64)
    centers = np.arange(len(before), len(before) + len(block))
    first = np.maximum(0, centers - WINDOW // 2)
    last = np.minimum(len(sums) - 1, centers + WINDOW // 2)
    means = (sums[last] - sums[first]) / (last - first)
    return np.rint(block - means).clip(-32768, 32767).astype(np.int16)
