"""Read the text files of corpora: manifests, lists, alignments and labels."""

from pathlib import Path

from avsr.errors import CorpusError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks


def read_bytes(path: Path) -> bytes:
    """Read a file; raise CorpusError with its name if that fails."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"cannot read {path}: {reason}") from error


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text; raise CorpusError if it cannot be read or is another text."""
    return decode_text(read_bytes(path), path)


def decode_text(content: bytes, path: Path) -> str:
    """Decode the content of a text file, with or without a byte-order mark.

    Args:
        content: The bytes of the file.
        path: Its name, for the message.

    Raises:
        CorpusError: It is not UTF-8; the message has the line.
    """
    if content.startswith(UTF_16):
        raise CorpusError(f"{path} is UTF-16, not UTF-8 text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
