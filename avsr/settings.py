"""Settings from YAML files: overrides of the defaults of a dataclass, unknown keys refused."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from avsr.errors import ConfigError

T = TypeVar("T")


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; raise ConfigError in one line for what is wrong."""
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
    """A dataclass from a mapping; raise ConfigError that names an unknown key's nearest one."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings")
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{where}: unknown key '{key}'{hint}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
