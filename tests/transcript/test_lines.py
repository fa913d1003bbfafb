"""Folding words into lines, against every way to do it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.transcript.lines import Folding, fold
from avsr.transcript.phrases import break_costs


def by_brute_force(widths: list[int], costs: list[float]) -> tuple[int, int, float]:
    best = None
    for count in range(len(widths)):
        for cuts in itertools.combinations(range(1, len(widths)), count):
            edges = [0, *cuts, len(widths)]
            lines = [sum(widths[a:b]) + b - a - 1 for a, b in itertools.pairwise(edges)]
            excess = sum(max(0, line - 42) for line in lines)
            ragged = sum((max(0, 42 - line) / 42) ** 2 for line in lines)
            cost = sum(0.5 * costs[cut - 1] for cut in cuts) + ragged if cuts else 0.0
            folding = (excess, len(lines), cost)
            best = folding if best is None else min(best, folding)
    assert best is not None
    return best


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(1, 20), st.integers(35, 60)), min_size=1, max_size=9).flatmap(
        lambda widths: st.tuples(
            st.just(widths),
            st.lists(st.floats(0, 4), min_size=len(widths) - 1, max_size=len(widths) - 1),
        )
    )
)
def test_the_best_folding_is_found(case: tuple[list[int], list[float]]) -> None:
    widths, costs = case
    folding = fold(widths, costs)
    excess, num_lines, cost = by_brute_force(widths, costs)
    assert (folding.excess, folding.num_lines) == (excess, num_lines)
    assert folding.cost == pytest.approx(cost, abs=1e-9)
    assert len(folding.starts) == num_lines
    assert folding.starts[0] == 0


def test_one_line_as_long_as_it_fits() -> None:
    assert fold([20, 21], [2.0]) == Folding(0, 1, 0.0, (0,))  # 42 characters with the space
    assert fold([21, 21], [2.0]).starts == (0, 1)


def test_no_words() -> None:
    with pytest.raises(ValueError, match="no words"):
        fold([], [])


def test_costs_of_breaks() -> None:
    words = ["Go!", "we", "went", "to", "the", "shop,", "(then)", "home"]
    pauses = [0.0] * 7
    assert break_costs(words, pauses, "en") == [0.0, 4.0, 1.5, 4.0, 4.0, 1.0, 2.0]
    assert break_costs(words, pauses, "xx") == [0.0, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0]
    pauses[1], pauses[2] = 0.5, 3.0
    assert break_costs(words, pauses, "en")[1:3] == [3.0, 0.0]


@pytest.mark.parametrize("word", ["ماذا؟", "done.”", "fin…", "why?»"])
def test_ends_of_sentences_in_any_script(word: str) -> None:
    assert break_costs([word, "x"], [0.0], "ar") == [0.0]
