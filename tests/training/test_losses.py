import math

import pytest
import torch

from avsr.decoder import BLANK, EOS, PAD
from avsr.training.losses import NO_TARGET, joint_loss, language_weights


def test_gamma_is_the_inverse_root_of_the_share():
    languages = torch.tensor([0, 0, 0, 2])
    expected = [1 / math.sqrt(0.75)] * 3 + [1 / math.sqrt(0.25)]
    assert language_weights(languages, 3).tolist() == pytest.approx(expected)


def test_a_balanced_batch_has_equal_weights():
    weights = language_weights(torch.tensor([0, 1, 2, 0, 1, 2]), 3)
    assert weights.tolist() == pytest.approx([math.sqrt(3)] * 6)


def make_case():
    generator = torch.Generator().manual_seed(0)
    return {
        "ctc_log_probs": torch.randn(3, 7, 6, generator=generator).log_softmax(-1),
        "lengths": torch.tensor([7, 7, 5]),
        "logits": torch.randn(3, 4, 6, generator=generator),
        "targets": torch.tensor([[4, 5, 4, EOS], [5, EOS, PAD, PAD], [4, 4, EOS, PAD]]),
        "language_logits": torch.randn(3, 2, generator=generator),
        "languages": torch.tensor([0, 0, 1]),
        "frame_targets": torch.tensor(
            [[0, 4, 4, 5, 4, 0, 0], [0, 5, 5, 5, 0, 0, 0], [NO_TARGET] * 7]
        ),
        "ctc_weight": 0.1,
        "language_weight": 10.0,
        "alignment_weight": 0.5,
        "label_smoothing": 0.0,
    }


def test_total_is_the_papers_formula_sample_by_sample():
    case = make_case()
    loss = joint_loss(**case)
    total = 0.0
    gammas = [1 / math.sqrt(2 / 3), 1 / math.sqrt(2 / 3), 1 / math.sqrt(1 / 3)]
    for i, gamma in enumerate(gammas):
        tokens = [t for t in case["targets"][i].tolist() if t != PAD]
        log_probs = case["logits"][i].log_softmax(-1)
        attention = -sum(log_probs[j, t].item() for j, t in enumerate(tokens)) / len(tokens)
        length = int(case["lengths"][i])
        ctc = torch.nn.functional.ctc_loss(
            case["ctc_log_probs"][i, :length],
            torch.tensor(tokens[:-1]),
            (length,),
            (len(tokens) - 1,),
            blank=BLANK,
            reduction="sum",
        ).item() / (len(tokens) - 1)
        language = -case["language_logits"][i].log_softmax(-1)[case["languages"][i]].item()
        frames = [(t, k) for t, k in enumerate(case["frame_targets"][i].tolist()) if k >= 0]
        alignment = 0.0
        if frames:
            alignment = -sum(case["ctc_log_probs"][i, t, k].item() for t, k in frames) / len(frames)
        total += gamma * (0.1 * ctc + 0.9 * attention + 10.0 * language + 0.5 * alignment)
    assert loss.total.item() == pytest.approx(total / 3, rel=1e-5)


def test_too_few_frames_for_the_tokens_do_no_harm():
    case = make_case()
    case["lengths"] = torch.tensor([7, 7, 1])
    loss = joint_loss(**case)
    assert torch.isfinite(loss.total)


def test_an_empty_text_is_only_its_end():
    case = make_case()
    case["targets"] = torch.tensor([[EOS], [EOS], [EOS]])
    case["logits"] = case["logits"][:, :1]
    assert torch.isfinite(joint_loss(**case).total)
