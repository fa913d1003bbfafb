"""oneDNN keeps a buffer for each number of rows: recordings of many lengths filled gigabytes."""

import os
from pathlib import Path

import pytest
import torch

from avsr.layers.linear import LinearActivation, PackedLinear, can_pack

WIDTH = 512
LENGTHS = range(300, 400)  # 62 MB of buffers if each had its own


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux")
@torch.inference_mode()
def test_inputs_of_many_lengths_share_buffers():
    layer = LinearActivation(WIDTH, WIDTH, "relu")
    packed = PackedLinear(layer, layer.weight, layer.bias)
    x = torch.randn(max(LENGTHS), WIDTH)
    packed(x)
    before = resident()
    for length in LENGTHS:
        packed(x[:length])
    assert resident() - before < 20e6


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("rows", [0, 1, 32, 33, 48, 255, 256, 257, 300, 513, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_every_number_of_rows_is_multiplied(rows, dtype):
    torch.manual_seed(rows)
    layer = LinearActivation(24, 40, "gelu")
    packed = PackedLinear(layer, layer.weight, layer.bias, dtype)
    x = torch.randn(rows, 24)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    y = packed(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x), atol=tolerance, rtol=tolerance)
    if rows % 3 == 0:
        folded = packed(x.view(3, -1, 24))
        torch.testing.assert_close(folded.view(rows, 40), y)
