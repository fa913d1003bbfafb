"""Files that would lead elsewhere, or unpack to something huge, are refused at once."""

import os
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from avsr.errors import MediaError
from avsr.media import probe, read_waveform
from avsr.media.safe_open import open_container, read_packets

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"
SDP = "v=0\no=- 0 0 IN IP4 {0}\ns=x\nc=IN IP4 {0}\nt=0 0\nm=video 5004 RTP/AVP 33\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", HLS),
        ("list.mp4", HLS),
        ("list.ffconcat", CONCAT),
        ("list.mp4", CONCAT),
        ("list.mpd", DASH),
        ("list.mp4", DASH),
    ],
)
def test_a_list_of_files_is_refused_without_reading_them(
    tmp_path: Path, name: str, content: str
) -> None:
    named = tmp_path / "named.ts"
    os.mkfifo(named)  # what has been read from it is gone
    pipe = os.open(named, os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b"G" + bytes(187))
    (tmp_path / name).write_text(content.format(named.name))
    refused: list[MediaError] = []

    def attempt() -> None:
        try:
            open_container(tmp_path / name)
        except MediaError as error:
            refused.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    left = os.read(pipe, 1000)
    os.close(pipe)
    assert len(left) == 188
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", HLS.format("http://127.0.0.1:{port}/a.ts")),
        ("list.mp4", HLS.format("http://127.0.0.1:{port}/a.ts")),
        ("list.ffconcat", CONCAT.format("'tcp://127.0.0.1:{port}'")),
        ("call.sdp", SDP.format("127.0.0.1")),
        ("call.mp4", SDP.format("127.0.0.1")),
        ("list.mpd", DASH.format("http://127.0.0.1:{port}/a.mp4")),
    ],
)
def test_no_address_is_called(tmp_path: Path, name: str, content: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        (tmp_path / name).write_text(content.replace("{port}", str(server.getsockname()[1])))
        with pytest.raises(MediaError):
            open_container(tmp_path / name)
        with pytest.raises(TimeoutError):
            server.accept()


def write_black(path: Path, side: int, promised: int) -> None:
    """A film of two black PNG pictures of ``side`` px, whose header promises ``promised`` px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel
    rows = zlib.compress(bytes((1 + (side + 7) // 8) * side), 1)
    picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("png", rate=25, width=promised, height=promised)
        for number in range(2):
            packet = av.Packet(picture + chunk(b"IEND", b""))
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = number
            container.mux(packet)


@pytest.mark.parametrize(("side", "promised"), [(20_000, 20_000), (16_000, 16_000), (16_000, 640)])
def test_huge_pictures_are_not_decoded(tmp_path: Path, side: int, promised: int) -> None:
    write_black(tmp_path / "huge.mov", side, promised)
    with pytest.raises(MediaError, match="none of its picture or sound can be decoded"):
        probe(tmp_path / "huge.mov")


def test_a_picture_of_8k_is_decoded(tmp_path: Path) -> None:
    write_black(tmp_path / "large.mov", 5_760, 5_760)  # as many pixels as 7680 x 4320
    assert probe(tmp_path / "large.mov").width == 5_760


def test_ten_gigabytes_of_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse.mp4"
    with path.open("wb") as file:
        file.truncate(10_000_000_000)
    for function in (probe, read_waveform):
        with pytest.raises(MediaError, match="not a video or audio file"):
            function(path)


def test_a_stream_that_appears_late_does_not_end_the_reading() -> None:
    class Container:
        def demux(self, streams: object) -> Iterator[int]:
            yield from (1, 2)
            raise IndexError("list index out of range")  # as PyAV, after the last packet

    assert list(read_packets(Container(), [])) == [1, 2]  # type: ignore[arg-type]
