"""Everything but encoder and search of 60 s of 1280x720, beside a plain loop over its frames.

The clip is a synthetic talking head, 10 s of it six times over. The plain loop makes every frame
RGB at full size, runs detector and landmarks on each, one after another, and crops. File to SRT is
measured with the bundled model and once with one of Large size. Its weights are random and would
end no text before the search does, at 25 tokens a second; here that is at 6, for people say four to
five of a vocabulary of 1,000.

``of_floor`` is how many times longer a stage takes than writing its pictures once, or its sound and
the operations of its filterbank; nothing is known here of the operations of decoders and landmarks.
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

TIMES = 6  # that the clip is repeated
AS_PEOPLE_TALK = """
import sys
from avsr.cli.app import main
from avsr.search import SearchOptions
SearchOptions.max_lengths = lambda self, lengths: [6 * length // 25 for length in lengths]
sys.exit(main())
"""


def measure(runs: int) -> dict[str, Any]:
    """Medians of several runs, seconds; ratios are to real time."""
    with tempfile.TemporaryDirectory() as folder:
        part, clip = Path(folder) / "part.mp4", Path(folder) / "clip.mp4"
        transcribe.make_clip(part)
        long.join(part, TIMES, transcribe.SECONDS, clip)
        seconds = TIMES * transcribe.SECONDS
        warm_up(part)
        rows = [{name: timed(stage, clip) for name, stage in STAGES.items()} for _ in range(runs)]
        rest = ["transcribe", str(clip), "--device", "cpu", "-o", str(Path(folder) / "out.srt")]
        whole = [transcribe.run([sys.executable, "-m", "avsr", *rest]) for _ in range(runs)]
        network.write_models("large", folder)
        rest += ["--model", str(Path(folder) / "fp32")]
        large, *_ = transcribe.run([sys.executable, "-c", AS_PEOPLE_TALK, *rest])
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
    """Seconds that a stage takes."""
    start = time.perf_counter()
    stage(clip)
    return time.perf_counter() - start


def floors(seconds: int) -> dict[str, float]:
    """The least seconds of some stages, by what has to be written and worked out."""
    from avsr.rates import FBANK_BINS, FPS, SAMPLE_RATE

    copied, multiplied = floor.copy_rate(), floor.product_rate()
    pictures = seconds * FPS * 1280 * 720 * 1.5 / copied  # 4:2:0, as they are stored
    # 100 spectra a second of 512 samples, their power and the filters' sums.
    spectrum = 2.5 * 512 * 9 + 3 * 257 + 2 * 257 * FBANK_BINS
    sound = max(100 * seconds * spectrum / multiplied, 4 * seconds * SAMPLE_RATE / copied)
    return {"decode": pictures, "decode, faces, crops": pictures, "sound, filterbank": sound}


def warm_up(clip: Path) -> None:
    """Import and read what the stages need, none of which is their work."""
    from avsr import face, media
    from avsr.hub import load_network

    load_network(device="cpu")
    face.track_faces(itertools.islice(media.read_pictures(clip), 2))


def decode(clip: Path) -> None:
    """Pictures as they are stored, nothing else."""
    from avsr import media

    for _ in media.read_pictures(clip):
        pass


def track(clip: Path) -> None:
    """Decoding, faces, landmarks and crops, in one thread."""
    from avsr import face, media

    face.track_faces(media.read_pictures(clip))


def listen(clip: Path) -> None:
    """Sound, and where in it somebody speaks."""
    from avsr import media
    from avsr.audio import SpokenParts

    for _ in SpokenParts(media.stream_waveform(clip)):
        pass


def filterbank(clip: Path) -> None:
    """Sound and its filterbank."""
    from avsr import media
    from avsr.audio import audio_features

    audio_features(media.read_waveform(clip))


def together(clip: Path) -> None:
    """All of it as in a transcription: the parts that are spoken, ready for the encoder."""
    from avsr.audio import audio_features
    from avsr.hub import load_network
    from avsr.media import probe
    from avsr.recognition.options import TranscribeOptions
    from avsr.recognition.segmentation import read_segments

    model = load_network(device="cpu")  # which only speaks where several faces do
    for part in read_segments(model, clip, probe(clip), TranscribeOptions(), []):
        assert part.recording.waveform is not None
        audio_features(part.recording.waveform, part.recording.num_frames)


def plain_loop(clip: Path) -> None:
    """What a user would write: every frame in RGB, detector and landmarks on it, then the crops."""
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
            found = mesh.process(rgb).multi_face_landmarks
            greys.append(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8))
            if found:
                size = rgb.shape[1], rgb.shape[0]
                all_points = np.array([(point.x, point.y) for point in found[0].landmark])
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
