"""Time of all stages but encoder and search for 60 s of 1280x720, compared with a plain loop.

The clip is a synthetic talking head, 10 s that are repeated six times. The plain loop converts
every frame to RGB at full size, runs detector and landmarks on it, and crops. The time from file to
SRT is measured with the bundled model, and once with a model of Large size. The latter has random
weights, which never end a text: the limit of the search, 25 tokens per second, is set to 6 here, as
people speak four to five tokens of a vocabulary of 1,000 per second.

``of_floor`` is the ratio to the least time of a stage: of writing its frames once, or its sound and
the operations of its filterbank. The operations of video decoder and landmarks are not counted.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import floor, long, network, transcribe

TIMES = 6  # repetitions of the clip
TRANSCRIBE_AS_SPEECH = """
import sys
from avsr.cli.app import main
from avsr.search import SearchOptions
SearchOptions.max_lengths = lambda self, lengths: [6 * length // 25 for length in lengths]
sys.exit(main())
"""


def measure(runs: int) -> dict[str, Any]:
    """Return medians of several runs in seconds, and ratios to real time."""
    with tempfile.TemporaryDirectory() as folder:
        part, clip = Path(folder) / "part.mp4", Path(folder) / "clip.mp4"
        transcribe.make_clip(part)
        long.join(part, TIMES, transcribe.SECONDS, clip)
        seconds = TIMES * transcribe.SECONDS
        warm_up(part)
        rows = [{name: timed(stage, clip) for name, stage in STAGES.items()} for _ in range(runs)]
        arguments = [
            "transcribe",
            str(clip),
            "--device",
            "cpu",
            "-o",
            str(Path(folder) / "out.srt"),
        ]
        whole = [transcribe.run([sys.executable, "-m", "avsr", *arguments]) for _ in range(runs)]
        network.write_models("large", folder)
        arguments += ["--model", str(Path(folder) / "fp32")]
        large, *_ = transcribe.run([sys.executable, "-c", TRANSCRIBE_AS_SPEECH, *arguments])
    stages = {name: statistics.median(row[name] for row in rows) for name in STAGES}
    total = statistics.median(run[0] for run in whole)
    least = floors(seconds)
    return {
        "case": f"{seconds} s of 1280x720: all but encoder and search, and file to SRT",
        "stages": {name: round(value, 2) for name, value in stages.items()},
        "of_floor": {name: round(stages[name] / least, 1) for name, least in least.items()},
        "media_ratio_to_real_time": round(stages["together"] / seconds, 3),
        "media_faster_than_real_time": round(seconds / stages["together"], 1),
        "gain_to_plain_loop": round(stages["plain loop"] / stages["together"], 2),
        "whole_seconds": round(total, 2),
        "whole_faster_than_real_time": round(seconds / total, 1),
        "large_seconds": round(large, 2),
        "large_faster_than_real_time": round(seconds / large, 2),
    }


def timed(stage: Callable[[Path], None], clip: Path) -> float:
    """Return the seconds that a stage takes."""
    start = time.perf_counter()
    stage(clip)
    return time.perf_counter() - start


def floors(seconds: int) -> dict[str, float]:
    """Return the least seconds of some stages, by their bytes and operations."""
    from avsr.rates import FBANK_BINS, FPS, SAMPLE_RATE

    copy_rate, product_rate = floor.copy_rate(), floor.product_rate()
    frames = seconds * FPS * 1280 * 720 * 1.5 / copy_rate  # 4:2:0, as decoded
    # 100 spectra per second of 512 samples, their power and the sums of the filters
    spectrum = 2.5 * 512 * 9 + 3 * 257 + 2 * 257 * FBANK_BINS
    sound = max(100 * seconds * spectrum / product_rate, 4 * seconds * SAMPLE_RATE / copy_rate)
    return {"decode": frames, "decode, faces, crops": frames, "sound, filterbank": sound}


def warm_up(clip: Path) -> None:
    """Import and load what the stages need, so that their times do not include it."""
    from avsr import face, media
    from avsr.hub import load_network

    load_network(device="cpu")
    face.track_faces(itertools.islice(media.read_pictures(clip), 2))


def decode(clip: Path) -> None:
    """Decode the frames, without converting them."""
    from avsr import media

    for _ in media.read_pictures(clip):
        pass


def track(clip: Path) -> None:
    """Decode, and find faces, landmarks and crops, in one thread."""
    from avsr import face, media

    face.track_faces(media.read_pictures(clip))


def listen(clip: Path) -> None:
    """Decode the sound and detect speech in it."""
    from avsr import media
    from avsr.audio import SpokenParts

    for _ in SpokenParts(media.stream_waveform(clip)):
        pass


def filterbank(clip: Path) -> None:
    """Decode the sound and compute its filterbank."""
    from avsr import media
    from avsr.audio import audio_features

    audio_features(media.read_waveform(clip))


def together(clip: Path) -> None:
    """Run all stages before the encoder, as in a transcription."""
    from avsr.audio import audio_features
    from avsr.hub import load_network
    from avsr.media import probe
    from avsr.recognition.options import TranscribeOptions
    from avsr.recognition.segmentation import read_segments

    model = load_network(device="cpu")  # needed only for several faces
    for part in read_segments(model, clip, probe(clip), TranscribeOptions(), []):
        assert part.recording.waveform is not None
        audio_features(part.recording.waveform, part.recording.num_frames)


def plain_loop(clip: Path) -> None:
    """Do what a user would write: detector and landmarks on every frame in RGB, then crops."""
    import av
    import cv2
    import numpy as np
    from mediapipe.python.solutions.face_mesh import FaceMesh

    from avsr import media
    from avsr.audio import audio_features
    from avsr.face import crop_matrices, crop_mouth
    from avsr.face.landmarks import VERTICES

    greys, points = [], []
    with av.open(str(clip)) as container, FaceMesh(static_image_mode=True) as mesh:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24")
            detections = mesh.process(rgb).multi_face_landmarks
            greys.append(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8))
            if detections:
                size = rgb.shape[1], rgb.shape[0]
                all_points = np.array([(point.x, point.y) for point in detections[0].landmark])
                points.append(all_points[VERTICES] * size)
            else:
                points.append(points[-1])
    for grey, matrix in zip(greys, crop_matrices(np.stack(points)), strict=True):
        crop_mouth(grey, matrix)
    audio_features(media.read_waveform(clip))


STAGES = {
    "decode": decode,
    "decode, faces, crops": track,
    "sound, speech": listen,
    "sound, filterbank": filterbank,
    "together": together,
    "plain loop": plain_loop,
}
