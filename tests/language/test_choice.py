import math

import pytest
import torch

from avsr.language import fit_temperature, probabilities


def test_probabilities_at_a_temperature_by_hand():
    logits = torch.tensor([[2 * math.log(3), 0.0, 2 * math.log(2)]])
    torch.testing.assert_close(probabilities(logits, 2.0), torch.tensor([[3 / 6, 1 / 6, 2 / 6]]))


def test_only_the_allowed_languages_share_the_probability():
    logits = torch.tensor([[math.log(3), 9.0, 0.0]])
    probs = probabilities(logits, 1.0, [0, 2])
    torch.testing.assert_close(probs, torch.tensor([[0.75, 0.0, 0.25]]))


def test_the_temperature_makes_confidence_what_it_claims():
    # Of four clips with the same logits three are right: 3/4 = 1 / (1 + exp(-4 / T)).
    logits = torch.tensor([[4.0, 0.0]] * 4)
    temperature = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
    assert temperature == pytest.approx(4 / math.log(3), abs=1e-6)


@pytest.mark.parametrize(("languages", "bound"), [([0, 0], 0.05), ([1, 1], 20.0)])
def test_a_temperature_that_runs_away_stays_in_its_bounds(languages, bound):
    logits = torch.tensor([[4.0, 0.0]] * 2)
    assert fit_temperature(logits, torch.tensor(languages)) == pytest.approx(bound)
