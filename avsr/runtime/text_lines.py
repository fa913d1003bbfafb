"""Lines of text files: a newline ends them, and nothing else.

``str.splitlines`` also cuts at U+2028, U+2029, U+0085 and control characters. Texts hold these,
above all subtitles of the web, and JSON does not escape them.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, NamedTuple


class JsonLine(NamedTuple):
    """One line of a file of JSON objects."""

    number: int
    """From 1 on."""
    values: dict[str, Any]
    """The object; empty if there is a problem."""
    problem: str
    """Why the line is no JSON object, in one line; empty if it is one."""


def split_lines(text: str) -> list[str]:
    """Split a text at newlines, with or without a carriage return, and at nothing else."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline
    return [line.removesuffix("\r") for line in lines]


def json_lines(content: bytes) -> Iterator[JsonLine]:
    """Parse JSON lines in UTF-8, each by itself, so that a damaged one does not hide the others.

    Args:
        content: The file, with or without a byte-order mark.

    Yields:
        The lines that are not blank.
    """
    for number, line in enumerate(content.removeprefix(BOM_UTF8).split(b"\n"), 1):
        if line.strip():
            yield JsonLine(number, *parse_object(line))


def parse_object(content: bytes) -> tuple[dict[str, Any], str]:
    """Parse one JSON object in UTF-8.

    Returns:
        The object, and why there is none, as in ``JsonLine``.
    """
    try:
        values = json.loads(content.decode())
        if b"\\ud" in content.lower():  # a pair of such escapes is a character, one is none
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return {}, "not UTF-8 text"
    except UnicodeEncodeError:
        return {}, r"half a character (\ud800 to \udfff without its other half)"
    except json.JSONDecodeError as error:
        return {}, f"not JSON ({error.msg})"
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        return {}, "not JSON that can be read (it is too large)"
    return (values, "") if isinstance(values, dict) else ({}, "a record must be a JSON object")
