"""Names from data that become part of a path: splits, ids, stages.

Such a name may come from anybody's manifest, shard or recipe. One that ``name_problem`` has nothing
to say about names a file in the folder that it is joined to, never one outside.
"""

import unicodedata

from avsr.errors import CorpusError

MAX_NAME_BYTES = 200  # file systems allow 255; endings and temporary names need the rest
MAX_MEMBER_BYTES = 1000  # of names inside a tar file, which may be longer
UNPRINTABLE = ("Cc", "Cs")  # categories of control characters and of halves of characters
MAX_SHOWN = 80  # characters of a name in a message


def name_problem(name: object, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Say why a name cannot be that of a folder, or of a file up to its first dot.

    Args:
        name: Any value.
        max_bytes: Bytes that it may have in UTF-8.

    Returns:
        The end of a sentence about the name, such as "is not text"; empty for a usable name.
    """
    if not isinstance(name, str):
        return "is not text"
    if not name or any(char in "./\\" or char.isspace() for char in name):
        return "is empty or holds a dot, a slash or a space"
    if any(unicodedata.category(char) in UNPRINTABLE for char in name):
        return "holds a control character"
    if len(name.encode()) > max_bytes:
        return f"is longer than {max_bytes} bytes"
    return ""


def check_name(name: object, what: str) -> None:
    """Raise CorpusError if a name cannot be part of a path; ``what`` says whose name it is."""
    if problem := name_problem(name):
        raise CorpusError(f"{what} '{show_name(name)}' {problem}")


def cut_name(name: str, max_bytes: int) -> str:
    """Cut a name to a number of bytes in UTF-8, at a whole character."""
    return name.encode(errors="replace")[:max_bytes].decode(errors="ignore")


def show_name(name: object) -> str:
    """Write a value from data for a message: in one line, escaped and cut where it must be."""
    text = str(name)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
