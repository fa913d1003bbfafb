"""Planted statistics: the bounds are where they were planted, and judge as they should."""

import dataclasses
import json

import numpy as np
import pytest

from avsr.errors import ModelError
from avsr.model.reliability import (
    FLAGGED,
    NO_WORDS,
    STATISTICS,
    Reliability,
    fit_reliability,
    read_reliability,
)

RNG = np.random.default_rng(0)


def clips(count: int, **shifts: float) -> list[dict[str, float]]:
    """Statistics of clips, normally distributed around 1, or around 1 + shift."""
    return [
        {name: float(RNG.normal(1 + shifts.get(name, 0.0), 0.1)) for name in STATISTICS}
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def reliability() -> Reliability:
    return fit_reliability([clips(1000)], "Try another model.", [{"manifest": "valid.jsonl"}])


def test_norms_are_those_of_the_clips(reliability):
    for name, norm in reliability.statistics.items():
        assert norm.median == pytest.approx(1, abs=0.02)
        assert norm.spread == pytest.approx(0.1, abs=0.02)
        assert norm.limit == pytest.approx(1 + 0.2 * STATISTICS[name][0], abs=0.05)


def test_at_most_two_percent_of_the_clips_are_flagged(reliability):
    rows = clips(1000)
    fitted = fit_reliability([rows])
    flagged = [fitted.judge(row).reliable is False for row in rows]
    assert 0.015 <= np.mean(flagged) <= FLAGGED


def test_every_manifest_keeps_its_own_two_percent():
    home, harder = clips(500), clips(100, **{name: 0.1 * s for name, (s, _) in STATISTICS.items()})
    fitted = fit_reliability([home, harder])
    for rows in (home, harder):
        assert np.mean([not fitted.judge(row).reliable for row in rows]) <= FLAGGED


def test_other_clips_are_flagged_and_the_reasons_are_what_differs(reliability):
    name, (sign, reason) = next(iter(STATISTICS.items()))
    verdict = reliability.judge({**dict.fromkeys(STATISTICS, 1.0), name: 1 + 2 * sign})
    assert verdict.reliable is False
    assert verdict.doubt > 0
    assert verdict.reasons == (reason,)
    good = reliability.judge(dict.fromkeys(STATISTICS, 1.0))
    assert good.reliable
    assert good.reasons == ()
    assert good.doubt < 0


def test_without_words_nothing_is_reliable(reliability):
    assert reliability.judge({}).reliable is False
    assert reliability.judge({}).doubt == NO_WORDS


def test_the_file_is_read_back(reliability, tmp_path):
    assert read_reliability(tmp_path) is None
    (tmp_path / "reliability.json").write_text(reliability.to_json())
    again = read_reliability(tmp_path)
    assert again.to_json() == reliability.to_json()
    assert again.judge({}) == reliability.judge({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2"),
        ({"statistics": {"x": {"median": 0, "spread": 1, "limit": 0}}}, "unknown statistic 'x'"),
        ({"statistics": {"token_score": {"median": 0}}}, "broken"),
        ({"statistics": {}}, "no statistics"),
        ({"statistics": 3}, "broken"),
        ({"data": 3}, "broken"),
    ],
)
def test_a_broken_file_is_one_line(reliability, tmp_path, change, message):
    content = {**json.loads(reliability.to_json()), **change}
    (tmp_path / "reliability.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message) as error:
        read_reliability(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "reliability.json").write_text("{")
    with pytest.raises(ModelError, match="broken"):
        read_reliability(tmp_path)


def test_a_statistic_that_never_varies_divides_nothing_by_zero():
    rows = [dict.fromkeys(STATISTICS, 1.0)] * 60
    fitted = fit_reliability([rows])
    assert fitted.judge(rows[0]).reliable
    assert dataclasses.asdict(fitted)["clips"] == 60
