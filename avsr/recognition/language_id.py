"""Which language is spoken in a recording, without its words."""

from avsr.errors import ModelError
from avsr.model.network import AVSRModel
from avsr.recognition.inference import encode
from avsr.recognition.recording import Recording


def language_probabilities(model: AVSRModel, recording: Recording) -> dict[str, float]:
    """Probability of each language code in a recording, the most likely first.

    Raises ModelError for a model that does not tell languages apart.
    """
    if not model.has("classifier"):
        raise ModelError("the model has no language classifier: take another, or say the language")
    probs = encode(model, [recording]).language_probs[0].tolist()
    pairs = zip(model.config.languages, probs, strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
