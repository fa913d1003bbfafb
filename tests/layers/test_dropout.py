import pytest
import torch

from avsr.layers.dropout import Dropout, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5])
def test_the_share_that_is_dropped_and_the_mean_are_those_asked_for(dtype, probability):
    torch.manual_seed(1)
    y = dropout(torch.ones(1000, 1001, dtype=dtype), probability)
    assert (y == 0).float().mean().item() == pytest.approx(probability, rel=0.02)
    others = y[y != 0]
    assert (others == others[0]).all()
    assert others[0].item() == pytest.approx(1 / (1 - probability), rel=0.004)


def test_the_gradient_is_dropped_in_the_same_places():
    torch.manual_seed(1)
    x = torch.ones(7, 33, requires_grad=True)
    y = dropout(x, 0.3)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_neighbours_and_columns_are_dropped_independently():
    torch.manual_seed(2)
    zero = (dropout(torch.ones(4000, 64), 0.25) == 0).float() - 0.25
    for distance in (1, 2, 3, 4, 64):
        flat = zero.flatten()
        correlation = (flat[distance:] * flat[:-distance]).mean().item() / (0.25 * 0.75)
        assert abs(correlation) < 0.01


def test_the_seed_decides_and_evaluation_drops_nothing():
    layer, x = Dropout(0.5), torch.randn(5, 9)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x
    assert dropout(x, 0.0) is x


def test_nearly_everything_may_be_dropped():
    assert torch.isfinite(dropout(torch.ones(100_000), 0.999999)).all()
