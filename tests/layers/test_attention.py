import pytest
import torch
import torch.nn.functional as F

from avsr.layers.attention import attend
from avsr.layers.packed_batch import PackedBatch


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
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(attend(x, keys, values, dropout=0.5).float())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert abs(made[0].mean().item() - 1) < 0.15


VALID = torch.arange(6) < torch.tensor([[6], [2], [4]])


@pytest.mark.parametrize("first", [0, 1])
def test_rows_are_what_is_no_padding_and_their_gradients_stay_in_place(first):
    rows = PackedBatch.from_mask(VALID, first)
    x = torch.randn(3, 6, 5, requires_grad=True)
    packed = rows.pack(x)
    expected = torch.cat([x[:, :first].flatten(0, 1), x[:, first:][VALID[:, first:]]])
    assert torch.equal(packed, expected)
    unpacked = rows.unpack(packed * 2)
    assert torch.equal(unpacked[VALID], 2 * x[VALID])
    weights = torch.randn(3, 6, 5)
    (unpacked * weights)[VALID].sum().backward()
    assert torch.equal(x.grad, 2 * weights.masked_fill(~VALID[..., None], 0.0))


def test_without_padding_there_are_no_rows():
    assert PackedBatch.from_mask(torch.ones(3, 6, dtype=torch.bool)) is None
