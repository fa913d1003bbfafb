"""The fast ways compute what the plain forward pass defines: values, gradients, hypotheses."""

import os
import subprocess
import sys

import pytest
import torch

from avsr.decoder import EOS, PAD, AttentionDecoder, DecoderConfig
from avsr.encoder import AVHubertConfig, AVHubertEncoder
from avsr.hub import find_model, load_network
from avsr.layers.activation import PReLU
from avsr.layers.attention import attend
from avsr.layers.cached_decoder import CachedState
from avsr.layers.dropout import dropout
from avsr.layers.linear import PackedLinear
from avsr.layers.plain import plain, plain_forward
from avsr.model.directory import load_directory
from avsr.model.quantization import Int8Linear
from avsr.search import SearchOptions

ENCODER = AVHubertConfig(
    layers=3, dim=32, ffn_dim=48, heads=4, frontend_width=4, position_kernel=8, position_groups=4,
    prompts=3, dropout=0.0, attention_dropout=0.0, layerdrop=0.0,
)  # fmt: skip
DECODER = DecoderConfig(layers=2, dim=32, ffn_dim=48, heads=4, dropout=0.0, attention_dropout=0.0)
FRAMES = torch.arange(12) >= torch.tensor([[12], [5], [8]])
MEMORY = torch.arange(9) >= torch.tensor([[9], [5], [7]])
TOKENS = torch.tensor([[EOS, 5, 6, 7, 8], [EOS, 9, 9, PAD, PAD], [EOS, 4, 5, 6, PAD]])
LANGUAGES = torch.tensor([2, 0, 1])


def make_decoder():
    torch.manual_seed(4)
    return AttentionDecoder(DECODER, 20, memory_dim=24, num_languages=3)


def compare(function, atol=1e-5, rtol=1e-5):
    """Both ways of a function that returns tensors."""
    fast = function()
    with plain_forward():
        expected = function()
    for one, other in zip(fast, expected, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=rtol)


@pytest.fixture(autouse=True)
def fast():
    """The tests compare with the fast ways, also where AVSR_PLAIN is set."""
    with plain_forward(False):
        yield


def test_the_switch_is_read_from_the_environment_and_holds_for_a_block():
    with plain_forward():
        assert plain()
        with plain_forward(False):
            assert not plain()
        assert plain()
    assert not plain()
    code = "from avsr.layers.plain import plain; print(plain())"
    for value, expected in (("1", "True\n"), ("0", "False\n"), ("", "False\n")):
        env = os.environ | {"AVSR_PLAIN": value, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert run.stdout == expected


@pytest.mark.parametrize("kind", ["all", "masked", "causal"])
def test_attention(kind):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 9, 16) for _ in range(3))
    mask = None
    if kind == "masked":
        mask = (torch.arange(9) < torch.tensor([[9], [5]]))[:, None, None]
    compare(lambda: [attend(q, k, v, mask, causal=kind == "causal")])
    with plain_forward():  # the formula, by hand, for one query
        y = attend(q, k, v, mask, causal=kind == "causal")[1, 2, 3]
    keys = {"all": 9, "masked": 5, "causal": 4}[kind]
    weights = (k[1, 2, :keys] @ q[1, 2, 3] / 4).softmax(0)
    torch.testing.assert_close(y, weights @ v[1, 2, :keys])


def test_dropout_and_prelu():
    torch.manual_seed(0)
    with plain_forward():
        y = dropout(torch.ones(1000, 100), 0.25)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, rel=0.02)
    assert y.max().item() == pytest.approx(1 / 0.75)
    layer, x = PReLU(4), torch.randn(3, 4, 5)
    compare(lambda: [layer(x).detach(), *torch.autograd.grad(layer(x).sin().sum(), layer.weight)])


