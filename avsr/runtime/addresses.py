"""Names that are addresses, or stand for standard input: they are no files yet."""

import re

_SCHEMES = "https?|rtmp[est]*|rtsps?|s?ftps?|s3|gs|mms|udp|tcp|srt|magnet|data|file"
# One slash is left of two once an address has been taken for a path.
_ADDRESS = re.compile(rf"(?:^|/)(?P<scheme>{_SCHEMES}):/+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_SITE = re.compile(r"(?:www\.|(?:\w+\.)?youtube\.com/|youtu\.be/|vimeo\.com/)", re.IGNORECASE)


def explain_no_file(name: str) -> str | None:
    """Say what to do about a name for which there is no file.

    Args:
        name: What was given as a file, also joined to a folder.

    Returns:
        One line if it is an address or ``-``; None if it is only a file that is missing.
    """
    if name == "-":
        return "-: standard input is not read: save what it brings to a file, and give its name"
    match = _ADDRESS.search(name)
    if match is None and _SITE.match(name) is None:
        return None
    if match is not None:
        scheme, rest = match["scheme"].lower(), match["rest"]
        if scheme == "file":
            return f"file:///{rest}: is an address; give the path, without 'file://'"
        name = f"{scheme}://{rest}"
    return f"{name}: is an address; download it first, for example with yt-dlp or curl"
