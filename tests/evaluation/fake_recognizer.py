"""A recognizer that knows the six utterances of the tests."""

import numpy as np

from avsr.evaluation import Prediction

RATE = 16_000


def tone(number: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * np.arange(RATE) / RATE)


class FakeRecognizer:
    """Knows all texts, except those of ``wrong``, which it takes for French; records its input."""

    segment_seconds = 20.0

    def __init__(self, wrong: tuple[str, ...] = ()) -> None:
        self.wrong = wrong
        self.clips = {}
        self.batches = []
        self.num_mouths = 0

    def extract_visual(self, mouths):
        self.num_mouths += len(mouths)
        return [mouth.mean() for mouth in mouths]

    def transcribe(self, batch, languages):
        assert len({clip.modality for clip in batch}) == 1
        self.batches.append([clip.name for clip in batch])
        self.clips.update({clip.name: clip for clip in batch})
        assert all(clip.mouth is None or clip.visual == clip.mouth.mean() for clip in batch)
        return [
            [self.predict(clip, code) for clip, code in zip(batch, codes, strict=True)]
            for codes in languages
        ]

    def predict(self, clip, code):
        true = ("en", "de")[int(clip.name[1:]) % 2]
        if clip.name in self.wrong:
            true = "fr"
        if code not in ("auto", true):
            return Prediction("nothing at all", {true: 0.7, code: 0.3})
        text = "nothing at all" if clip.name in self.wrong else f"word {clip.name[1:]}"
        return Prediction(text, {true: 0.8, "xx": 0.2})