@pytest.mark.parametrize("prompts", [0, 3])
@pytest.mark.parametrize("mask", [None, FRAMES], ids=["whole", "padded"])
@pytest.mark.parametrize("training", [False, True])
def test_encoder_and_its_gradients(prompts, mask, training):
    torch.manual_seed(3)
    config = AVHubertConfig(**{**vars(ENCODER), "prompts": prompts})
    encoder = AVHubertEncoder(config).train(training)
    fbank, mouth = torch.randn(3, 12, 104), torch.randn(3, 12, 88, 88)
    weights = [p for p in encoder.parameters() if p.numel()]

    def run():
        out = encoder(fbank, mouth, mask)
        features = out.features if mask is None else out.features[~mask]
        gradients = torch.autograd.grad(features.sin().sum() + out.prompts.sin().sum(), weights)
        return [features.detach(), out.prompts.detach(), *gradients]

    compare(run, atol=1e-3, rtol=1e-3)  # gradients are up to 100

    @torch.no_grad()
    def infer():
        out = encoder.eval()(fbank, mouth, mask)
        return [out.features if mask is None else out.features[~mask], out.prompts]

    compare(infer)


def test_layers_are_skipped_alike():
    torch.manual_seed(3)
    config = AVHubertConfig(**{**vars(ENCODER), "layerdrop": 0.5})
    encoder, fbank = AVHubertEncoder(config).train(), torch.randn(3, 12, 104)
    for seed in range(5):

        def run(seed=seed):
            torch.manual_seed(seed)
            out = encoder(fbank, None, FRAMES)
            return [out.features[~FRAMES].detach(), out.prompts.detach()]

        compare(run)


@pytest.mark.parametrize("mask", [None, MEMORY], ids=["whole", "padded"])
@pytest.mark.parametrize("languages", [None, LANGUAGES], ids=["alone", "language"])
def test_decoder_and_its_gradients(mask, languages):
    decoder, memory = make_decoder(), torch.randn(3, 9, 24)
    weights = [p for p in decoder.parameters() if languages is not None or len(p) != 3]

    def run():
        logits = decoder(TOKENS, memory, mask, languages)[TOKENS != PAD]
        return [logits.detach(), *torch.autograd.grad(logits.sin().sum(), weights)]

    compare(run, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("mask", [None, MEMORY], ids=["whole", "padded"])
def test_steps_of_a_search(mask):
    decoder, memory = make_decoder().eval(), torch.randn(3, 9, 24)
    selections = ([0, 0, 1, 1, 2, 2], [1, 0, 3, 2, 5, 5], [0, 0, 1, 1, 4, 4], [2, 3, 5], [0, 2])

    def run():
        generator = torch.Generator().manual_seed(8)
        state = decoder.start(memory, mask, LANGUAGES)
        assert isinstance(state, CachedState) is not plain()
        log_probs, state = decoder.step(torch.tensor([EOS] * 3), state)
        results = [log_probs]
        for length, rows in enumerate(selections, 1):
            state = state.select(torch.tensor(rows))
            assert state.length == length
            tokens = torch.randint(4, 20, (len(rows),), generator=generator)
            log_probs, state = decoder.step(tokens, state)
            results.append(log_probs)
        return results

    compare(run)


@torch.no_grad()
def test_the_bundled_model_and_its_hypotheses():
    torch.manual_seed(0)
    fbank, mouth = torch.randn(2, 30, 104), torch.randn(2, 30, 88, 88)
    lengths = torch.tensor([30, 17])
    mask = torch.arange(30) >= lengths[:, None]
    texts = []

    def run():
        model = load_network(device="cpu", precision="fp32")
        assert any(isinstance(m, PackedLinear) for m in model.modules()) is not plain()
        encoded = model.encode(fbank, mouth, mask)
        ctc = model.ctc_log_probs(encoded)
        options = SearchOptions(beam_size=3, nbest=3)
        hypotheses = model.decode(encoded, torch.tensor([1, 0]), lengths, ctc, options)
        texts.append([h.tokens for nbest in hypotheses for h in nbest])
        scores = torch.tensor([h.score for nbest in hypotheses for h in nbest])
        return [encoded.features[~mask], ctc[~mask], model.language_logits(encoded), scores]

    compare(run, atol=1e-3, rtol=1e-3)
    assert texts[0] == texts[1]


def test_a_plain_model_is_in_fp32_whatever_is_asked_for():
    with plain_forward():
        model = load_directory(find_model(None), "int8", packed=True)
    assert model.precision == "fp32"
    assert not any(isinstance(m, PackedLinear | Int8Linear) for m in model.modules())
    assert not model.encoder.frontend.is_channels_last
