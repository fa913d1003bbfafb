"""Wrong lips, the share of each sense, and the rule that calibration fits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_recognizer import FakeRecognizer

from avsr.cli.app import main
from avsr.corpus import read_manifest, write_manifest
from avsr.errors import CorpusError
from avsr.evaluation import EvaluationConfig, calibration, clips, evaluate, read_run, results
from avsr.evaluation.provenance import describe_model
from avsr.evaluation.sense_calibration import CLEAN, NOISES, WRONG, SenseTrial, fit_senses
from avsr.model.directory import load_directory
from avsr.model.reliability import FILE
from avsr.model.sense_rule import CLARITY, GAIN, LETTERS, SCORES


@pytest.fixture
def own_lips(monkeypatch):
    """Lips whose darkest grey is the number of their file."""

    def track(path, edges=()):
        frames, columns = np.arange(25)[:, None, None], np.arange(96)
        crops = (int(path.stem) + columns + frames % 2 * 60 + np.zeros((25, 96, 96))).astype(
            np.uint8
        )
        return clips.Lips(crops, np.ones(25, bool), np.ones(25, bool))

    monkeypatch.setattr(clips, "track", track)


def wrong(manifest, **changes):
    return EvaluationConfig(
        manifest=str(manifest),
        out=str(manifest.parent / "results"),
        modalities=("av", "video"),
        snr_db=("clean",),
        video_corruptions=("wrong",),
        **changes,
    )


def greys(config):
    recognizer = FakeRecognizer()
    folder = evaluate(config, recognizer=recognizer)
    assert set(read_run(folder).conditions) == {"av-clean-wrong-auto", "video-clean-wrong-auto"}
    return {name: clip.mouth.min() for name, clip in recognizer.clips.items()}


def test_wrong_lips_are_those_of_another_and_the_same_each_time(manifest, own_lips, tmp_path):
    first = greys(wrong(manifest))
    assert len(first) == 6
    assert all(grey != int(name[1:]) for name, grey in first.items())
    config = wrong(manifest, batch_size=2)
    assert greys(replace(config, out=str(tmp_path / "again"))) == first
    assert greys(replace(config, out=str(tmp_path / "other"), seed=1)) != first


def test_one_utterance_has_no_wrong_lips(manifest, own_lips):
    write_manifest(manifest, read_manifest(manifest)[:1])
    with pytest.raises(CorpusError, match="no other utterance has lips to be the wrong ones of u0"):
        evaluate(wrong(manifest), recognizer=FakeRecognizer())


def test_results_say_how_often_each_sense_was_read(manifest, own_lips):
    class Recognizer(FakeRecognizer):
        def predict(self, clip, code):
            senses = {"u0": ("audio", "av"), "u1": ("video",)}.get(clip.name, ())
            return replace(super().predict(clip, code), senses=senses)

    folder = evaluate(replace(wrong(manifest), modalities=("av",)), recognizer=Recognizer())
    (condition,) = results(read_run(folder))["conditions"].values()
    assert condition["senses"] == {"av": 0.7143, "audio": 0.1429, "video": 0.1429}
    assert condition["used"] == {"av": 6, "audio": 0, "video": 0}, "what existed"


def trials(number=60):
    """Clips that lips harm if they are wrong; without CTC head if ``letters`` is missing."""
    rows = []
    for name in range(number):
        for sound in (CLEAN, NOISES[name % 3]):
            for lips in (CLEAN, WRONG):
                is_wrong, is_noisy = lips == WRONG, sound != CLEAN
                letters = (-0.6 if is_wrong else 0.8, -1.0 if is_noisy else 0.0)
                scores = (-1.0 if is_noisy else -0.3, -2.0 if is_wrong else -0.2)
                statistics = dict(zip((*LETTERS, *SCORES), (*letters, *scores), strict=True))
                statistics |= dict.fromkeys(CLARITY.values(), -0.5)
                statistics |= {"sound_gain": 0.1 if is_wrong else -0.1, "lips_gain": -0.5}
                both = 8 if is_wrong else 2
                rows.append(
                    SenseTrial(
                        source="planted",
                        name=f"clip-{name}",
                        sound=sound,
                        lips=lips,
                        words=10,
                        errors=(both, 9 if is_noisy else 3, 10 if is_wrong else 5),
                        statistics=statistics,
                    )
                )
    return rows


def test_the_fitted_rule_is_measured_on_clips_that_it_has_not_seen():
    rule = fit_senses(trials())
    rates = rule.report["set_aside"]
    assert rates["quiet, right lips"] == {
        **{"av": 20.0, "audio": 30.0, "video": 50.0},
        **{"scores": 20.0, "letters": 20.0},
    }
    assert rates["quiet, wrong lips"]["letters"] == rates["quiet, wrong lips"]["scores"] == 30.0
    assert rates["noise, wrong lips"]["letters"] == 80.0, "sound is worse: 90 %"
    assert rule.report["clips"] == 60
    aside = [trial for trial in trials() if trial.aside]
    assert 0 < len(aside) < len(trials()) / 2
    without = [
        replace(t, statistics={name: t.statistics[name] for name in (*SCORES, *GAIN.values())})
        for t in trials()
    ]
    rule = fit_senses(without)
    assert rule.letters is None
    assert rule.report["set_aside"]["quiet, wrong lips"]["scores"] == 30.0


def test_calibrate_fits_the_rule_and_evaluations_name_it(
    untrained, manifest, lips, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(untrained, tmp_path / "model")
    monkeypatch.setattr(calibration, "MIN_CLIPS", 5)
    monkeypatch.setattr(calibration, "MIN_SENSE_CLIPS", 5)
    config = EvaluationConfig(manifest=str(manifest), model=str(folder))
    records = read_manifest(manifest)
    assert main(["calibrate", str(folder), str(manifest), "--sense-clips", "0"]) == 0
    assert "senses" not in json.loads((folder / FILE).read_text())
    bundled = describe_model(config, records, None)
    plain = describe_model(replace(config, check=False), records, None)
    capsys.readouterr()
    assert main(["calibrate", str(folder), str(manifest)]) == 0
    assert "quiet, right lips" in capsys.readouterr().out
    rule = load_directory(folder).reliability.senses
    assert rule.report["clips"] == 6
    assert rule.letters is not None
    own = describe_model(config, records, None)
    assert own["check"] != bundled["check"]
    assert describe_model(replace(config, check=False), records, None) == plain
    assert "check" not in plain
