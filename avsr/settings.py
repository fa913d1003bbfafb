"""Settings: read YAML and JSON files, and check dataclasses of settings by their type hints."""

import contextlib
import dataclasses
import difflib
import functools
import json
import math
import numbers
import reprlib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as read_type_hints

from avsr.errors import ConfigError, UnknownKeyError

T = TypeVar("T")

MAX_YAML = 1 << 20  # bytes; PyYAML reads the worst megabyte in seconds
MAX_JSON = 16 << 20  # bytes
MAX_TEXT = 4096  # characters: the longest path on Linux
MAX_KEYS = 10_000  # of one mapping in YAML
MAX_SHOWN = 1e5  # larger bounds are told to those who exceed them only
MAX_INTEGER = 2**53  # the whole numbers up to it are exact in floats, too


class Bounds(NamedTuple):
    """Smallest and largest value of a number, for ``Annotated``."""

    low: float = -math.inf
    high: float = math.inf


class MaxLength(NamedTuple):
    """Most characters of a text, for ``Annotated``; without it they are MAX_TEXT."""

    characters: int


LongText = Annotated[str, MaxLength(10_000_000)]
Count = Annotated[int, Bounds(1, 10**9)]
"""A whole number from 1 on."""
CountOrZero = Annotated[int, Bounds(0, 10**9)]
Share = Annotated[float, Bounds(0, 1)]
"""A number from 0 to 1."""
Weight = Annotated[float, Bounds(0, 1e6)]
"""A number from 0 on."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Args:
        path: File whose top level is a mapping.

    Returns:
        The mapping.

    Raises:
        ConfigError: The file cannot be read or is not a mapping in YAML.
    """
    import yaml  # only for files: models are built from dictionaries

    text = _read_text(path, MAX_YAML)
    try:
        values = yaml.load(text, _yaml_loader())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ConfigError(  # PyYAML's own, for values such as !!int x
            f"{path} is not valid YAML: it has a value that cannot be read ({error})"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid YAML: it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of settings")
    return values


@functools.cache
def _yaml_loader() -> Any:
    """Return a loader of plain values that refuses a key that stands twice in a mapping."""
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            if hasattr(node, "is_flat"):  # an alias: its merged keys may stand twice now
                return
            node.is_flat = True
            keys = [(one.tag, one.value) for one, _ in node.value if isinstance(one.value, str)]
            line = node.start_mark.line + 1
            if len(set(keys)) < len(keys):
                twice = next(name for tag, name in keys if keys.count((tag, name)) > 1)
                raise yaml.YAMLError(f"the mapping in line {line} has {show(twice)} twice")
            super().flatten_mapping(node)
            if len(node.value) > MAX_KEYS:  # merges of merges grow without bound
                raise yaml.YAMLError(f"the mapping in line {line} has too many keys")

    return Loader


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of settings.

    Args:
        path: File whose top level is an object.

    Returns:
        The object.

    Raises:
        ConfigError: The file cannot be read, is no JSON object, or has a key twice.
    """
    text = _read_text(path, MAX_JSON)
    try:
        values = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid JSON: it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of settings")
    return values


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {show(twice)} stands twice in one object")
    return values


def _read_text(path: Path, max_bytes: int) -> str:
    """Read a small UTF-8 file; raise ConfigError if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {path}: {reason}") from error
    if len(content) > max_bytes:
        raise ConfigError(f"cannot read {path}: it is too large for a file of settings")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text") from error


def build_settings(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from a mapping; fields that it lacks have their defaults.

    Values are checked by the type hints of the fields: lists become tuples, mappings become
    dataclasses.

    Args:
        kind: The dataclass.
        values: Names of fields -> values.
        where: File or section, with which error messages begin.

    Returns:
        An instance of ``kind``.

    Raises:
        ConfigError: ``values`` is not a mapping, lacks a required field, or has values of another
            type or out of bounds; the message lists all of them.
        UnknownKeyError: It has an unknown key; the message names the most similar field.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings")
    check_keys(kind, values, where)
    hints = _hints(kind)  # type: ignore[arg-type]  # mypy takes classes for unhashable
    problems = [
        f"'{field.name}' is missing"
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    arguments = {}
    for name, value in values.items():
        try:
            arguments[name] = _convert(value, hints[name], name)
        except UnknownKeyError as error:
            raise UnknownKeyError(f"{where}: {error}") from error
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    try:
        return kind(**arguments)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(
            message if message.startswith(f"{where}:") else f"{where}: {message}"
        ) from error


def check_keys(kind: Any, values: Mapping[Any, Any], where: str) -> None:
    """Check that a mapping has no key that is no field of a dataclass.

    Raises:
        UnknownKeyError: The message names the most similar field.
    """
    names = list(_hints(kind))
    for key in values:
        if key not in names:
            matches = difflib.get_close_matches(str(key)[:100], names, n=1)
            hint = f"; did you mean '{matches[0]}'?" if matches else ""
            raise UnknownKeyError(f"{where}: unknown key {show(key)}{hint}")


def check_values(kind: Any, values: Mapping[str, Any], where: str) -> None:
    """Check that a mapping has the fields of a dataclass, of their types; it may have others.

    Raises:
        ConfigError: A field is missing or of another type; the message begins with ``where``.
    """
    build_settings(kind, {name: values[name] for name in _hints(kind) if name in values}, where)


def check_settings(settings: object, where: str = "") -> None:
    """Check the values of a dataclass by the type hints of its fields, for ``__post_init__``.

    Args:
        settings: The dataclass.
        where: What error messages begin with, such as "search".

    Raises:
        ConfigError: Lists every value of another type, out of bounds, or not finite.
    """
    problems = []
    for name, hint in _hints(type(settings)).items():  # type: ignore[arg-type]
        try:
            _convert(getattr(settings, name), hint, name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError((f"{where}: " if where else "") + "; ".join(problems))


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the names of a dataclass's fields and their type hints."""
    hints = read_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _convert(value: Any, hint: Any, name: str) -> Any:
    """Return a value as its type hint asks for it; raise ConfigError, which begins with ``name``.

    Raises UnknownKeyError for an unknown key in a mapping that becomes a dataclass.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and isinstance(arguments[1], MaxLength):
        if problem := text_problem(value, arguments[1].characters):
            raise ConfigError(f"{name} is {show(value)}, {problem}")
        return value
    if origin is Annotated:
        value = _convert(value, arguments[0], name)
        _check_bounds(value, arguments[1], name)
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, name)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            choices = ", ".join(map(str, arguments))
            raise ConfigError(f"{name} must be one of {choices}, not {show(value)}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build_settings(hint, value, name)
    if origin in (tuple, list, Sequence):
        return _convert_list(value, arguments, name)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} must be a mapping, not {show(value)}")
        return {
            _convert(key, arguments[0], f"a key of {name}"): _convert(
                one, arguments[1], f"{name}.{_key(key)}"
            )
            for key, one in value.items()
        }
    problem = _problem(value, hint)
    if problem:
        raise ConfigError(f"{name} is {show(value)}, {problem}")
    return value


def _convert_union(value: Any, kinds: Sequence[Any], name: str) -> Any:
    """Return a value as the first of several type hints that it fits."""
    if value is None and types.NoneType in kinds:
        return None
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    if len(kinds) == 1:
        return _convert(value, kinds[0], name)
    problems = []
    for kind in kinds:
        try:
            return _convert(value, kind, name)
        except ConfigError as error:
            problems.append(str(error).removeprefix(f"{name} is {show(value)}, "))
    raise ConfigError(f"{name} is {show(value)}: {', '.join(dict.fromkeys(problems))}")


def _convert_list(value: Any, kinds: Sequence[Any], name: str) -> Any:
    """Return a list or tuple as a tuple."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{name} must be a list, not {show(value)}")
    if (len(kinds) == 2 and kinds[1] is Ellipsis) or len(kinds) == 1:
        kinds = [kinds[0]] * len(value)
    if len(value) != len(kinds):
        raise ConfigError(f"{name} must be a list of {len(kinds)} values, not {show(value)}")
    return tuple(
        _convert(one, kind, f"{name}[{number}]")
        for number, (one, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _problem(value: Any, kind: Any) -> str:
    """Say what is wrong with a plain value, as the end of "NAME is VALUE, "; empty if nothing."""
    if kind is str:
        return text_problem(value)
    if kind is bool:
        return "" if isinstance(value, bool) else "not true or false"
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return "not a whole number"
        return "" if abs(int(value)) <= MAX_INTEGER else "too large a number"
    if kind is float:
        if isinstance(value, str) and _is_exponent(value):
            return "not a number: in YAML it needs a point, as in 1.0e-4"
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return "not a number"
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            return "too large a number"
        return "" if math.isfinite(value) else "not finite"
    return ""


def text_problem(value: Any, max_length: int = MAX_TEXT) -> str:
    """Say why a value is no text that can be printed, stored, or used as a path; empty if it is."""
    if isinstance(value, bool):
        return "not text: put it in quotes"  # YAML reads no and yes as false and true
    if not isinstance(value, str):
        return "not text"
    if len(value) > max_length:
        return f"longer than {max_length} characters"
    if "\0" in value:
        return "which has a null character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "which is no valid Unicode text"
    return ""


def _is_exponent(text: str) -> bool:
    """Whether a text looks like a number with an exponent, which YAML takes for text."""
    with contextlib.suppress(ValueError):
        return "e" in text.lower() and math.isfinite(float(text))
    return False


def _check_bounds(value: Any, bounds: Bounds, name: str) -> None:
    low, high = bounds
    if not low <= value <= high:
        limits = f"from {low:g} to {high:g}"
        if high > MAX_SHOWN or low == -math.inf:
            limits = f"at least {low:g}" if value < low else f"at most {high:g}"
        raise ConfigError(f"{name} is {show(value)}, it must be {limits}")


def _key(key: Any) -> str:
    """A key of a mapping in the name of its value."""
    return key if isinstance(key, str) and key.isidentifier() else show(key)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2


def show(value: Any, *, quoted: bool = True) -> str:
    """Show any value in one short line, as Python writes it; texts also without quotes."""
    if not quoted and isinstance(value, str):
        return show(value)[1:-1]
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"
