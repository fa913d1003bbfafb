"""Half a minute of the fuzz: nothing crashes, every refusal is a line, all within bounds."""

from random import Random

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.harness import run_fuzz, sort_outcome
from tests.fuzz.mutations import change_bytes, change_json, change_yaml
from tests.fuzz.seeds import make_seeds

SECONDS = 30


def test_changed_inputs_are_read_or_refused_in_one_line(tmp_path):
    make_seeds(tmp_path / "seeds")
    tally = run_fuzz(tmp_path / "seeds", tmp_path / "work", seed=1, seconds=SECONDS)
    assert not tally.problems, "\n".join(tally.problems)
    assert set(tally.outcomes) <= set(KINDS)


@pytest.mark.parametrize(
    ("status", "stderr", "name"),
    [
        (0, "avsr: done\n", "done"),
        (2, "avsr: x: no such file\n", "refused"),
        (1, "avsr: x: unexpected KeyError: 3; AVSR_DEBUG=1 shows where\n", "foreign"),
        (2, "avsr: x does not fit: unexpected weight\n", "refused"),
        (0, "Traceback (most recent call last):\n", "foreign"),
        (-1, "", "foreign"),
        (1, "", "no reason"),
        (139, "avsr: x\n", "no reason"),
    ],
)
def test_outcomes_are_sorted_by_status_and_output(tmp_path, status, stderr, name):
    (tmp_path / "stderr").write_text(stderr)
    assert sort_outcome(status, tmp_path, 1.0, 1).name == name


def test_changes_depend_on_the_seed_alone():
    tree = {"a": [1, {"b": "c"}], "d": 2.5}
    for change in (change_json, change_yaml):
        first, again = ([change(tree, Random(seed)) for seed in range(200)] for _ in range(2))
        assert first == again
        assert len(set(first)) > 100
    data = bytes(range(256)) * 20
    assert change_bytes(data, Random(3)) == change_bytes(data, Random(3)) != data
