"""Names of models: bundled, short names of public ones, addresses on the hub, directories."""

import difflib
import os
import re
from pathlib import Path

from avsr.errors import ModelError
from avsr.hub.public_models import BY_NAME, PUBLIC_MODELS, PublicModel

BUNDLED = {"tiny": "tiny"}  # public name -> folder in avsr/assets
DEFAULT_MODEL = "tiny"
ASSETS = Path(__file__).parents[1] / "assets"
SCHEME = "hf://"
# As the hub has them: a name begins and ends with a letter or digit, without "--" or "..".
_NAME = r"\w([.-]?\w)*"
ADDRESS = re.compile(
    rf"hf://(?P<repository>{_NAME}/{_NAME}(?<!\.git))(@(?P<revision>\w+([./-]+\w+)*))?"
)
MAX_NAME = 96


def is_name(name: str) -> bool:
    """Return whether this is a bundled or short name or an address, and no path."""
    return name in BUNDLED or name in BY_NAME or name.startswith(SCHEME)


def find_public(name: str | os.PathLike[str]) -> PublicModel | None:
    """Return what is known of a public model, by its short name or its address."""
    name = os.fspath(name)
    match = ADDRESS.fullmatch(name)
    return next(
        (m for m in PUBLIC_MODELS if name == m.name or (match and match[1] == m.repository)), None
    )


def find_address(name: str) -> str | None:
    """Return the address of a model on the hub, by its short name or its address; else None."""
    if name.startswith(SCHEME):
        return name
    return f"{SCHEME}{BY_NAME[name].repository}" if name in BY_NAME else None


def parse_address(address: str) -> tuple[str, str | None]:
    """Split ``hf://owner/name@revision`` into repository and revision, which may be missing.

    Raises:
        ModelError: It has another form.
    """
    match = ADDRESS.fullmatch(address)
    if match is None or len(match[1]) > MAX_NAME or ".." in (match["revision"] or ""):
        raise ModelError(
            f"'{address}' is not a valid address: use hf://owner/name or hf://owner/name@revision"
        )
    return match["repository"], match["revision"]


def explain_unknown(name: str) -> str:
    """Describe in one line that there is no model of a name, and what there is."""
    names = [*BUNDLED, *BY_NAME]
    if name == "muavic":
        return "'muavic' is a set of models: --model-set muavic; one of them is --model muavic-en"
    matches = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean '{matches[0]}'?" if matches else ":"
    return (
        f"no model '{name}'{hint} use the path of a model directory, hf://owner/name, or one of "
        f"{', '.join(names)}"
    )
