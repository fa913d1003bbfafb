"""A sentencepiece model and a fairseq dictionary -> the tokenizer of a model directory.

fairseq cuts a text with sentencepiece and looks the pieces up in a dictionary; here the ids are
sentencepiece's own. Where the two orders differ, the model's pieces are put into the dictionary's
order. A sentencepiece model is a protocol buffer whose field 1, repeated, is a piece: text (1),
score (2), kind (3).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avsr.decoder import Tokenizer
from avsr.errors import ModelError

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
FILLER = re.compile(r"madeupword\d{4}")  # fairseq's, to make a vocabulary's size even
UNKNOWN, CONTROL, UNUSED = 2, 3, 5  # kinds of pieces
PIECE, BYTES = 1, 2  # number of a field, and wire type of what has a length


def read_dictionary(path: Path) -> list[str]:
    """Symbols in the order of their ids: fairseq's ``dict.txt`` or Hugging Face's ``vocab.json``.

    Raises ModelError for a file that is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            ids: Mapping[str, int] = json.loads(text)
            symbols = sorted(ids, key=lambda symbol: ids[symbol])
            if sorted(ids.values()) != list(range(len(ids))) or tuple(symbols[:4]) != SPECIAL:
                raise ValueError("its ids must count up from 0, <s> <pad> </s> <unk> first")
            return symbols
        rows = [line.removesuffix(" #fairseq:overwrite") for line in text.splitlines()]
        if not rows or not all(re.fullmatch(r".+ -?\d+", row) for row in rows):
            raise ValueError("a line must be a piece, a space and a count")
        return [*SPECIAL, *(row.rsplit(" ", 1)[0] for row in rows)]
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelError(f"{path} is no dictionary: {error}") from error


def arrange_pieces(model: bytes, symbols: Sequence[str] | None, where: str) -> Tokenizer:
    """The tokenizer whose ids are those of ``symbols``; without them, of the model itself.

    Raises ModelError where the two do not belong together; ``where`` names the tokenizer.
    """
    if symbols is None:
        return Tokenizer(model)
    try:
        pieces, rest = _take_apart(model)
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"{where} is not a sentencepiece model") from error
    if tuple(symbols[:4]) != SPECIAL:
        raise ModelError(f"the dictionary does not begin with {' '.join(SPECIAL)}")
    wanted = symbols[len(SPECIAL) :]
    missing = [symbol for symbol in wanted if symbol not in pieces and not FILLER.fullmatch(symbol)]
    known = {*symbols, *SPECIAL}
    extra = [name for name, (_, kind) in pieces.items() if name not in known and kind != CONTROL]
    if missing or extra:
        named = ", ".join(f"'{name}'" for name in [*missing, *extra][:3])
        raise ModelError(
            f"{where} and the dictionary do not belong together: {len(missing) + len(extra)} "
            f"pieces are in one of them only ({named})"
        )
    if list(pieces) == list(symbols):
        return Tokenizer(model)
    records = [_piece(name, UNKNOWN if name == "<unk>" else CONTROL) for name in SPECIAL]
    records += [pieces[name][0] if name in pieces else _piece(name, UNUSED) for name in wanted]
    return Tokenizer(b"".join(records) + rest)


def _take_apart(model: bytes) -> tuple[dict[str, tuple[bytes, int]], bytes]:
    """Every piece with its record and kind, in order, and all other records behind each other."""
    pieces, rest = {}, b""
    for number, record, content in _fields(model):
        if number != PIECE:
            rest += record
            continue
        name, kind = "", 1
        for inner, _, value in _fields(content):
            if inner == 1:
                name = value.decode()
            elif inner == 3:
                kind = value[0]
        pieces[name] = (record, kind)
    return pieces, rest


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole record and content of each field of a protocol buffer."""
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
            raise IndexError("cut short")
        yield number, message[start : at + size], message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _piece(name: str, kind: int) -> bytes:
    """The record of a piece of score 0; names are shorter than 100 bytes."""
    text = name.encode()
    content = b"\x0a" + bytes([len(text)]) + text + b"\x15" + bytes(4) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(content)]) + content
