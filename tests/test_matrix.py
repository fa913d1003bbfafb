"""One talking head in every kind of file: each gives the plain file's text, or one clear line."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from avsr import face, media
from avsr.errors import MediaError
from avsr.evaluation import char_errors
from avsr.media import Picture
from avsr.model.network import AVSRModel
from avsr.rates import FPS, SAMPLE_RATE

EXAMPLES = Path(__file__).parents[1] / "demo/examples"
CLOCK = 90_000  # Hz, of the pictures' time stamps
PAUSE = 8  # frames before and after the speech
PQ, HLG, BT2020 = 16, 18, 9  # of ITU-T H.273
REFERENCE_WHITE = 203.0  # cd/m2 of SDR's white in HDR, ITU-R BT.2408
HOURS_11 = 40_000.0  # s
WRAP = 2**33 / CLOCK  # s; where the clock of a transport stream starts anew
X265 = {"x265-params": "log-level=none"}
FIELDS = {"flags": "+ildct+ilme"}

Pictures = list[np.ndarray]


class Talk:
    """An example with a pause before and after it, to be written in every kind of file."""

    def __init__(self, folder: Path, language: str = "de") -> None:
        clip = EXAMPLES / f"{language}.mp4"
        pictures = list(media.read_frames(clip))
        sound = media.read_waveform(clip)[: len(pictures) * SAMPLE_RATE // FPS]
        self.folder = folder
        self.pictures = [pictures[0]] * PAUSE + pictures + [pictures[-1]] * PAUSE
        pause = PAUSE * SAMPLE_RATE // FPS
        self.sound = np.pad(sound, (pause, pause))
        self.duration = len(self.pictures) / FPS

    def at(self, seconds: float) -> np.ndarray:
        """The picture that is on screen."""
        return self.pictures[min(int(seconds * FPS + 1e-6), len(self.pictures) - 1)]

    def write(
        self,
        name: str = "talk.mp4",
        *,
        rate: Fraction | int = FPS,
        stamps: list[float] | None = None,
        pictures: Pictures | None = None,
        change: Callable[[np.ndarray], np.ndarray] = lambda picture: picture,
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        prepare: Callable[[av.VideoFrame], av.VideoFrame] = lambda frame: frame,
        setup: Callable[[Any], None] = lambda stream: None,
        sounds: tuple[np.ndarray, ...] | None = None,
        sound_codec: str = "aac",
        sound_rate: int = SAMPLE_RATE,
        layout: str = "mono",
        sound_start: float = 0.0,
        default: int = 0,
        leap: tuple[float, float] = (1e9, 0.0),
        file_options: dict[str, str] | None = None,
    ) -> Path:
        """Write the file; ``leap`` is (from when on, by how many seconds) the time stamps leap."""
        path = self.folder / name
        if stamps is None:
            stamps = [float(k / Fraction(rate)) for k in range(round(self.duration * rate))]
        frames = pictures or [self.at(stamp + 0.5 / FPS) for stamp in stamps]
        frames = [change(picture) for picture in frames]
        tracks = self.sounds(sounds, layout, sound_rate, sound_start)
        with av.open(str(path), "w", options=file_options or {}) as file:
            video: Any = file.add_stream(codec, rate=rate)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pixels
            quick = {"crf": "14", "preset": "ultrafast"} if "x26" in codec else {}
            video.options = quick | (options or {})
            video.codec_context.time_base = Fraction(1, CLOCK)
            if codec.startswith("mpeg"):
                video.codec_context.time_base = Fraction(1, int(rate))
                video.bit_rate = 8_000_000
            setup(video)
            streams: list[Any] = [
                file.add_stream(sound_codec, rate=sound_rate, layout=layout) for _ in tracks
            ]
            for i, stream in enumerate(streams):
                stream.disposition = Disposition.default if i == default else 0
            feeds = [_sound_frames(t, sound_rate, layout, sound_start) for t in tracks]
            waiting = [next(feed, None) for feed in feeds]
            for stamp, picture in zip(stamps, frames, strict=True):
                frame = prepare(av.VideoFrame.from_ndarray(picture, format="rgb24"))
                moved = stamp + (leap[1] if stamp >= leap[0] else 0.0)
                frame.pts, frame.time_base = round(moved * CLOCK), Fraction(1, CLOCK)
                file.mux(video.encode(frame))
                for i, feed in enumerate(feeds):
                    while waiting[i] is not None and waiting[i].time <= stamp:
                        if waiting[i].time >= leap[0]:
                            waiting[i].pts += round(leap[1] * sound_rate)
                        file.mux(streams[i].encode(waiting[i]))
                        waiting[i] = next(feed, None)
            file.mux(video.encode(None))
            for stream, frame, feed in zip(streams, waiting, feeds, strict=True):
                for last in [frame, *feed] if frame is not None else []:
                    if last.time >= leap[0]:
                        last.pts += round(leap[1] * sound_rate)
                    file.mux(stream.encode(last))
                file.mux(stream.encode(None))
        return path

    def sounds(
        self, sounds: tuple[np.ndarray, ...] | None, layout: str, rate: int, start: float
    ) -> list[np.ndarray]:
        """Tracks (channels, S) at ``rate``; mono ones go into the middle, or into all channels."""
        names = [channel.name for channel in av.AudioLayout(layout).channels]
        tracks = []
        for whole in sounds or (self.sound,):
            sound = whole[round(start * SAMPLE_RATE) :]
            at_rate = _resampled(sound, rate)
            gains = [1.0 if "FC" not in names else float(name == "FC") for name in names]
            tracks.append(np.stack([gain * at_rate for gain in gains]).astype(np.float32))
        return tracks


def _resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    if rate == SAMPLE_RATE:
        return sound
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate = SAMPLE_RATE
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def _sound_frames(
    track: np.ndarray, rate: int, layout: str, start: float
) -> Iterator[av.AudioFrame]:
    for first in range(0, track.shape[1], 1024):
        part = np.ascontiguousarray(track[:, first : first + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start * rate)
        yield frame


def jittering(talk: Talk) -> Path:
    """As a telephone films: about 30 pictures a second, now more, now fewer."""
    rng, now, stamps = np.random.default_rng(0), 0.0, []
    while now < talk.duration:
        stamps.append(round(now * CLOCK) / CLOCK)
        now += rng.uniform(1 / 40, 1 / 22)
    return talk.write(stamps=stamps, rate=30)


def interlaced(talk: Talk, top_first: bool, codec: str, name: str) -> Path:
    """Fields 20 ms apart in each picture; what lies between two pictures is their mean."""
    woven = []
    for now, after in zip(talk.pictures, [*talk.pictures[1:], talk.pictures[-1]], strict=True):
        later = ((now.astype(np.uint16) + after) // 2).astype(np.uint8)
        picture = now.copy()
        picture[int(top_first) :: 2] = later[int(top_first) :: 2]
        woven.append(picture)
    height, width = woven[0].shape[:2]
    graph = av.filter.Graph()
    source = graph.add(
        "buffer",
        f"video_size={width}x{height}:pix_fmt=yuv420p:time_base=1/{CLOCK}:pixel_aspect=1/1",
    )
    graph.link_nodes(
        source, graph.add("setfield", "tff" if top_first else "bff"), graph.add("buffersink")
    ).configure()

    def mark(frame: av.VideoFrame) -> av.VideoFrame:
        graph.vpush(frame.reformat(format="yuv420p"))
        return graph.vpull()

    return talk.write(name, pictures=woven, codec=codec, prepare=mark, options=FIELDS)


def turned(degrees: int, mirrored: bool = False) -> Callable[[Talk], Path]:
    def make(talk: Talk) -> Path:
        def change(picture: np.ndarray) -> np.ndarray:
            stored = np.rot90(picture, -degrees // 90)
            return np.ascontiguousarray(stored[:, ::-1] if mirrored else stored)

        return talk.write(
            change=change,
            setup=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
        )

    return make


def squeezed(width: int, aspect: Fraction) -> Callable[[Talk], Path]:
    def change(picture: np.ndarray) -> np.ndarray:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return frame.reformat(width=width, interpolation="BICUBIC").to_ndarray()

    def setup(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    return lambda talk: talk.write(change=change, setup=setup)


def padded(width: int, height: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(picture: np.ndarray) -> np.ndarray:
        rows, columns = height - picture.shape[0], width - picture.shape[1]
        room = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)]
        return np.pad(picture, room, constant_values=40)

    return change


def high_dynamic(curve: int) -> Callable[[Talk], Path]:
    """BT.2020 in ten bits, SDR's white at 203 cd/m2; curves of ITU-R BT.2100."""
    gamut = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]])

    def stored(picture: np.ndarray) -> np.ndarray:
        light = (picture / 255) ** 2.4 @ gamut.T * REFERENCE_WHITE
        if curve == PQ:
            power = (light / 10_000) ** 0.1593017578125
            signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
        else:
            display = light / 1_000
            luma = display @ np.array([0.2627, 0.678, 0.0593])
            scene = display * np.maximum(luma, 1e-6)[..., None] ** (1 / 1.2 - 1)
            upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
            signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)
        return (np.clip(signal, 0, 1) * 65535).round().astype(np.uint16)

    def make(talk: Talk) -> Path:
        def prepare(frame: av.VideoFrame) -> av.VideoFrame:
            deep = av.VideoFrame.from_ndarray(stored(frame.to_ndarray()), format="rgb48le")
            deep = deep.reformat(format="yuv420p10le", dst_colorspace="BT2020")
            deep.color_trc, deep.color_primaries = curve, BT2020
            return deep

        def setup(stream: Any) -> None:
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace = curve, BT2020, 9

        return talk.write(
            codec="libx265",
            pixels="yuv420p10le",
            options=X265,
            prepare=prepare,
            setup=setup,
        )

    return make


