import pytest
import torch

from avsr.decoder import EOS, PAD, AttentionDecoder, DecoderConfig
from avsr.decoder.transformer import FIRST_POSITION, sinusoids
from avsr.errors import ConfigError
from avsr.layers.cached_decoder import MAX_UNUSED
from avsr.layers.plain import plain


def make_decoder():
    torch.manual_seed(4)
    config = DecoderConfig(layers=2, dim=32, ffn_dim=48, heads=4)
    return AttentionDecoder(config, 20, memory_dim=24, num_languages=3).eval()


def make_memory():
    generator = torch.Generator().manual_seed(6)
    memory = torch.randn(2, 9, 24, generator=generator)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[1, 5:] = True
    return memory, mask


TOKENS = torch.tensor([[EOS, 5, 6, 7, 8], [EOS, 9, 9, PAD, PAD]])
MUAVIC_LANGUAGES = torch.tensor([2, 0])

GOLDEN = [
    [0.63372, -0.83626, -0.57770],
    [0.41619, -0.29405, -0.93837],
    [0.83359, 0.03704, -0.99593],
]


@torch.no_grad()
def test_golden_values_of_seeded_weights():
    """Frozen when the reference's numbers were met; a change here is a change of the model."""
    logits = make_decoder()(TOKENS, *make_memory(), MUAVIC_LANGUAGES)
    torch.testing.assert_close(
        torch.stack([logits[0, 0, 4:7], logits[0, 4, 4:7], logits[1, 2, 4:7]]),
        torch.tensor(GOLDEN),
        atol=1e-4,
        rtol=0,
    )


@torch.no_grad()
def test_steps_equal_teacher_forcing_and_follow_reordering():
    decoder, (memory, mask) = make_decoder(), make_memory()
    whole = decoder(TOKENS, memory, mask, MUAVIC_LANGUAGES).log_softmax(-1)
    state = decoder.start(memory, mask, MUAVIC_LANGUAGES)
    log_probs, state = decoder.step(TOKENS[:, 0], state)
    torch.testing.assert_close(log_probs, whole[:, 0])
    for rows in ([0, 0, 1, 1], [1, 0, 3, 2], [3, 0], [1]):  # fan out, swap, drop
        step_rows = torch.tensor(rows)
        state = state.select(step_rows)
        position = state.length
        utterances = state.utterance
        log_probs, state = decoder.step(TOKENS[utterances, position], state)
        real = TOKENS[utterances, position] != PAD
        torch.testing.assert_close(log_probs[real], whole[utterances, position][real])


@pytest.mark.skipif(plain(), reason="the plain decoder has no cache")
@torch.no_grad()
def test_tokens_that_no_hypothesis_uses_are_removed():
    decoder, (memory, mask) = make_decoder(), make_memory()
    generator = torch.Generator().manual_seed(8)
    state = decoder.start(memory, mask)
    tokens = torch.full((2,), EOS)
    histories: list[list[int]] = [[EOS], [EOS]]
    for _ in range(12):
        log_probs, state = decoder.step(tokens, state)
        count = len(tokens) // 2
        rows = torch.cat(
            [i * count + torch.randint(count, (6,), generator=generator) for i in (0, 1)]
        )
        state = state.select(rows)
        tokens = torch.randint(4, 20, (12,), generator=generator)
        histories = [
            [*histories[row], token]
            for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)
        ]
    keys, values = state.past[0]
    assert state.paths.shape == (12, 12)
    assert keys.shape == values.shape
    used = [len(paths.unique()) for paths in state.paths.chunk(2)]
    assert keys.shape[2] <= MAX_UNUSED * max(used) < 1 + 11 * 6
    log_probs, _ = decoder.step(tokens, state)
    utterance = state.utterance
    whole = decoder(torch.tensor(histories), memory[utterance], mask[utterance])
    torch.testing.assert_close(log_probs, whole[:, -1].log_softmax(-1))


@torch.no_grad()
def test_two_continuations_of_one_state_do_not_disturb_each_other():
    decoder, (memory, mask) = make_decoder(), make_memory()
    _, state = decoder.step(torch.tensor([EOS, EOS]), decoder.start(memory, mask))
    _, one = decoder.step(torch.tensor([5, 6]), state)
    first, _ = decoder.step(torch.tensor([7, 8]), one)
    decoder.step(torch.tensor([9, 10]), state)
    again, _ = decoder.step(torch.tensor([7, 8]), one)
    assert torch.equal(first, again)


@torch.no_grad()
def test_later_tokens_and_padded_memory_change_nothing():
    decoder, (memory, mask) = make_decoder(), make_memory()
    logits = decoder(TOKENS, memory, mask, MUAVIC_LANGUAGES)
    changed = TOKENS.clone()
    changed[:, 3:] = 11
    memory[1, 5:] = 7.0
    again = decoder(changed, memory, mask, MUAVIC_LANGUAGES)
    torch.testing.assert_close(again[:, :3], logits[:, :3])


@torch.no_grad()
def test_the_language_opens_the_sequence():
    decoder, (memory, mask) = make_decoder(), make_memory()
    one, other = (decoder(TOKENS, memory, mask, torch.tensor([i, i])) for i in (0, 1))
    assert (one - other).abs().amax((0, 2)).min() > 1e-4  # every position depends on it
    torch.nn.init.zeros_(decoder.language_embedding.weight)
    torch.testing.assert_close(
        decoder(TOKENS, memory, mask, MUAVIC_LANGUAGES), decoder(TOKENS, memory, mask)
    )


def test_sinusoids_are_those_of_the_formula():
    table = sinusoids(50, 8)
    rate = 10_000 ** (-1 / 3)
    assert table[7, 1].item() == pytest.approx(torch.tensor(7 * rate).sin().item(), abs=1e-6)
    assert table[7, 5].item() == pytest.approx(torch.tensor(7 * rate).cos().item(), abs=1e-6)
    assert not table[PAD].any()
    assert FIRST_POSITION == 2


def test_config_is_checked():
    with pytest.raises(ConfigError, match="divisible by heads"):
        DecoderConfig(dim=30, heads=4)
