"""Which language is spoken in a recording, without its words."""

import os

from avsr.errors import ModelError
from avsr.model.network import AVSRModel, load_model
from avsr.recognition.pipeline import encode
from avsr.recognition.recording import Recording, read_recording
from avsr.transcript import Modality


def detect_language(
    path: str | os.PathLike[str],
    *,
    model: AVSRModel | str | os.PathLike[str] | None = None,
    modality: Modality = "av",
) -> dict[str, float]:
    """Probability of each language code in a media file, the most likely first.

    Raises ModelError for a model that does not tell languages apart.
    """
    network = model if isinstance(model, AVSRModel) else load_model(model)
    return language_probabilities(network, read_recording(path, modality, model=network))


def language_probabilities(model: AVSRModel, recording: Recording) -> dict[str, float]:
    """Probability of each language code in a recording, the most likely first.

    Raises ModelError for a model that does not tell languages apart.
    """
    if not model.has("classifier"):
        raise ModelError("the model has no language classifier: take another, or say the language")
    probs = encode(model, [recording]).language_probs[0].tolist()
    pairs = zip(model.config.languages, probs, strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
