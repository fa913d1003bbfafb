"""Stage 7 of 8: log-probabilities -> n-best hypotheses, token times."""

from avsr.search.alignment import TokenSpan, align
from avsr.search.beam import Hypothesis, beam_search
from avsr.search.ctc_prefix import CtcPrefixes
from avsr.search.ngram import NgramModel, load_ngrams, pack_ngrams
from avsr.search.options import SearchOptions

__all__ = [
    "CtcPrefixes",
    "Hypothesis",
    "NgramModel",
    "SearchOptions",
    "TokenSpan",
    "align",
    "beam_search",
    "load_ngrams",
    "pack_ngrams",
]
