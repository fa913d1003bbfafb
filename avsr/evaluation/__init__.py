"""Scores of transcripts against references, and evaluation runs."""

from avsr.evaluation.clips import Clip, ClipReader, Noise
from avsr.evaluation.run import Evaluation, Recognizer, evaluate, model_recognizer
from avsr.evaluation.scores import (
    EditCounts,
    LanguageScore,
    Outcome,
    cer,
    char_errors,
    score,
    wer,
    word_errors,
)
from avsr.evaluation.text import NORMALIZATION_VERSION, normalize_text

__all__ = [
    "NORMALIZATION_VERSION",
    "Clip",
    "ClipReader",
    "EditCounts",
    "Evaluation",
    "LanguageScore",
    "Noise",
    "Outcome",
    "Recognizer",
    "cer",
    "char_errors",
    "evaluate",
    "model_recognizer",
    "normalize_text",
    "score",
    "wer",
    "word_errors",
]
