"""Utterances a second that the network of the tiny recipe trains on, and the losses of its steps.

Front end frozen, its outputs kept, bf16 and Muon as in the recipes' long stage; one batch over and
over.
``python -m benchmarks training`` in two checkouts compares them.
"""

import statistics
import time
from typing import Any

UTTERANCES, FRAMES, TOKENS = 24, 165, 40
STEPS = 6


def measure(runs: int) -> dict[str, Any]:
    """Medians over the steps of all runs; losses of the last run."""
    import torch
    import torch.nn.functional as F

    from avsr.model import PRESETS, AVSRModel
    from avsr.training.optimizer import make_optimizer

    random = torch.Generator().manual_seed(1)
    fbank = torch.randn(UTTERANCES, FRAMES, 104, generator=random)
    lengths = torch.linspace(100, FRAMES, UTTERANCES).long()
    padding = torch.arange(FRAMES) >= lengths[:, None]
    tokens = torch.randint(5, 500, (UTTERANCES, TOKENS), generator=random)
    languages = torch.randint(0, 9, (UTTERANCES,), generator=random)
    taken: list[float] = []
    losses: list[float] = []
    for _ in range(runs):
        torch.manual_seed(0)
        model = AVSRModel(PRESETS["tiny"]).train()
        model.encoder.frontend.requires_grad_(False)
        visual = torch.randn(UTTERANCES, FRAMES, model.encoder.frontend.out_dim, generator=random)
        optimizer = make_optimizer(model, "muon", 1e-4)
        losses = []
        for step in range(STEPS):
            start = time.perf_counter()
            torch.manual_seed(step)
            with torch.autocast("cpu", torch.bfloat16):
                encoded = model.encode(fbank, None, padding, visual=visual)
                memory, mask = encoded.memory, encoded.memory_padding_mask
                logits = model.decoder(tokens, memory, mask, languages).float()
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
                loss = loss + F.ctc_loss(
                    model.ctc_log_probs(encoded).transpose(0, 1),
                    tokens,
                    lengths,
                    torch.full((UTTERANCES,), TOKENS),
                    zero_infinity=True,
                )
                loss = loss + F.cross_entropy(model.language_logits(encoded).float(), languages)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(round(loss.item(), 4))
            if step:  # the first warms up
                taken.append(time.perf_counter() - start)
    seconds = statistics.median(taken)
    return {
        "case": f"training step of tiny, {UTTERANCES} utterances of up to {FRAMES} frames",
        "seconds": round(seconds, 3),
        "utterances_per_second": round(UTTERANCES / seconds, 2),
        "losses": losses,
    }
