"""Fixtures for every part: data sets named by the environment, small media files, planted faces."""

import os
import signal
import wave
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch

from avsr import load_model
from avsr.corpus import Record, read_manifest
from avsr.corpus.manifest import resolve_media
from avsr.recognition.reading import read_recording
from avsr.recognition.recognizer import Recognizer
from avsr.recognition.recording import Recording
from avsr.transcript import Transcript

EXAMPLES = sorted((Path(__file__).parents[1] / "demo/examples").glob("*.mp4"))
THREADS = torch.get_num_threads()
DrawFace = Callable[..., np.ndarray]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds that the tests of each folder took, over all processes."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("::")[0].split("/")[1]] += report.duration
    if seconds:
        terminalreporter.section("seconds of each part")
        for part, total in seconds.most_common():
            terminalreporter.write_line(f"{total:7.1f}  {part}")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Evaluations take all cores; the tests after them, several at a time, would be far slower."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)


MakeClip = Callable[..., Path]

MUAVIC_FRAMES = 10  # of a segment
CLOCK = 90_000  # Hz, of the pictures' time stamps
LASTING = 0.2  # s, of flash and beep
BEEP = 1_000  # Hz


def _folder_from_environment(name: str, what: str) -> Path:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: {what}")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"{name}={value} is not a folder: {what}")
    return folder


@pytest.fixture(scope="session")
def grid_dir() -> Path:
    """Folder of GRID clips."""
    return _folder_from_environment("AVSR_GRID", "clips of the GRID corpus")


@pytest.fixture(scope="session")
def voices_dir() -> Path:
    """Folder of real voices."""
    return _folder_from_environment("AVSR_VOICES", "real voices of many languages")


@pytest.fixture(scope="session")
def faults_dir() -> Path:
    """Folder of small files that people's programs failed on."""
    return _folder_from_environment("AVSR_FAULTS", "files that failed")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of reference numbers."""
    return _folder_from_environment("AVSR_REFERENCE", "numbers of the reference implementation")


@pytest.fixture(scope="session")
def check_times() -> Callable[[Transcript], None]:
    """`check_times(transcript)`: words and segments lie in order within the recording."""

    def check(transcript: Transcript) -> None:
        for part in (*transcript.words, *transcript.segments):
            assert 0 <= part.start <= part.end <= transcript.duration, (part, transcript.duration)
        starts = [word.start for word in transcript.words]
        assert transcript.segments or starts == sorted(starts)

    return check


@pytest.fixture(scope="session")
def model() -> Recognizer:
    """The bundled model. A test changes it for itself, with monkeypatch."""
    return load_model(device="cpu")


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    """Sound and lips of every example, by name."""
    return [read_recording(path) for path in EXAMPLES]


@pytest.fixture(scope="session")
def grid_recordings(grid_dir: Path) -> list[tuple[Record, Recording]]:
    """Every tenth clip of GRID's speaker for validation, as the manifest has it and as read."""
    manifest = grid_dir / "manifest.jsonl"
    records = [record for record in read_manifest(manifest) if record.split == "valid"][::10]
    return [(record, read_recording(resolve_media(manifest, record))) for record in records]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Heed Ctrl-C, also in processes that the test starts and if it was ignored (``nohup``)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """`make_clip("name.mp4", ...)` writes a clip: black and silent but for a flash and a beep."""

    def make(name: str, **options: object) -> Path:
        write_clip(tmp_path / name, **options)  # type: ignore[arg-type]
        return tmp_path / name

    return make


