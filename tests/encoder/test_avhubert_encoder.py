import dataclasses

import pytest
import torch

from avsr.encoder import (
    AVHubertConfig,
    AVHubertEncoder,
    fill_blank,
    normalize_mouth,
    random_crop_flip,
)
from avsr.errors import ConfigError

SMALL = AVHubertConfig(
    layers=2, dim=32, ffn_dim=48, heads=4, frontend_width=4, position_kernel=8, position_groups=4,
    prompts=3,
)  # fmt: skip

GOLDEN = [
    [0.17746, -0.44677, 0.22227],
    [-0.39468, -0.12568, -0.02820],
    [0.72298, -0.34049, 1.03609],
]


def make_encoder(config=SMALL):
    torch.manual_seed(3)
    return AVHubertEncoder(config).eval()


def make_inputs(batch=2, frames=12):
    generator = torch.Generator().manual_seed(5)
    fbank = torch.randn(batch, frames, 104, generator=generator)
    mouth = torch.randn(batch, frames, 88, 88, generator=generator)
    return fbank, mouth


@torch.no_grad()
def test_golden_values_of_seeded_weights():
    """Frozen when the reference's numbers were met; a change here is a change of the model."""
    out = make_encoder()(*make_inputs())
    actual = [out.features[0, 0, :3], out.features[1, -1, :3], out.prompts[0, 1, :3]]
    torch.testing.assert_close(torch.stack(actual), torch.tensor(GOLDEN), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("missing", [None, "fbank", "mouth"])
def test_batch_equals_single_whatever_the_padding_holds(missing):
    encoder = make_encoder()
    fbank, mouth = make_inputs(frames=12)
    padding_mask = torch.zeros(2, 12, dtype=torch.bool)
    padding_mask[1, 7:] = True
    fbank[1, 7:] = 1e3
    mouth[1, 9:] = 1e3  # frames 7 and 8 reach frame 6 through the stem, in the file as here
    mouth[1, 7:9] = 0.0
    fbank, mouth = (None if missing == "fbank" else fbank), (None if missing == "mouth" else mouth)
    together = encoder(fbank, mouth, padding_mask)
    alone = encoder(
        None if fbank is None else fbank[1:, :7], None if mouth is None else mouth[1:, :7]
    )
    torch.testing.assert_close(together.features[1:, :7], alone.features, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.prompts[1:], alone.prompts, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_missing_modality_is_zeros_in_its_half():
    encoder = make_encoder()
    fbank, mouth = make_inputs()
    torch.nn.init.zeros_(encoder.video_proj.weight)
    torch.nn.init.zeros_(encoder.video_proj.bias)
    both = encoder(fbank, mouth).features
    torch.testing.assert_close(both, encoder(fbank, None).features)


@torch.no_grad()
def test_frontend_outputs_may_be_computed_before():
    encoder = make_encoder()
    fbank, mouth = make_inputs()
    visual = encoder.frontend(mouth)
    expected = encoder(fbank, mouth).features
    torch.testing.assert_close(encoder(fbank, None, visual=visual).features, expected)


@pytest.mark.parametrize("slope", [0.25, -0.25])
def test_frames_in_chunks_are_frames_at_once(slope):
    """Whatever the signs of the stem's norm and slopes, over several chunks, with padding."""
    frontend = make_encoder().frontend
    generator = torch.Generator().manual_seed(7)
    for module in frontend.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.weight.data.normal_(generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    frontend.stem_act.weight.data[1] = slope
    mouth = torch.randn(3, 41, 88, 88, generator=generator)
    mask = torch.arange(41) >= torch.tensor([[41], [16], [30]])
    for padding in (None, mask):
        at_once = frontend(mouth, padding).detach()  # with gradients
        with torch.no_grad():
            in_chunks = frontend(mouth, padding)
        torch.testing.assert_close(in_chunks, at_once, atol=1e-4, rtol=1e-4)
    assert in_chunks[mask].count_nonzero() == 0


@torch.no_grad()
def test_memory_is_prompt_outputs_and_features():
    padding_mask = torch.zeros(2, 12, dtype=torch.bool)
    padding_mask[1, 7:] = True
    out = make_encoder()(*make_inputs(), padding_mask)
    assert out.memory.shape == (2, 15, 32)
    assert out.memory_padding_mask.tolist() == [[False] * 15, [False] * 10 + [True] * 5]


@torch.no_grad()
def test_every_layer_has_its_own_prompts():
    encoder = make_encoder()
    fbank, mouth = make_inputs()
    before = encoder(fbank, mouth)
    assert encoder.transformer.prompts.shape == (2, 3, 32)
    for layer in range(2):
        encoder.transformer.prompts[layer] = torch.randn(3, 32)
        after = encoder(fbank, mouth)
        assert (after.features - before.features).abs().max() > 1e-4
        before = after


def test_gradients_of_a_padded_batch_are_the_sum_of_those_of_its_clips():
    encoder = make_encoder()
    fbank, _ = make_inputs(3)
    lengths = (12, 5, 8)
    mask = torch.arange(12) >= torch.tensor(lengths)[:, None]
    together = encoder(fbank, None, mask)
    features = together.features[~mask]
    expected = torch.zeros(())
    for clip, length in zip(fbank, lengths, strict=True):
        alone = encoder(clip[None, :length], None)
        expected = expected + alone.features.sin().sum() + alone.prompts.sin().sum()
    names, weights = zip(*encoder.transformer.named_parameters(), strict=True)
    loss = features.sin().sum() + together.prompts.sin().sum()
    gradients = torch.autograd.grad(loss, weights)
    sums = torch.autograd.grad(expected, weights)
    for name, one, other in zip(names, gradients, sums, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, msg=name)


def test_under_autocast_residuals_are_summed_in_single_precision():
    encoder, dtypes = make_encoder(), []
    for layer in encoder.transformer.layers:
        layer.register_forward_hook(lambda module, args, y: dtypes.append((args[0].dtype, y.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(make_inputs()[0], None)
    assert dtypes == [(torch.float32, torch.float32)] * 2


@pytest.mark.parametrize("skipped", [(), (1,), (0, 1)])
def test_skipped_layers_do_not_change_the_others(skipped, monkeypatch):
    config = dataclasses.replace(SMALL, layerdrop=0.5, dropout=0.0, attention_dropout=0.0)
    encoder, fbank = make_encoder(config), make_inputs()[0]
    random = torch.tensor([0.1 if i in skipped else 0.9 for i in range(2)])
    monkeypatch.setattr(torch, "rand", lambda number: random)
    for part in encoder.transformer.train().layers:
        part.eval()
    skipping = encoder(fbank, None)
    encoder.eval()
    layers = [layer for i, layer in enumerate(encoder.transformer.layers) if i not in skipped]
    prompts = [p for i, p in enumerate(encoder.transformer.prompts) if i not in skipped]
    encoder.transformer.layers = torch.nn.ModuleList(layers)
    encoder.transformer.prompts = torch.nn.Parameter(
        torch.stack(prompts) if prompts else torch.empty(0, 3, 32)
    )
    torch.testing.assert_close(skipping.features, encoder(fbank, None).features)
    if prompts:
        torch.testing.assert_close(skipping.prompts, encoder(fbank, None).prompts)


def test_without_any_modality_it_raises():
    with pytest.raises(ValueError, match="fbank, mouth or both"):
        make_encoder()(None, None)


def test_mouth_is_cropped_in_the_centre_and_scaled():
    mouth = torch.zeros(1, 96, 96, dtype=torch.uint8)
    mouth[0, 4, 4] = 255
    out = normalize_mouth(mouth)
    assert out.shape == (1, 88, 88)
    assert out[0, 0, 0].item() == pytest.approx((1 - 0.421) / 0.165)
    assert out[0, 1, 1].item() == pytest.approx(-0.421 / 0.165)


def test_training_crop_is_one_window_for_a_clip():
    row = torch.arange(96, dtype=torch.uint8)
    mouth = row.expand(3, 96, 96).contiguous()
    windows = set()
    for seed in range(120):
        out = random_crop_flip(mouth, torch.Generator().manual_seed(seed))
        assert out.shape == (3, 88, 88)
        assert (out == out[0, 0]).all()
        steps = out[0, 0].int().diff()
        assert (steps == 1).all() or (steps == -1).all()
        windows.add((int(out[0, 0].min()), int(steps[0])))
    assert {step for _, step in windows} == {1, -1}
    assert len({left for left, _ in windows}) == 9


def test_config_lists_all_that_is_wrong():
    with pytest.raises(ConfigError, match=r"layers must be positive.*heads 5 must divide"):
        AVHubertConfig(layers=0, dim=32, heads=5)


def test_a_blank_frame_becomes_the_nearest_one():
    mouth = torch.zeros(6, 96, 96, dtype=torch.uint8)
    for frame in (1, 4):
        mouth[frame, 20:60, 20:60] = 40 * frame
    mouth[5] = 200  # bright, and empty all the same
    assert fill_blank(mouth)[:, 30, 30].tolist() == [40, 40, 40, 160, 160, 160]


@pytest.mark.parametrize("value", [0, 130])
def test_if_all_frames_are_blank_nothing_is_filled(value):
    mouth = torch.full((3, 96, 96), value, dtype=torch.uint8)
    assert fill_blank(mouth) is mouth
