"""Combine a sentencepiece model and a fairseq dictionary to the tokenizer of a model directory.

fairseq splits a text with sentencepiece and looks the pieces up in a dictionary; here the token ids
are sentencepiece's own. If the orders differ, the pieces of the model are put into the order of the
dictionary. A sentencepiece model is a protocol buffer whose repeated field 1 is a piece: text (1),
score (2), kind (3).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avsr.decoder import Tokenizer
from avsr.errors import ModelError
from avsr.runtime.text_lines import split_lines

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
FILLER = re.compile(r"madeupword\d{4}")  # fairseq pads the vocabulary size with these
UNKNOWN, CONTROL, UNUSED = 2, 3, 5  # kinds of pieces in sentencepiece
PIECE, BYTES = 1, 2  # field number of a piece, and wire type of fields with a length


def read_dictionary(path: Path) -> list[str]:
    """Read fairseq's ``dict.txt`` or Hugging Face's ``vocab.json``: symbols in the order of ids.

    Raises ModelError for any other file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            ids: Mapping[str, int] = json.loads(text)
            symbols = sorted(ids, key=lambda symbol: ids[symbol])
            if sorted(ids.values()) != list(range(len(ids))) or tuple(symbols[:4]) != SPECIAL:
                raise ValueError("its ids must count up from 0, <s> <pad> </s> <unk> first")
            return symbols
        rows = [line.removesuffix(" #fairseq:overwrite") for line in split_lines(text)]
        if not rows or not all(re.fullmatch(r".+ -?\d+", row) for row in rows):
            raise ValueError("a line must be a piece, a space and a count")
        return [*SPECIAL, *(row.rsplit(" ", 1)[0] for row in rows)]
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ModelError(f"{path} is not a dictionary: {error}") from error


def arrange_pieces(model: bytes, symbols: Sequence[str] | None, where: str) -> Tokenizer:
    """Build a tokenizer whose ids are those of a dictionary.

    Args:
        model: The sentencepiece model.
        symbols: The dictionary in the order of ids; None keeps the order of the model.
        where: Name of the sentencepiece model in error messages.

    Raises:
        ModelError: If the two do not have the same pieces.
    """
    if symbols is None:
        return Tokenizer(model)
    try:
        pieces, other_fields = _parse_model(model)
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"{where} is not a sentencepiece model") from error
    if tuple(symbols[:4]) != SPECIAL:
        raise ModelError(f"the dictionary does not begin with {' '.join(SPECIAL)}")
    words = symbols[len(SPECIAL) :]
    missing = [word for word in words if word not in pieces and not FILLER.fullmatch(word)]
    vocabulary = {*symbols, *SPECIAL}
    extra = [n for n, (_, kind) in pieces.items() if n not in vocabulary and kind != CONTROL]
    if missing or extra:
        examples = ", ".join(f"'{name}'" for name in [*missing, *extra][:3])
        raise ModelError(
            f"{where} and the dictionary do not belong together: {len(missing) + len(extra)} "
            f"pieces are in one of them only ({examples})"
        )
    if list(pieces) == list(symbols):
        return Tokenizer(model)
    records = [_piece(name, UNKNOWN if name == "<unk>" else CONTROL) for name in SPECIAL]
    records += [pieces[name][0] if name in pieces else _piece(name, UNUSED) for name in words]
    return Tokenizer(b"".join(records) + other_fields)


def _parse_model(model: bytes) -> tuple[dict[str, tuple[bytes, int]], bytes]:
    """Return (record, kind) of every piece by its text, in order, and all other records joined."""
    pieces, other_fields = {}, b""
    for number, record, content in _fields(model):
        if number != PIECE:
            other_fields += record
            continue
        name, kind = "", 1
        for inner, _, value in _fields(content):
            if inner == 1:
                name = value.decode()
            elif inner == 3:
                kind = value[0]
        pieces[name] = (record, kind)
    return pieces, other_fields


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, whole record and content of each field of a protocol buffer."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        elif wire == 0:
            size = _varint(message, at)[1] - at
        else:
            raise IndexError(f"wire type {wire}")
        if at + size > len(message):
            raise IndexError("truncated")
        yield number, message[start : at + size], message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Decode a number in groups of seven bits, lowest first; return it and the next position."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _piece(name: str, kind: int) -> bytes:
    """Encode the record of a piece of score 0 whose name is shorter than 100 bytes."""
    text = name.encode()
    content = b"\x0a" + bytes([len(text)]) + text + b"\x15" + bytes(4) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(content)]) + content