def write_clip(
    path: Path,
    *,
    event: float = 1.0,
    duration: float = 2.0,
    stamps: Iterable[float] | None = None,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (64, 48),
    picture: np.ndarray | None = None,
    video_codec: str | None = "libx264",
    audio_codec: str | None = "aac",
    audio_rate: int = 48_000,
    layout: str = "stereo",
    sound_parts: Iterable[tuple[float, float]] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    key_interval: int | None = None,
    b_frames: int = 0,
    options: dict[str, str] | None = None,
) -> None:
    """Write a clip: white pictures and a tone from `event` on for LASTING seconds, all else nil.

    `stamps` are the pictures' times (s), by default `duration` at `rate`; `sound_parts` the spans
    (s) in which the file has sound at all; `picture` (H, W, 3) replaces black; one in
    `key_interval` pictures is a key frame, and up to `b_frames` between two others come after
    the one that they precede; a codec of None leaves that stream out.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if video_codec is not None:
            video = container.add_stream(video_codec, rate=rate)
            video.width, video.height = size if picture is None else picture.shape[1::-1]
            video.pix_fmt = "yuv420p"
            video.options = {"preset": "ultrafast"} if video_codec == "libx264" else {}
            if b_frames:
                video.options |= {"bf": str(b_frames)}
            if video_codec == "libx264":
                video.codec_context.time_base = Fraction(1, CLOCK)
            if key_interval is not None:
                video.codec_context.gop_size = key_interval
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation is not None or mirrored:
                video.set_display_rotation(rotation or 0, hflip=mirrored)
        if audio_codec is not None:
            audio = container.add_stream(audio_codec, rate=audio_rate, layout=layout)
        if video is not None:
            if stamps is None:
                stamps = [float(k / Fraction(rate)) for k in range(round(duration * rate))]
            black = np.zeros((size[1], size[0], 3), np.uint8) if picture is None else picture
            for stamp in stamps:
                lit = event - 1e-6 <= stamp < event + LASTING
                image = np.full_like(black, 255) if lit else black
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.time_base = Fraction(1, CLOCK)
                frame.pts = round(stamp * CLOCK)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            for begin, end in sound_parts or [(0.0, duration)]:
                _write_tone(container, audio, begin, end, event)
            container.mux(audio.encode(None))


def _write_tone(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    begin: float,
    end: float,
    event: float,
) -> None:
    """Encode frames of the codec's own size, so that a gap between two calls stays a gap."""
    rate, layout = stream.sample_rate, stream.layout
    step = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
    for first in range(round(begin * rate), round(end * rate), step):
        seconds = np.arange(first, first + step) / rate
        sounding = (seconds >= event) & (seconds < event + LASTING)
        tone = (0.5 * np.sin(2 * np.pi * BEEP * seconds) * sounding).astype(np.float32)
        planar = np.repeat(tone[None], layout.nb_channels, axis=0)
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))


@pytest.fixture(scope="session")
def muavic() -> SimpleNamespace:
    """Writes MuAViC in miniature, laid out as its public scripts leave it."""
    return SimpleNamespace(
        FRAMES=MUAVIC_FRAMES, write_list=write_muavic_list, write_segment=write_muavic_segment
    )


def write_muavic_segment(root: Path, language: str, split: str, name: str, size: int = 96) -> None:
    """A second's part of mouth crops in colour, brighter frame by frame, and a tone."""
    video = root / language / "video" / split / f"{name}.mp4"
    audio = root / language / "audio" / split / f"{name}.wav"
    for path in (video, audio):
        path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10"}
        for i in range(MUAVIC_FRAMES):
            picture = np.full((size, size, 3), 40 + 15 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    with wave.open(str(audio), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(640 * MUAVIC_FRAMES) / 16_000)
        file.writeframes(tone.astype("<i2").tobytes())


def write_muavic_list(root: Path, language: str, split: str, rows: list[tuple[str, str]]) -> None:
    """The list of a split, rows of name and text, and its texts."""
    folder = root / language
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "\t".join(
            [
                name,
                f"/old/{name}.mp4",
                f"/old/{name}.wav",
                str(MUAVIC_FRAMES),
                str(640 * MUAVIC_FRAMES),
            ]
        )
        for name, _ in rows
    ]
    (folder / f"{split}.tsv").write_text("\n".join(["/", *lines]) + "\n")
    (folder / f"{split}.{language}").write_text("".join(f"{text}\n" for _, text in rows))


@pytest.fixture(scope="session")
def background() -> np.ndarray:
    """A real picture (720, 1280, 3) without a face."""
    return cv2.resize(skimage.data.coffee(), (1280, 720))


@pytest.fixture(scope="session")
def draw_face(background: np.ndarray) -> DrawFace:
    """draw_face(height, x, y, on=None, size=(1280, 720), degrees=0): a frame with a real face.

    The face, from the public-domain portrait of scikit-image, is ``height`` px tall (forehead to
    chin) and centred at (x, y).
    """
    portrait = skimage.data.astronaut()[:300, 90:390]
    face_height, face_center = 104, (135.0, 124.0)
    inside = np.zeros(portrait.shape[:2], np.uint8)
    cv2.ellipse(inside, (135, 118), (75, 100), 0, 0, 360, 255, -1)  # the head

    def draw(
        height: float,
        x: float,
        y: float,
        on: np.ndarray | None = None,
        size: tuple[int, int] = (1280, 720),
        degrees: float = 0.0,
    ) -> np.ndarray:
        scale = height / face_height
        matrix = cv2.getRotationMatrix2D(face_center, degrees, scale)
        matrix[:, 2] += np.subtract((x, y), face_center)
        source = cv2.GaussianBlur(portrait, (0, 0), 0.45 / scale) if scale < 1 else portrait
        picture = cv2.resize(background, size) if on is None else on
        shape = (picture.shape[1], picture.shape[0])
        face, mask = cv2.warpAffine(source, matrix, shape), cv2.warpAffine(inside, matrix, shape)
        return np.where(mask[..., None] > 127, face, picture)

    return draw


