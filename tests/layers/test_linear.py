import pytest
import torch
from torch import nn

from avsr.hub import find_model, load_network
from avsr.layers.linear import LinearActivation, PackedLinear, can_pack
from avsr.model.directory import load_directory

pytestmark = pytest.mark.skipif(not can_pack(), reason="this PyTorch was built without oneDNN")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("layer", [nn.Linear(24, 40), nn.Linear(24, 40, bias=False)])
def test_a_packed_layer_is_the_same_layer(layer, dtype):
    layer = layer.to(dtype).float()
    packed = PackedLinear(layer, layer.weight.to(dtype), layer.bias)
    for shape in ((24,), (5, 24), (2, 3, 24), (2, 0, 24)):
        x = torch.randn(shape)
        for _ in range(2):
            torch.testing.assert_close(packed(x), layer(x).detach())
        torch.testing.assert_close(packed(x.expand(2, *shape)), layer(x.expand(2, *shape)).detach())
    assert packed.unpacked is None
    assert not list(packed.parameters())


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_its_activation_is_applied(activation):
    layer = LinearActivation(24, 40, activation)
    x = torch.randn(7, 24)
    expected = getattr(nn.functional, activation)(nn.functional.linear(x, layer.weight, layer.bias))
    assert torch.equal(layer(x), expected)
    packed = PackedLinear(layer, layer.weight, layer.bias)
    torch.testing.assert_close(packed(x), expected.detach())


@torch.no_grad()
def test_its_state_is_that_of_the_layer_before_and_after_use():
    layer = nn.Linear(24, 40)
    packed = PackedLinear(layer, layer.weight, layer.bias)
    for _ in range(2):
        state = packed.state_dict()
        assert {n: torch.equal(w, state[n]) for n, w in layer.state_dict().items()} == {
            "weight": True,
            "bias": True,
        }
        packed(torch.randn(1, 24))


@torch.no_grad()
def test_a_model_to_transcribe_with_is_packed_and_the_same():
    plain = load_directory(find_model(None))
    packed = load_network(device="cpu")
    kinds = {name for name, module in packed.named_modules() if isinstance(module, nn.Linear)}
    assert not kinds
    fbank, mouth = torch.randn(1, 30, 104), torch.randn(1, 30, 88, 88)
    one, other = (m.ctc_log_probs(m.encode(fbank, mouth)) for m in (plain, packed))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    unpacked = packed.state_dict()  # slow: it lays all weights out again
    assert plain.state_dict().keys() == unpacked.keys()
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, unpacked[name]), name
