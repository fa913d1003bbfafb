import pytest
import torch

from avsr.encoder import AVHubertConfig, AVHubertEncoder
from avsr.model.hooks import add_cancel_hooks
from avsr.runtime.progress import listen_progress

LAYERS, BLOCKS = 3, 8


def make_encoder():
    torch.manual_seed(0)
    return AVHubertEncoder(
        AVHubertConfig(layers=LAYERS, dim=32, ffn_dim=48, heads=4, frontend_width=64, prompts=2)
    ).eval()


@torch.no_grad()
def test_a_listener_may_stop_any_layer_and_any_chunk_of_the_front_end():
    encoder = make_encoder()
    fbank, mouth = torch.randn(1, 4, 104), torch.randn(1, 20, 88, 88)  # chunks of 16 and 4 frames
    handles = add_cancel_hooks(encoder)
    assert len(handles) == LAYERS + BLOCKS
    calls = []

    def stop_at(last):
        def listener(*progress):
            calls.append(progress)
            if len(calls) == last:
                raise KeyboardInterrupt

        calls.clear()
        return listener

    for run, expected in (
        (lambda: encoder(fbank, None), LAYERS),
        (lambda: encoder.frontend(mouth), BLOCKS // 2 * 3),
    ):
        with listen_progress(stop_at(0)):
            run()
        assert len(calls) == expected
        for last in range(1, expected + 1):
            with pytest.raises(KeyboardInterrupt), listen_progress(stop_at(last)):
                run()
            assert len(calls) == last


@torch.no_grad()
def test_hooks_change_no_number_and_can_be_removed():
    encoder, fbank = make_encoder(), torch.randn(1, 4, 104)
    before = encoder(fbank, None).features
    calls = []
    handles = add_cancel_hooks(encoder)
    with listen_progress(lambda *progress: calls.append(progress)):
        assert torch.equal(encoder(fbank, None).features, before)
        assert len(calls) == LAYERS
        for handle in handles:
            handle.remove()
        encoder(fbank, None)
    assert len(calls) == LAYERS


def test_a_network_with_hooks_can_still_be_exported():
    encoder = make_encoder()
    add_cancel_hooks(encoder)
    x = torch.randn(1, 5, 32)
    program = torch.export.export(encoder.transformer, (x, None), strict=False)
    for one, other in zip(program.module()(x, None), encoder.transformer(x, None), strict=True):
        torch.testing.assert_close(one, other)


def test_modules_without_layers_get_no_hooks():
    assert add_cancel_hooks(torch.nn.Linear(2, 2)) == []
