"""Public models: short names, and what is known of each before it is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from avsr.languages import MUAVIC_LANGUAGES

Kind = Literal["recognition", "language"]
"""What a model does: write text, or only name the language."""

AVHUBERT_TERMS = "AV-HuBERT's terms: non-commercial use only"
NON_COMMERCIAL = "CC BY-NC 4.0 and AV-HuBERT's terms: non-commercial use only"
MUAVIC = tuple(code for code in MUAVIC_LANGUAGES if code != "en")
_VOXLINGUA107 = """
    ab af am ar as az ba be bg bn bo br bs ca ceb cs cy da de el en eo es et eu fa fi fo fr gl gn gu
    gv ha haw hi hr ht hu hy ia id is it he ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr
    ms mt my ne nl nn nb oc pa pl ps pt ro ru sa sco sd si sk sl sn so sq sr su sv sw ta te tg th tk
    tl tr tt uk ur uz vi war yi yo zh
"""  # its labels `iw`, `jw` and `no` are `he`, `jv` and `nb` here
VOXLINGUA107 = tuple(_VOXLINGUA107.split())


@dataclass(frozen=True, kw_only=True)
class PublicModel:
    """A model on the hub that has a short name."""

    name: str
    """Short name."""
    repository: str
    """``owner/name`` on the hub."""
    languages: tuple[str, ...]
    size: int
    """Bytes to download."""
    licence: str
    kind: Kind = "recognition"
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Digest of published files, by their names."""


def _muavic(code: str, languages: tuple[str, ...], size: int) -> PublicModel:
    return PublicModel(
        name=f"muavic-{code}",
        repository=f"nguyenvulebinh/AV-HuBERT-MuAViC-{code}",
        languages=languages,
        size=size,
        licence=NON_COMMERCIAL,
    )


# The sizes are those of the tensors: 24 layers of 1024 with a decoder of 6 x 768, en of 9 x 1024.
PUBLIC_MODELS = (
    *(
        _muavic(code, (code,), 1_921_860_160 if code == "en" else 1_549_310_528)
        for code in MUAVIC_LANGUAGES
    ),
    _muavic("multilingual", MUAVIC, 1_549_310_528),
    PublicModel(
        name="voxlingua107",
        repository="speechbrain/lang-id-voxlingua107-ecapa",
        languages=VOXLINGUA107,
        size=85_250_000,
        licence="Apache-2.0",
        kind="language",
        sha256={
            "embedding_model.ckpt": (
                "ab750d5c06d713477045fa798fab5d33e959dbc0dfe4de510a9a47844c79a19a"
            ),
            "classifier.ckpt": "a50d9024ff58d317031c9787d4c6c614d454a87a8ef32f9d36338cd3ff57adbc",
        },
    ),
)
BY_NAME = {model.name: model for model in PUBLIC_MODELS}
BY_REPOSITORY = {model.repository: model for model in PUBLIC_MODELS}


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Files of AV-HuBERT's or MuAViC's authors, which somebody downloads for ``avsr import``."""

    name: str
    languages: tuple[str, ...]
    licence: str


CHECKPOINTS = tuple(
    Checkpoints(
        name=name,
        languages=languages,
        licence=NON_COMMERCIAL if "MuAViC" in name else AVHUBERT_TERMS,
    )
    for name, languages in [
        ("MuAViC, xx_avsr (.pt), one per language, 385 M weights", MUAVIC_LANGUAGES),
        ("MuAViC, x_avsr (.pt), 385 M weights", MUAVIC),
        ("AV-HuBERT Base, pre-trained (.pt), 103 M weights", ()),
        ("AV-HuBERT Base, fine-tuned (.pt), 161 M weights", ("en",)),
        ("AV-HuBERT Large, pre-trained (.pt), 325 M weights", ()),
        ("AV-HuBERT Large, fine-tuned (.pt), 477 M weights", ("en",)),
    ]
)
