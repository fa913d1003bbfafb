"""Stage 5 of 8: prompt outputs + features -> P(language)."""

from avsr.language.choice import MIN_CONFIDENCE, UNKNOWN, fit_temperature, probabilities
from avsr.language.classifier import LanguageClassifier
from avsr.language.smoothing import smooth_languages

__all__ = [
    "MIN_CONFIDENCE",
    "UNKNOWN",
    "LanguageClassifier",
    "fit_temperature",
    "probabilities",
    "smooth_languages",
]
