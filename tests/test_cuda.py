"""On a GPU the bundled model says what it says on a CPU."""

from pathlib import Path

import pytest
import torch

from avsr import load_model
from avsr.recognition.batching import transcribe_batches
from avsr.recognition.encoding import encode
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording

GPU = "cuda"
EXAMPLES = Path(__file__).parents[1] / "demo/examples"
CLIPS = [str(EXAMPLES / f"{code}.mp4") for code in ("de", "es", "en", "ar")]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


@pytest.fixture(scope="module")
def cpu():
    return load_model(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def gpu():
    return load_model(device=GPU, precision="fp32")


@pytest.mark.parametrize("modality", ["av", "audio", "video"])
def test_texts_languages_and_times_are_those_of_the_cpu(cpu, gpu, modality):
    for clip in CLIPS:
        here, there = (model.transcribe(clip, modality=modality) for model in (cpu, gpu))
        assert (there.language, there.text) == (here.language, here.text)
        for word, other in zip(there.words, here.words, strict=True):
            assert (word.start, word.end) == pytest.approx((other.start, other.end))


def test_batches_with_padding_are_those_of_the_cpu(cpu, gpu):
    here, there = (
        [result.text for result in transcribe_batches(model, CLIPS, TranscribeOptions())]
        for model in (cpu, gpu)
    )
    assert there == here


def test_bf16_hardly_changes_what_the_encoder_says(cpu):
    lower = load_model(device=GPU, precision="bf16")
    recording = read_recording(CLIPS[0])
    exact = encode(cpu, [recording], "auto").output.features
    rough = encode(lower, [recording], "auto").output.features.float().cpu()
    assert torch.linalg.norm(rough - exact) < 0.05 * torch.linalg.norm(exact)
