import math

import pytest
import torch

from avsr.decoder import BLANK, EOS, PAD
from avsr.training.losses import NO_TARGET, guide_loss, joint_loss, language_weights


def test_gamma_is_the_inverse_root_of_the_share():
    languages = torch.tensor([0, 0, 0, 2])
    expected = [1 / math.sqrt(0.75)] * 3 + [1 / math.sqrt(0.25)]
    assert language_weights(languages, torch.tensor([3, 0, 1])).tolist() == pytest.approx(expected)


def test_gamma_counts_the_global_batch():
    weights = language_weights(torch.tensor([0, 2]), torch.tensor([3, 0, 1]))
    assert weights.tolist() == pytest.approx([1 / math.sqrt(0.75), 2.0])


def test_a_balanced_batch_has_equal_weights():
    weights = language_weights(torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([2, 2, 2]))
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
        "language_counts": torch.tensor([2, 1]),
        "phone_logits": torch.randn(3, 14, 3, generator=generator),
        "phones": torch.tensor(
            [[0, 1, 2] * 4 + [0] * 2, [2] * 7 + [NO_TARGET] * 7, [NO_TARGET] * 14]
        ),
        "guide": torch.tensor([0.3, 2.0, 0.0]),
        "ctc_loss_weight": 0.1,
        "language_loss_weight": 10.0,
        "phone_loss_weight": 0.5,
        "guide_loss_weight": 0.25,
        "label_smoothing": 0.0,
    }


@pytest.mark.parametrize("balance", [True, False])
def test_total_is_the_papers_formula_sample_by_sample(balance):
    case = make_case()
    loss = joint_loss(**case, balance=balance)
    total = 0.0
    gammas = [1 / math.sqrt(2 / 3), 1 / math.sqrt(2 / 3), 1 / math.sqrt(1 / 3)]
    gammas = gammas if balance else [1.0, 1.0, 1.0]
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
        targets = [(t, k) for t, k in enumerate(case["phones"][i].tolist()) if k >= 0]
        phone = 0.0
        if targets:
            phone_log_probs = case["phone_logits"][i].log_softmax(-1)
            phone = -sum(phone_log_probs[t, k].item() for t, k in targets) / len(targets)
        total += gamma * (0.1 * ctc + 0.9 * attention + 10.0 * language + 0.5 * phone)
        total += gamma * 0.25 * case["guide"][i].item()
    assert loss.total.item() == pytest.approx(total / 3, rel=1e-5)


def test_micro_batches_of_a_batch_add_up_to_it():
    case = make_case()
    totals = []
    for rows in (slice(0, 2), slice(2, 3)):
        micro_batch = {
            name: value[rows]
            if isinstance(value, torch.Tensor) and name != "language_counts"
            else value
            for name, value in case.items()
        }
        totals.append(joint_loss(**micro_batch).total.item())
    assert sum(totals) == pytest.approx(joint_loss(**case).total.item(), rel=1e-6)


def test_guided_attention_wants_the_weight_inside_the_span():
    attention = torch.tensor([[[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]]])  # B 1, H 1, L 2, T 3
    spans = torch.tensor([[[1, 3], [0, 1]]])
    expected = -(math.log(0.9) + math.log(0.5)) / 2
    assert guide_loss(attention.log(), spans).tolist() == pytest.approx([expected])
    unknown = torch.tensor([[[1, 3], [0, 0]]])
    assert guide_loss(attention.log(), unknown).tolist() == pytest.approx([-math.log(0.9)])
    assert guide_loss(attention.log(), torch.zeros(1, 2, 2, dtype=torch.long)).item() == 0


def test_without_phone_logits_phones_play_no_part():
    case = make_case()
    with_phones = joint_loss(**case)
    without = joint_loss(**case | {"phone_logits": None})
    assert without.phone == 0
    assert without.total < with_phones.total


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
