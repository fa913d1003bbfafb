"""Options of ``avsr evaluate``: each reaches the setting of its name."""

import sys
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from avsr import evaluation
from avsr.cli.app import app
from avsr.errors import AvsrError, ConfigError
from avsr.evaluation import EvaluationConfig

OPTIONS = {
    "model": ("--model", "m", "m"),
    "out": ("--out", "o", "o"),
    "modalities": ("--modality", "av,video", ("av", "video")),
    "language_modes": ("--language", "auto,de", ("auto", "de")),
    "noises": ("--noise", "speech,rain.wav", ("speech", "rain.wav")),
    "musan": ("--musan", "corpora/musan", "corpora/musan"),
    "snr_db": ("--snr", "clean,0,-2.5", ("clean", 0.0, -2.5)),
    "video_corruptions": ("--video-corruption", "clean,blur:2", ("clean", "blur:2")),
    "languages": ("--languages", "de,fr", ("de", "fr")),
    "split": ("--split", "valid", "valid"),
    "limit": ("--limit", "3", 3),
    "seed": ("--seed", "0", 0),
    "beam_size": ("--beam-size", "2", 2),
    "ctc_weight": ("--ctc-weight", "0", 0.0),
    "lm_weight": ("--lm-weight", "0", 0.0),
    "sync": ("--no-sync", None, False),
    "check": ("--no-check", None, False),
    "batch_size": ("--batch-size", "1", 1),
    "cache": ("--cache", "crops", "crops"),
    "noise_manifest": ("--noise-manifest", "noise.json", "noise.json"),
    "precision": ("--precision", "int8", "int8"),
}
FILE_ONLY = {"manifest", "snr_over", "paper"}


class ConfigSeenError(Exception):
    """Carries the config out of the command."""


def config_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> EvaluationConfig:
    """The config that a command line asks to evaluate."""

    def stop(config: EvaluationConfig, **_: object) -> None:
        raise ConfigSeenError(config)

    monkeypatch.setattr(evaluation, "evaluate", stop)
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    if not isinstance(result.exception, ConfigSeenError):
        assert result.exception is not None, result.output
        raise result.exception
    return result.exception.args[0]


def test_every_setting_has_an_option_or_is_for_files_only() -> None:
    assert set(OPTIONS) | FILE_ONLY == {field.name for field in fields(EvaluationConfig)}


@pytest.mark.parametrize("setting", OPTIONS)
def test_an_option_sets_its_setting_and_no_other(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    option, text, value = OPTIONS[setting]
    arguments = [option] if text is None else [option, text]
    config = config_of(monkeypatch, "m.jsonl", *arguments)
    assert config == EvaluationConfig(manifest="m.jsonl", **{setting: value})


def test_options_override_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    recipe = tmp_path / "evaluate.yaml"
    recipe.write_text("manifest: m.jsonl\nseed: 3\nlimit: 4\n")
    config = config_of(monkeypatch, str(recipe), "--seed", "0")
    assert config == EvaluationConfig(manifest="m.jsonl", seed=0, limit=4)


def test_a_ratio_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="numbers and 'clean'"):
        config_of(monkeypatch, "m.jsonl", "--snr", "loud")


def test_a_missing_extra_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(AvsrError, match=r"needs soundfile: pip install 'avsr\[evaluate\]'"):
        config_of(monkeypatch, "m.jsonl")
