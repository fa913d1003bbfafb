import math

import pytest

from avsr.search import SearchOptions
from avsr.search.stopping import should_stop


def stops(finished, best, extension=None, step=0, limit=9, beam=3, **options):
    extension = best if extension is None else extension
    return should_stop(finished, best, extension, step, limit, beam, SearchOptions(**options))


def test_at_the_limit():
    assert not stops([], -1.0, step=1, limit=2)
    assert stops([], -1.0, step=2, limit=2)


def test_when_the_beam_has_finished_or_nothing_is_left():
    assert stops([-5.0, -6.0, -7.0], -1.0)
    assert stops([], -math.inf)


# After step 1 an extension has 2 tokens.
@pytest.mark.parametrize(
    ("extension", "options", "stop"),
    [
        (-14.0, {"length_penalty": 1.0}, True),  # -7.0 a token
        (-13.9, {"length_penalty": 1.0}, False),
        (-7.0, {}, True),
        (-6.9, {}, False),
        (-9.0, {"length_bonus": 1.0}, True),
    ],
)
def test_a_patient_search_goes_on_while_the_worst_may_be_replaced(extension, options, stop):
    finished = [-5.0, -6.0, -7.0]
    assert stops(finished, -1.0, extension, step=1, patient=True, **options) == stop
    assert stops(finished, -1.0, extension, step=1, **options)
    assert not stops(finished[:2], -1.0, extension, step=1, nbest=3, patient=True, **options)


def test_not_before_the_nbest_are_complete():
    assert not stops([-1.0], -50.0, nbest=2)
    assert stops([-1.0, -2.0], -50.0, nbest=2)


# Step 0 has given one token; with eos a hypothesis has 2 tokens at least and 10 at most.
@pytest.mark.parametrize(
    ("best", "options", "stop"),
    [
        (-2.0, {}, True),  # it cannot get above -2.0 any more
        (-1.9, {}, False),
        (-20.0, {"length_penalty": 1.0}, True),  # the mean of 10 tokens is -2.0 at best
        (-19.0, {"length_penalty": 1.0}, False),
        (-7.0, {"length_bonus": 0.5}, True),  # 10 * 0.5 on top
        (-6.9, {"length_bonus": 0.5}, False),
        (-1.0, {"length_bonus": -0.5}, True),  # 2 * -0.5 on top
        (-0.9, {"length_bonus": -0.5}, False),
    ],
)
def test_when_nothing_unfinished_can_beat_the_best_of_minus_two(best, options, stop):
    assert stops([-2.0, -3.0], best, **options) == stop