def cut_at(name: str, share: float, **options: Any) -> Callable[[Talk], Path]:
    def make(talk: Talk) -> Path:
        path = talk.write(name, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return make


def wrecked(
    name: str, mark: bytes, skip: int, length: int, **options: Any
) -> Callable[[Talk], Path]:
    """Nonsense in the last place where ``mark`` stands, from ``skip`` bytes after its end on."""

    def make(talk: Talk) -> Path:
        path = talk.write(name, **options)
        content = bytearray(path.read_bytes())
        first = content.rindex(mark) + len(mark) + skip
        content[first : first + length] = np.random.default_rng(0).bytes(length)
        path.write_bytes(content)
        return path

    return make


def two_tracks(talk: Talk, default: int = 0) -> Path:
    """The talk is the default track; the other one speaks Italian all the time."""
    other = np.resize(media.read_waveform(EXAMPLES / "it.mp4"), len(talk.sound))
    sounds = (other, talk.sound) if default else (talk.sound, other)
    return talk.write("talk.mkv", sounds=sounds, default=default)


def written(*arguments: Any, **options: Any) -> Callable[[Talk], Path]:
    return lambda talk: talk.write(*arguments, **options)


SOUND_LATE = PAUSE / FPS * 0.9  # s; nothing is said before
CASES: dict[str, Callable[[Talk], Path]] = {
    **{
        f"rate-{float(rate):.5g}": written(rate=rate)
        for rate in (
            Fraction(24_000, 1001),
            24,
            Fraction(30_000, 1001),
            120,
        )
    },
    "rate-varies": jittering,
    "interlaced-mpeg2-tff": lambda talk: interlaced(talk, True, "mpeg2video", "talk.ts"),
    "interlaced-h264-bff": lambda talk: interlaced(talk, False, "libx264", "talk.mkv"),
    **{f"turned-{degrees}": turned(degrees) for degrees in (90, 270)},
    "mirrored": turned(0, mirrored=True),
    "pixels-wide": squeezed(160, Fraction(2)),
    "pixels-narrow": squeezed(352, Fraction(10, 11)),
    "10-bit": written(codec="libx265", pixels="yuv420p10le", options=X265),
    "hdr-pq": high_dynamic(PQ),
    "hdr-hlg": high_dynamic(HLG),
    "odd-size": written(change=lambda picture: picture[:-1, 1:-2].copy(), pixels="yuv444p"),
    "portrait": written(change=padded(320, 568)),
    "landscape": written(change=padded(568, 320)),
    **{
        f"sound-{codec}-{layout}-{rate}": written(
            name, sound_codec=codec, sound_rate=rate, layout=layout
        )
        for name, codec, rate, layout in (
            ("talk.mov", "pcm_s16le", 8_000, "mono"),
            ("talk.mkv", "flac", 11_025, "mono"),
            ("talk.mkv", "libmp3lame", 44_100, "stereo"),
            ("talk.webm.mkv", "libopus", 48_000, "5.1"),
            ("talk.ts", "ac3", 48_000, "5.1"),
            ("talk.mp4", "aac", 96_000, "stereo"),
        )
    },
    "sound-starts-later": written(sound_start=SOUND_LATE),
    "sound-starts-later-ts": written("talk.ts", sound_start=SOUND_LATE),
    "picture-starts-later": lambda talk: talk.write(
        stamps=[k / FPS for k in range(PAUSE - 2, len(talk.pictures))]
    ),
    "both-start-at-11-hours": written("talk.ts", file_options={"output_ts_offset": "40000"}),
    "two-sound-tracks": two_tracks,
    "second-sound-track-is-the-default": lambda talk: two_tracks(talk, default=1),
    "no-index-avi": wrecked("talk.avi", b"idx1", 4, 800, codec="mpeg4", sound_codec="libmp3lame"),
    "no-index-mkv": wrecked("talk.mkv", b"\x1c\x53\xbb\x6b", 1, 20),
    "no-key-frame-index": wrecked("talk.mp4", b"stss", 8, 4),
    "truncated-mkv": cut_at("talk.mkv", 0.98),
    "truncated-mp4": cut_at("talk.mp4", 0.98, file_options={"movflags": "+faststart"}),
    "truncated-ts": cut_at("talk.ts", 0.98),
    "truncated-without-header": cut_at("talk.mp4", 0.8),
    "clock-leaps": written("talk.ts", leap=(1.0, HOURS_11)),
    "clock-leaps-mkv": written("talk.mkv", leap=(1.0, HOURS_11)),
    "clock-leaps-a-little": written("talk.ts", leap=(PAUSE / FPS / 2, 3.0)),
    "clock-starts-anew": written("talk.ts", file_options={"output_ts_offset": str(WRAP - 1.0)}),
}


LINES = {"truncated-without-header": "header is missing"}
"""Cases that hold nothing to transcribe, and what is said of them."""

NOTES = {
    "two-sound-tracks": "of 2 sound tracks",
    "second-sound-track-is-the-default": "of 2 sound tracks",
    "clock-leaps": "leap by",
    "clock-leaps-mkv": "leap by",
}
"""Cases of which something is said although all of the text is there."""


ALIKE = {
    "sound-pcm_s16le-mono-8000",
    "sound-flac-mono-11025",
    "sound-starts-later",
    "sound-starts-later-ts",
    "clock-leaps-a-little",
    "no-index-avi",
}
"""Cases whose sound is not the same: of a low rate, coded from another place on, or with a gap; or
sound and picture by other codecs. The small model hears such a clip of five words otherwise, on
some machines more than on others."""


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    return Talk(tmp_path_factory.mktemp("talk"))


@pytest.fixture(scope="module", autouse=True)
def _same_pictures_tracked_once() -> Iterator[None]:
    """Half of the cases differ in their sound or container only: their pictures are the same bytes,
    and the same pictures have the same faces.
    """
    tracks: dict[bytes, face.FaceTracks] = {}

    def track_faces(frames: Iterable[Picture]) -> face.FaceTracks:
        pictures = list(frames)
        digest = hashlib.sha256(f"{pictures[0].height} {pictures[0].width}".encode())
        for frame in pictures:
            digest.update(frame.rgb().tobytes())
        key = digest.digest()
        if key not in tracks:
            tracks[key] = face.track_faces(pictures)
        return tracks[key]

    with pytest.MonkeyPatch.context() as patch:
        patched_face = SimpleNamespace(**{name: getattr(face, name) for name in face.__all__})
        patched_face.track_faces = track_faces
        patch.setattr("avsr.recognition.reading.face", patched_face)
        yield


@pytest.fixture(scope="module")
def plain(model: AVSRModel, talk: Talk) -> str:
    text = model.transcribe(talk.write("plain.mp4"), sync=False).text
    assert len(text.split()) >= 4
    return text


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_file_has_the_same_text(
    model: AVSRModel, talk: Talk, plain: str, case: str
) -> None:
    path = CASES[case](talk)
    path = path.rename(path.with_stem(case))
    if case in LINES:
        with pytest.raises(MediaError, match=LINES[case]) as error:
            model.transcribe(path)
        assert "\n" not in str(error.value)
        return
    # What is out of step must come out in step without being put right afterwards.
    result = model.transcribe(path, sync=False)
    if case in ALIKE:
        assert char_errors(plain, result.text).rate <= 0.5
    else:
        assert result.text == plain
    assert result.modality == "av"
    if case in NOTES:
        assert any(NOTES[case] in warning for warning in result.warnings), result.warnings
    elif not case.startswith("truncated"):
        assert result.warnings == ()
