"""Stage 5 of 8: prompt outputs + features -> P(language)."""

from avsr.language.classifier import LanguageClassifier

__all__ = ["LanguageClassifier"]
