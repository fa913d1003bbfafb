import pytest
import torch
import torch.nn.functional as F

from avsr.layers.attention import attend


@pytest.mark.parametrize("kind", ["all", "masked", "causal"])
def test_training_in_bf16_attends_as_the_fused_kernel_does(kind):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 9, 16) for _ in range(3))
    mask = None
    if kind == "masked":
        mask = (torch.arange(9) < torch.tensor([[9], [5]]))[:, None, None]
    expected = F.scaled_dot_product_attention(q, k, v, mask, is_causal=kind == "causal")
    weights = torch.randn_like(expected)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        x = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (q, k, v)]
        y = attend(*x, mask, causal=kind == "causal")
        torch.testing.assert_close(y.float(), expected, atol=0.03, rtol=0.02)
        (y.float() * weights).sum().backward()
        gradients.append([tensor.grad.float() for tensor in x])
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


def test_dropout_keeps_the_mean_and_comes_from_the_seed():
    x = torch.randn(1, 1, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    values = torch.ones(1, 1, 400, 8, dtype=torch.bfloat16)
    keys = torch.zeros(1, 1, 400, 8, dtype=torch.bfloat16)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(attend(x, keys, values, dropout=0.5).float())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert abs(outputs[0].mean().item() - 1) < 0.15
