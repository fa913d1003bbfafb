"""Transcribe 32 short clips in batches and one by one: clips per second, and equal transcripts.

One by one is a loop over ``model.transcribe``. The clips are synthetic talking heads.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

CLIPS = 32


def make_clips(folder: Path) -> list[str]:
    """Write the clips, 320x320 pixels, with an utterance of a few words each."""
    import numpy as np

    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.media import write_video
    from avsr.synthetic import faces, make_utterance, visemes

    paths = []
    for index in range(CLIPS):
        utterance = make_utterance(
            1, "test", MUAVIC_LANGUAGES[index % len(MUAVIC_LANGUAGES)], index
        )
        rng = np.random.default_rng(index)
        moves = visemes.mouth_trajectory(utterance.phones, utterance.num_frames, rng)
        identity = faces.make_identity(f"test-{index % 20:03}")
        path = folder / f"{index:02}.mp4"
        frames = faces.render_frames(identity, moves, rng, size=(320, 320))
        write_video(path, frames, waveform=utterance.waveform)
        paths.append(str(path))
    return paths


def measure(runs: int) -> dict[str, Any]:
    """Return medians of several runs; both ways alternate."""
    from avsr import load_model
    from avsr.recognition.batching import transcribe_batches
    from avsr.recognition.options import TranscribeOptions

    model = load_model(device="cpu")
    with tempfile.TemporaryDirectory() as name:
        clips = make_clips(Path(name))
        model.transcribe(clips[0])  # imports and sets up everything
        alone, together = [], []
        for _ in range(runs):
            start = time.perf_counter()
            one_by_one = [model.transcribe(clip) for clip in clips]
            middle = time.perf_counter()
            at_once = list(transcribe_batches(model.network, clips, TranscribeOptions()))
            together.append(time.perf_counter() - middle)
            alone.append(middle - start)
    texts = [getattr(result, "text", None) for result in at_once]
    return {
        "case": f"{CLIPS} clips of {sum(one.duration for one in one_by_one):.0f} s in all",
        "one_by_one_seconds": round(statistics.median(alone), 2),
        "together_seconds": round(statistics.median(together), 2),
        "throughput_ratio": round(statistics.median(alone) / statistics.median(together), 2),
        "clips_per_second": round(CLIPS / statistics.median(together), 2),
        "same_transcripts": sum(
            one.text == text for one, text in zip(one_by_one, texts, strict=True)
        ),
    }
