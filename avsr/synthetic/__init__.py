"""Synthetic corpora: frequent words -> speech with phone times -> talking heads -> shards."""

import importlib
from typing import Any

_MODULES = {
    "Phone": "speech",
    "Speech": "speech",
    "Utterance": "utterance",
    "Voice": "voices",
    "align_phones": "phone_alignment",
    "draw_text": "text",
    "draw_voice": "voices",
    "make_utterance": "utterance",
    "synthesize": "corpus",
    "synthesize_speech": "speech",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: scipy and the renderer load slowly and need an extra."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
