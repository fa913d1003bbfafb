"""Half a minute of the fuzz: nothing crashes, every refusal is a line, all within bounds."""

from tests.fuzz.cases import KINDS
from tests.fuzz.harness import run_fuzz
from tests.fuzz.seeds import make_seeds

SECONDS = 30


def test_changed_inputs_are_read_or_refused_in_one_line(tmp_path):
    make_seeds(tmp_path / "seeds")
    tally = run_fuzz(tmp_path / "seeds", tmp_path / "work", seed=1, seconds=SECONDS)
    assert not tally.problems, "\n".join(tally.problems)
    assert set(tally.outcomes) == set(KINDS)
