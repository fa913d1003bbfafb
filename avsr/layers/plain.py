"""The switch between the plain forward pass and its faster equivalents.

``AVSR_PLAIN=1`` in the environment makes every layer run its plain definition: no packing of padded
batches, no key/value cache, no fused attention, no memory layouts, and fp32 whatever precision a
model is stored in. It is slower and agrees with the fast ways to rounding (1e-4 in fp32; a stored
bf16 or int8 model loses its rounding of activations only). Use it to debug, to compare, or if a new
PyTorch breaks a fast way: these were checked with torch 2.13.0.

Layouts and precision are chosen when a model is built or loaded, so set the switch before that.
"""

import contextlib
import os
from collections.abc import Iterator

_plain = os.environ.get("AVSR_PLAIN", "") not in ("", "0")


def plain() -> bool:
    """Return whether layers must run their plain definition."""
    return _plain


@contextlib.contextmanager
def plain_forward(enabled: bool = True) -> Iterator[None]:
    """Switch the plain definition on or off within a block, for the whole process.

    Args:
        enabled: The value that ``plain()`` returns within the block.
    """
    global _plain
    previous, _plain = _plain, enabled
    try:
        yield
    finally:
        _plain = previous
