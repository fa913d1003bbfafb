"""Read settings from YAML files into dataclasses; unknown keys are errors."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from avsr.errors import ConfigError, UnknownKeyError

T = TypeVar("T")


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

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of settings")
    return values


def build_settings(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from a mapping; fields that it lacks have their defaults.

    Args:
        kind: The dataclass.
        values: Names of fields -> values.
        where: File or section, with which error messages begin.

    Returns:
        An instance of ``kind``.

    Raises:
        ConfigError: ``values`` is not a mapping or lacks a required field.
        UnknownKeyError: It has an unknown key; the message names the most similar field.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings")
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            matches = difflib.get_close_matches(str(key), names, n=1)
            hint = f"; did you mean '{matches[0]}'?" if matches else ""
            raise UnknownKeyError(f"{where}: unknown key '{key}'{hint}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
