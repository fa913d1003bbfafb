"""Score transcripts against references, and evaluate models under noise and corruption."""

from avsr.augmentation.corruption import Corruption
from avsr.corpus.normalization import NORMALIZATION_VERSION, normalize_text
from avsr.evaluation.compare import Difference, compare_runs, lips_gain
from avsr.evaluation.config import Condition, EvaluationConfig, read_evaluation_config
from avsr.evaluation.noise import Noise, NoiseLibrary
from avsr.evaluation.predictor import ModelRecognizer, Prediction, Recognizer
from avsr.evaluation.report import write_report
from avsr.evaluation.results import results
from avsr.evaluation.run import evaluate
from avsr.evaluation.run_folder import Run, read_run
from avsr.evaluation.scores import (
    EditCounts,
    LanguageScore,
    UtteranceResult,
    cer,
    char_errors,
    score,
    wer,
    word_errors,
)

__all__ = [
    "NORMALIZATION_VERSION",
    "Condition",
    "Corruption",
    "Difference",
    "EditCounts",
    "EvaluationConfig",
    "LanguageScore",
    "ModelRecognizer",
    "Noise",
    "NoiseLibrary",
    "Prediction",
    "Recognizer",
    "Run",
    "UtteranceResult",
    "cer",
    "char_errors",
    "compare_runs",
    "evaluate",
    "lips_gain",
    "normalize_text",
    "read_evaluation_config",
    "read_run",
    "results",
    "score",
    "wer",
    "word_errors",
    "write_report",
]
