"""Stage 7 of 8: log-probabilities -> n-best hypotheses, token times."""

from avsr.search.alignment import TokenSpan, align
from avsr.search.beam import Hypothesis, beam_search
from avsr.search.ctc_prefix import CtcPrefixes
from avsr.search.options import SearchOptions

__all__ = ["CtcPrefixes", "Hypothesis", "SearchOptions", "TokenSpan", "align", "beam_search"]
