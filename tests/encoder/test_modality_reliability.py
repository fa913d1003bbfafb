"""Scores of how far sound and lips can be trusted, in the encoder."""

import dataclasses

import pytest
import torch

from avsr.encoder import AVHubertEncoder
from avsr.encoder.modality_reliability import KERNEL, ModalityReliability
from tests.encoder.test_avhubert_encoder import SMALL, make_encoder, make_inputs

WEIGHED = dataclasses.replace(SMALL, reliability=True)


def trained_encoder():
    """An encoder whose scores differ from frame to frame."""
    encoder = make_encoder(WEIGHED)
    generator = torch.Generator().manual_seed(4)
    encoder.reliability.out.weight.data.normal_(0, 8.0, generator=generator)
    encoder.reliability.out.bias.data.zero_()
    return encoder


@torch.no_grad()
def test_new_scores_leave_an_encoder_as_it_was():
    plain, weighed = make_encoder(), AVHubertEncoder(WEIGHED).eval()
    missing = weighed.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(name.startswith("reliability.") for name in missing)
    fbank, mouth = make_inputs()
    before, after = plain(fbank, mouth), weighed(fbank, mouth)
    assert before.reliability is None
    scores = torch.full((2, 12, 2), 4.0).sigmoid()
    torch.testing.assert_close(after.reliability, scores)
    torch.testing.assert_close(after.features, before.features, atol=1e-3, rtol=0)


@torch.no_grad()
def test_scores_of_a_batch_are_those_of_its_clips_whatever_the_padding_holds():
    encoder = trained_encoder()
    fbank, mouth = make_inputs()
    padding_mask = torch.zeros(2, 12, dtype=torch.bool)
    padding_mask[1, 7:] = True
    fbank[1, 7:] = 1e3
    mouth[1, 9:] = 1e3
    mouth[1, 7:9] = 0.0
    together = encoder(fbank, mouth, padding_mask)
    alone = encoder(fbank[1:, :7], mouth[1:, :7])
    scores = together.reliability[1:, :7]
    assert scores.std(1).min() > 0.01
    torch.testing.assert_close(scores, alone.reliability, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.features[1:, :7], alone.features, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("missing", ["fbank", "mouth"])
def test_a_clip_of_one_modality_is_not_weighed(missing):
    encoder, plain = trained_encoder(), make_encoder()
    plain.load_state_dict(encoder.state_dict(), strict=False)
    inputs = dict(zip(("fbank", "mouth"), make_inputs(), strict=True)) | {missing: None}
    output = encoder(**inputs)
    assert output.reliability is None
    assert torch.equal(output.features, plain(**inputs).features)


@torch.no_grad()
@pytest.mark.parametrize(("modality", "bias"), [("audio", (20, -20)), ("video", (-20, 20))])
def test_a_modality_of_no_reliability_is_as_good_as_missing(modality, bias):
    encoder = make_encoder(WEIGHED)
    encoder.reliability.out.bias.data = torch.tensor(bias, dtype=torch.float32)
    fbank, mouth = make_inputs()
    alone = encoder(fbank, None) if modality == "audio" else encoder(None, mouth)
    assert (encoder(fbank, None).features - encoder(None, mouth).features).abs().max() > 0.1
    torch.testing.assert_close(encoder(fbank, mouth).features, alone.features, atol=1e-4, rtol=0)


def test_a_score_depends_on_half_a_second():
    module = ModalityReliability(8)
    torch.nn.init.normal_(module.out.weight)
    audio = torch.randn(1, 41, 8, requires_grad=True)
    module(audio, torch.randn(1, 41, 8), None)[0, 20, 1].backward()
    frames = audio.grad[0].abs().sum(1).nonzero()[:, 0].tolist()
    assert frames == list(range(20 - KERNEL + 1, 20 + KERNEL))
    assert len(frames) == 13


def test_all_weights_learn():
    encoder = trained_encoder().train()
    encoder(*make_inputs()).reliability.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.reliability.parameters())