@pytest.fixture(scope="session")
def speechbrain() -> SimpleNamespace:
    """Makes small ECAPA models with speechbrain's names: shapes, weights by a rule, folders."""
    return SimpleNamespace(
        shapes=ecapa_shapes, weight=seeded_weight, write=write_speechbrain_folder
    )


def ecapa_shapes(
    labels: int, filters: int = 12, channels: int = 16, pooled: int = 24, hidden: int | None = 10
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an ECAPA, as its paper and its published files have them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.norm.{key}"] = (width,)
        shapes[f"{name}.norm.num_batches_tracked"] = ()

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, kernel), (outputs,)

    def unit(name: str, outputs: int, inputs: int, kernel: int) -> None:
        conv(f"{name}.conv.conv", outputs, inputs, kernel)
        norm(f"{name}.norm", outputs)

    model = "embedding_model"
    unit(f"{model}.blocks.0", channels, filters, 5)
    for i in (1, 2, 3):
        unit(f"{model}.blocks.{i}.tdnn1", channels, channels, 1)
        for j in range(3):  # four groups
            unit(f"{model}.blocks.{i}.res2net_block.blocks.{j}", channels // 4, channels // 4, 3)
        unit(f"{model}.blocks.{i}.tdnn2", channels, channels, 1)
        conv(f"{model}.blocks.{i}.se_block.conv1.conv", 6, channels, 1)
        conv(f"{model}.blocks.{i}.se_block.conv2.conv", channels, 6, 1)
    unit(f"{model}.mfa", pooled, 3 * channels, 1)
    unit(f"{model}.asp.tdnn", 7, 3 * pooled, 1)
    conv(f"{model}.asp.conv.conv", pooled, 7, 1)
    norm(f"{model}.asp_bn", 2 * pooled)
    conv(f"{model}.fc.conv", 9, 2 * pooled, 1)
    if hidden is None:
        return shapes | {"classifier.weight": (labels, 9)}
    norm("classifier.norm", 9)
    shapes |= {"classifier.DNN.block_0.linear.w.weight": (hidden, 9)}
    shapes |= {"classifier.DNN.block_0.linear.w.bias": (hidden,)}
    norm("classifier.DNN.block_0.norm", hidden)
    return shapes | {
        "classifier.out.w.weight": (labels, hidden),
        "classifier.out.w.bias": (labels,),
    }


def seeded_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A random weight that depends on nothing but its name and shape."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(1000, np.int64)
    if name.endswith(".running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    values = random.standard_normal(shape)
    if name.endswith(".running_mean"):
        values *= 0.6
    elif name.endswith(".norm.weight"):
        values = 1 + 0.25 * values
    elif name.endswith(".norm.bias"):
        values *= 0.2
    elif name.endswith(".bias"):
        values *= 0.1
    else:
        gain = 0.3 if name == "embedding_model.blocks.0.conv.conv.weight" else 1.0
        values *= gain / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


def write_speechbrain_folder(
    folder: Path,
    labels: Iterable[str] = ("de: German", "en: English", "iw: Hebrew"),
    *,
    probs: Iterable[float] | None = None,
    **sizes: int | None,
) -> dict[str, torch.Tensor]:
    """Write a folder of speechbrain; return its weights.

    With `probs` the model says these of every sound.
    """
    labels = list(labels)
    weights = {
        name: torch.from_numpy(seeded_weight(name, shape))
        for name, shape in ecapa_shapes(len(labels), **sizes).items()  # type: ignore[arg-type]
    }
    if probs is not None:
        weights["classifier.out.w.weight"].zero_()
        weights["classifier.out.w.bias"] = torch.tensor(list(probs)).log()
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("embedding_model", "classifier"):
        part = {k.removeprefix(f"{file}."): w for k, w in weights.items() if k.startswith(file)}
        torch.save(part, folder / f"{file}.ckpt")
    lines = [f"{label!r} => {i}" for i, label in enumerate(labels)]
    text = "\n".join([*lines, "=" * 16, "'starting_index' => 0"]) + "\n"
    (folder / "label_encoder.txt").write_text(text, "utf-8")
    return weights
