"""Language identification: which language is spoken in a recording, without its words."""

from avsr.errors import ModelError
from avsr.model.network import AVSRModel
from avsr.recognition.inference import encode
from avsr.recognition.recording import Recording


def language_probabilities(model: AVSRModel, recording: Recording) -> dict[str, float]:
    """Return the probability of each language code, the most likely first.

    Raises:
        ModelError: The model has no language classifier.
    """
    if not model.has("classifier"):
        raise ModelError("the model has no language classifier: use another, or give the language")
    probs = encode(model, [recording]).language_probs[0].tolist()
    pairs = zip(model.config.languages, probs, strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
