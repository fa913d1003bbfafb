"""Wrong types in the files of an evaluation's run ended as bugs in `compare` and `evaluate`."""

import json

import pytest

from avsr.errors import ConfigError
from avsr.evaluation.noise import check_noise
from avsr.evaluation.run_folder import read_run, repair_condition

CONDITION = {
    "modality": "audio",
    "noise": None,
    "video_corruption": None,
    "language_mode": "auto",
}
ABOUT = {
    "model": {"name": "m", "weights": None},
    "manifest": {"name": "m.jsonl", "sha256": "0", "utterances": 1},
    "noise": "0",
    "normalization": "1",
    "media": "/",
    "paper": None,
    "conditions": {"a": CONDITION},
    "versions": {"python": "3.11"},
}
RESULT = {"utterance_id": "u", "language": "de", "reference": "a", "hypothesis": "a"}
NOISE = {"seed": 0, "snr_over": "clip", "kinds": {"k": {"talkers": 1, "files": []}}}
ODD = (None, 3, "x", [], [1], {}, {"a": 1}, float("nan"))


@pytest.fixture
def write(tmp_path):
    def write(about=ABOUT, results=(RESULT,), timing="{}"):
        (tmp_path / "conditions").mkdir(exist_ok=True)
        (tmp_path / "run.json").write_text(json.dumps(about))
        (tmp_path / "timing.json").write_text(timing)
        lines = "".join(json.dumps(result) + "\n" for result in results)
        (tmp_path / "conditions" / "a.jsonl").write_text(lines)
        return tmp_path

    return write


def test_a_good_run_is_read(write):
    run = read_run(write(timing='{"shared": 1.5}'))
    assert run.conditions["a"][0].hypothesis == "a"
    assert run.timing == {"shared": 1.5}


@pytest.mark.parametrize("name", ABOUT)
def test_odd_values_of_a_run_are_refused(write, name):
    for odd in ODD:
        if odd == ABOUT[name] or (isinstance(odd, str) and isinstance(ABOUT[name], str | None)):
            continue
        if odd == {} and name in ("conditions", "versions"):
            continue
        with pytest.raises(ConfigError) as caught:
            read_run(write({**ABOUT, name: odd}))
        assert "evaluate anew, into another --out" in str(caught.value)


@pytest.mark.parametrize("name", ["utterance_id", "language", "reference", "seconds", "doubt"])
@pytest.mark.parametrize("odd", [3j, [], {"a": 1}, True])
def test_a_result_of_another_type_counts_as_missing(write, name, odd):
    result = {**RESULT, name: "x" if odd == 3j else odd}
    if name in ("utterance_id", "language", "reference") and odd == 3j:
        result[name] = 5
    folder = write(results=(result,))
    assert read_run(folder).conditions == {}
    assert repair_condition(folder, "a") == {}


@pytest.mark.parametrize("text", ["[", "3", '{"a": "x"}', '{"a": null}', "[" * 100_000])
def test_damaged_times_say_nothing(write, text):
    assert read_run(write(timing=text)).timing == {}


@pytest.mark.parametrize("odd", ODD)
def test_odd_noise_is_refused(odd):
    for expected in ({**NOISE, "kinds": odd}, {**NOISE, "kinds": {"k": odd}}):
        if expected["kinds"] == {}:
            continue
        with pytest.raises(ConfigError, match=r"noise\.json"):
            check_noise(NOISE, expected, "noise.json")
