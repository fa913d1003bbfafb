"""Multilingual audio-visual speech recognition: a video in; language, words and times out.

>>> import avsr
>>> avsr.transcribe("demo/examples/de.mp4").text
'seine der wir der am'
>>> next(iter(avsr.detect_language("demo/examples/de.mp4")))
'de'

The public names are imported on first use, so that ``import avsr`` loads no heavy package.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avsr.errors import AvsrError
    from avsr.recognition.recognizer import Recognizer, detect_language, load_model, transcribe
    from avsr.transcript import Transcript

    __version__: str

__all__ = [
    "AvsrError",
    "Recognizer",
    "Transcript",
    "__version__",
    "detect_language",
    "load_model",
    "transcribe",
]

_MODULES = {
    "AvsrError": "avsr.errors",
    "Transcript": "avsr.transcript",
    "Recognizer": "avsr.recognition.recognizer",
    "detect_language": "avsr.recognition.recognizer",
    "load_model": "avsr.recognition.recognizer",
    "transcribe": "avsr.recognition.recognizer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("avsr")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
