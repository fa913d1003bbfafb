"""Stage 5 of 8: prompt outputs + features -> P(language)."""

from avsr.language.classifier import LanguageClassifier
from avsr.language.smoothing import smooth_languages

__all__ = ["LanguageClassifier", "smooth_languages"]
