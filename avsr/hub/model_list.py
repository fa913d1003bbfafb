"""The models of this machine, and the public ones that it could have."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avsr.hub.names import ASSETS, BUNDLED, SCHEME
from avsr.hub.public_models import BY_REPOSITORY, CHECKPOINTS, PUBLIC_MODELS, Kind
from avsr.hub.repository import Repository, is_model_directory, read_settings
from avsr.model.directory import read_licence
from avsr.runtime.progress import format_bytes


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A row of ``avsr models``."""

    name: str
    """What ``load_model`` takes, but for rows of ``avsr import``."""
    languages: tuple[str, ...]
    licence: str
    kind: Kind = "recognition"
    size: int | None = None
    """Bytes on disk, or to download; None: not known."""
    is_here: bool = False
    """Whether it can be used without a download."""
    is_bundled: bool = False

    @property
    def where(self) -> str:
        """Where it is, or how to get it."""
        if self.is_bundled or self.is_here:
            return "bundled" if self.is_bundled else "here"
        if self.size is None:
            return "import with avsr import"
        return f"{format_bytes(self.size)} to download"


def list_models() -> list[Listed]:
    """List models without network access.

    Returns:
        The bundled models, public ones with a short name, others in the cache, and checkpoints for
        ``avsr import``.
    """
    return [
        *(_describe(name, ASSETS / folder, is_bundled=True) for name, folder in BUNDLED.items()),
        *(
            Listed(
                name=model.name,
                languages=model.languages,
                licence=model.licence,
                kind=model.kind,
                size=model.size,
                is_here=Repository(f"{SCHEME}{model.repository}").is_here(),
            )
            for model in PUBLIC_MODELS
        ),
        *_list_cache(),
        *(
            Listed(name=row.name, languages=row.languages, licence=row.licence)
            for row in CHECKPOINTS
        ),
    ]


def _list_cache() -> Iterator[Listed]:
    """List the repositories without a short name that are in the cache and hold a model."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for name in sorted(one.repo_id for one in repositories if one.repo_type == "model"):
        repository = Repository(f"{SCHEME}{name}")
        if name not in BY_REPOSITORY and repository.is_here():
            commit = repository.cached_commit()
            snapshot, imported = repository.snapshot(commit), repository.imported(commit)
            for folder in (snapshot, imported):
                if is_model_directory(folder):
                    yield _describe(f"{SCHEME}{name}", folder)
                    break


def _describe(name: str, folder: Path, *, is_bundled: bool = False) -> Listed:
    """Describe the model in a directory."""
    settings = read_settings(folder)
    return Listed(
        name=name,
        languages=tuple(settings.get("languages", ())),
        licence=read_licence(folder),
        kind="recognition" if "encoder" in settings else "language",
        size=sum(path.stat().st_size for path in folder.iterdir()),
        is_here=True,
        is_bundled=is_bundled,
    )
