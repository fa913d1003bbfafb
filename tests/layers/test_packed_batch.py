import pytest
import torch

from avsr.layers.packed_batch import PackedBatch

VALID = torch.arange(6) < torch.tensor([[6], [2], [4]])


@pytest.mark.parametrize("first", [0, 1])
def test_packed_rows_are_the_valid_positions_and_so_are_their_gradients(first):
    batch = PackedBatch.from_mask(VALID, first)
    x = torch.randn(3, 6, 5, requires_grad=True)
    packed = batch.pack(x)
    expected = torch.cat([x[:, :first].flatten(0, 1), x[:, first:][VALID[:, first:]]])
    assert torch.equal(packed, expected)
    unpacked = batch.unpack(packed * 2)
    assert torch.equal(unpacked[VALID], 2 * x[VALID])
    weights = torch.randn(3, 6, 5)
    (unpacked * weights)[VALID].sum().backward()
    assert torch.equal(x.grad, 2 * weights.masked_fill(~VALID[..., None], 0.0))


def test_without_padding_nothing_is_packed():
    assert PackedBatch.from_mask(torch.ones(3, 6, dtype=torch.bool)) is None
