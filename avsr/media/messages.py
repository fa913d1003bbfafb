"""Lines about a file that is read otherwise than its header lets one expect."""

import logging
from collections.abc import Callable

logger = logging.getLogger("avsr.media")

Warn = Callable[[str], None]
"""Called with one line for each thing that could be read only in part, and for each ``Note``. The
default logs it."""


class Note(str):
    """A line about a choice between tracks or channels: nothing of the file is damaged."""
