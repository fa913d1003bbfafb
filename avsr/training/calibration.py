"""After training: the temperature at which the classifier is right as often as it says."""

from collections.abc import Iterable

import torch

from avsr.language import fit_temperature
from avsr.model.network import AVSRModel
from avsr.training.collate import Batch


@torch.inference_mode()
def language_temperature(model: AVSRModel, batches: Iterable[Batch]) -> float:
    """Of the classifier of ``model``, in evaluation mode, over validation batches."""
    logits, languages = [], []
    for batch in batches:
        batch = batch.to(model.device)
        encoded = model.encode(batch.fbank, batch.mouth, batch.padding_mask, visual=batch.visual)
        logits.append(model.language_logits(encoded).float().cpu())
        languages.append(batch.languages.cpu())
    return fit_temperature(torch.cat(logits), torch.cat(languages))
