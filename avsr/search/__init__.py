"""Stage 7 of 8: log-probabilities -> n-best hypotheses, token times.

The public names are imported on first use, so that ``avsr.search.options`` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avsr.search.alignment import TokenSpan, align
    from avsr.search.beam import Hypothesis, beam_search
    from avsr.search.ctc_prefix import CtcPrefixes
    from avsr.search.ngram import NgramModel, load_ngrams, pack_ngrams
    from avsr.search.options import SearchOptions
    from avsr.search.scorer import Scorer, WeightedScorer

__all__ = [
    "CtcPrefixes",
    "Hypothesis",
    "NgramModel",
    "Scorer",
    "SearchOptions",
    "TokenSpan",
    "WeightedScorer",
    "align",
    "beam_search",
    "load_ngrams",
    "pack_ngrams",
]

_MODULES = {
    "CtcPrefixes": "ctc_prefix",
    "Hypothesis": "beam",
    "NgramModel": "ngram",
    "Scorer": "scorer",
    "SearchOptions": "options",
    "TokenSpan": "alignment",
    "WeightedScorer": "scorer",
    "align": "alignment",
    "beam_search": "beam",
    "load_ngrams": "ngram",
    "pack_ngrams": "ngram",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
