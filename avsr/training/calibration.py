"""Temperature scaling of the language classifier on validation data, after training."""

from collections.abc import Iterable

import torch

from avsr.language import fit_temperature
from avsr.model.network import AVSRModel
from avsr.training.collate import Batch


@torch.inference_mode()
def language_temperature(model: AVSRModel, batches: Iterable[Batch]) -> float:
    """Fit the temperature that calibrates the language classifier.

    Args:
        model: Network in evaluation mode.
        batches: Validation batches.

    Returns:
        The temperature by which the logits are divided.
    """
    logits, languages = [], []
    for batch in batches:
        batch = batch.to(model.device)
        encoded = model.encode(batch.fbank, batch.mouth, batch.padding_mask, visual=batch.visual)
        logits.append(model.language_logits(encoded).float().cpu())
        languages.append(batch.languages.cpu())
    return fit_temperature(torch.cat(logits), torch.cat(languages))
