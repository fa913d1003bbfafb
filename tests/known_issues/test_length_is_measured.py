"""What a header says of a file's length once was believed.

Files of joined parts, whose header is that of the first, were taken for short: the model looped
over 21 s in one piece, and 7 minutes ended in an IndexError.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import soundfile

from avsr import media
from avsr.evaluation.clips import list_edges
from avsr.media.clock import Clock
from avsr.rates import FPS
from avsr.recognition.batching import transcribe_batches
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recognizer import Recognizer
from avsr.recognition.segmentation import read_segments
from avsr.transcript import Transcript

EXAMPLE = Path(__file__).parents[2] / "demo/examples/de.mp4"
SECOND = Fraction(1)
COPIES = 4
LONGEST = 3.0  # s; of one copy 1.3
CheckTimes = Callable[[Transcript], None]


@pytest.fixture
def _takes_three_seconds(model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(model.network.config, segment_seconds=LONGEST)
    monkeypatch.setattr(model.network, "config", config)


def convert(target: Path, codecs: dict[str, str]) -> Path:
    """Write the example in another container; ``codecs`` by kind of stream."""
    with av.open(str(EXAMPLE)) as source, av.open(str(target), "w") as file:
        streams = {}
        for kind, codec in codecs.items():
            template = source.streams.best(kind)
            stream = file.add_stream(codec, rate=FPS if kind == "video" else 48_000)
            if kind == "video":
                stream.width, stream.height = template.width, template.height
                stream.pix_fmt = "yuv420p"
            else:
                stream.layout = "mono"
            streams[kind] = template, stream
        for template, stream in streams.values():
            source.seek(0)
            for frame in source.decode(template):
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return target


KINDS = {
    "joined.ts": {"video": "mpeg2video", "audio": "mp2"},
    "joined.mpg": {"video": "mpeg2video", "audio": "mp2"},
    "joined.ogg": {"audio": "libopus"},
    "joined.mp3": {"audio": "libmp3lame"},
    "joined.aac": {"audio": "aac"},
}


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("joined")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            part = convert(folder / f"part{path.suffix}", KINDS[name])
            path.write_bytes(part.read_bytes() * COPIES)
        return path

    return make


@pytest.mark.parametrize("name", KINDS)
def test_joined_files_are_as_long_as_what_is_decoded(
    joined: Callable[[str], Path], name: str
) -> None:
    path = joined(name)
    info = media.probe(path)
    sound = len(media.read_waveform(path, warn=lambda line: None)) / 16_000
    assert sound > 1.2 * COPIES
    assert info.audio_duration == pytest.approx(sound, abs=0.15)
    assert info.duration == pytest.approx(max(sound, info.video_duration), abs=0.2)
    if info.has_video:
        count = sum(1 for _ in media.read_pictures(path, warn=lambda line: None))
        assert info.video_duration == pytest.approx(count / FPS, abs=0.15)


@pytest.mark.usefixtures("_takes_three_seconds")
@pytest.mark.parametrize("name", ["joined.ts", "joined.ogg"])
def test_they_are_cut_in_segments(
    model: Recognizer, joined: Callable[[str], Path], check_times: CheckTimes, name: str
) -> None:
    path = joined(name)
    result = model.transcribe(path, language="de", beam_size=1)
    check_times(result)
    assert len(result.segments) >= 2
    assert result.duration > 1.2 * COPIES
    assert all(segment.end - segment.start <= LONGEST for segment in result.segments)
    assert result.words[-1].end > 1.2 * (COPIES - 1)


@pytest.mark.usefixtures("_takes_three_seconds")
def test_sound_that_its_packets_did_not_tell_of_is_cut_in_memory(
    model: Recognizer, joined: Callable[[str], Path]
) -> None:
    path = joined("joined.ogg")
    info = dataclasses.replace(media.probe(path), duration=1.0, audio_duration=1.0)
    segments = list(read_segments(model.network, path, info, TranscribeOptions(), []))
    assert len(segments) >= 2
    assert all(segment.end - segment.start <= LONGEST for segment in segments)


@pytest.mark.usefixtures("_takes_three_seconds")
def test_in_batches_as_alone(model: Recognizer, joined: Callable[[str], Path]) -> None:
    path = joined("joined.ogg")
    options = TranscribeOptions(beam_size=1, language="de")
    one, other = transcribe_batches(model.network, [str(path), str(EXAMPLE)], options)
    assert one.text == model.transcribe(path, beam_size=1, language="de").text
    assert other.segments == ()


def test_an_evaluation_cuts_where_transcription_does(joined: Callable[[str], Path]) -> None:
    assert len(list_edges(joined("joined.ts"), LONGEST)) >= 4
    assert list_edges(EXAMPLE, LONGEST) == []


def measure(*stamps: list[int | None]) -> list[float]:
    """Seconds of streams whose packets last a second, by their time stamps."""
    streams = [
        SimpleNamespace(index=i, type=kind, average_rate=1, guessed_rate=1)
        for i, kind in enumerate(["video", "audio"][: len(stamps)])
    ]
    packets = [
        SimpleNamespace(
            stream=stream, pts=pts, dts=pts, duration=1, size=1, is_discard=False, time_base=SECOND
        )
        for stream, times in zip(streams, stamps, strict=True)
        for pts in times
    ]
    clock = Clock(SimpleNamespace(zero=0.0, streams=streams, video=streams[0]))  # type: ignore[arg-type]
    assert len(list(clock.mend(iter(packets)))) == len(packets)
    return [clock.seconds(stream) for stream in streams]  # type: ignore[arg-type]


def test_time_stamps_are_followed_as_in_decoding() -> None:
    assert measure([0, 1, 2]) == [3.0]
    assert measure([0, 1, 2, 0, 1, 2], [0, 1]) == [6.0, 2.0]
    assert measure([None, None]) == [2.0]
    assert measure([0, 5]) == [6.0], "a gap is a gap"
    assert measure([0, 5000, 5001]) == [3.0], "a leap is none"
    assert measure([0], [0, 3]) == [1.0, 4.0]


@pytest.mark.parametrize("name", ["cat.ts", "cat.mpg"])
def test_files_that_failed(
    model: Recognizer, faults_dir: Path, check_times: CheckTimes, name: str
) -> None:
    modality = "av" if name == "cat.ts" else "audio"
    result = model.transcribe(faults_dir / name, modality=modality, beam_size=1)
    check_times(result)
    assert result.duration == pytest.approx(21.3, abs=0.3)
    assert len(result.segments) >= 5
    assert len(result.text.split()) < 60, "no loops of nonsense"


def test_an_ogg_file_that_is_cut_within_its_last_packet(tmp_path: Path) -> None:
    """That packet lasts minus 14 ms, which was read as 74 hours and counted as 10 minutes."""
    voice = media.read_waveform(EXAMPLE)[8000:8800]
    soundfile.write(tmp_path / "a.ogg", voice, 16_000)
    assert media.probe(tmp_path / "a.ogg").duration == pytest.approx(0.05, abs=0.02)
