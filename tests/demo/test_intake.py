"""What is said of a file and of a model before anything is transcribed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avsr import AvsrError
from avsr.media import probe
from demo import limits
from demo.intake import ModelRegistry, describe
from demo.limits import Limits, check_upload

EXAMPLES = Path(__file__).parents[2] / "demo" / "examples"


def test_a_file_is_described_at_once_and_then_its_faces(make_clip: Callable[..., Path]) -> None:
    first, second = describe(probe(make_clip("talk.mp4", audio_codec=None)))
    for fact in ("2.0 s", "64 × 48", "25 pictures a second", "no sound: only the lips"):
        assert fact in first
    assert "no face" in second


def test_a_sound_file_has_no_faces_to_look_for(make_clip: Callable[..., Path]) -> None:
    (only,) = describe(probe(make_clip("talk.m4a", video_codec=None)))
    assert "no picture: only the sound" in only


def test_the_face_of_an_example_is_shown() -> None:
    *_, last = describe(probe(EXAMPLES / "en.mp4"))
    assert "one face" in last
    assert last.count('src="data:image/jpeg;base64,') == 1


def test_a_broken_file_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("no video\n" * 100)
    with pytest.raises(AvsrError, match=r"^letter\.mp4: is ") as refused:
        check_upload(tmp_path / "letter.mp4", Limits())
    assert str(tmp_path) not in str(refused.value)


def test_ten_gigabytes_of_nothing_are_refused_by_their_size_and_their_content(
    tmp_path: Path,
) -> None:
    sparse = tmp_path / "sparse.mp4"
    with sparse.open("wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(AvsrError, match=r"^sparse\.mp4: has 10000 MB; at most 500 MB"):
        check_upload(sparse, Limits())
    with pytest.raises(AvsrError, match=r"^sparse\.mp4: is not a video or audio file"):
        check_upload(sparse, Limits(upload_megabytes=20_000))


def test_the_packets_of_a_file_are_counted_once(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    count = limits._fits
    monkeypatch.setattr(limits, "_fits", lambda *given: (counted.append(1), count(*given))[1])
    clip = make_clip("talk.mp4")
    assert check_upload(clip, Limits()) == check_upload(str(clip), Limits())
    assert len(counted) == 1
    with pytest.raises(AvsrError, match=r"longer than the 0\.01 minutes"):
        check_upload(clip, Limits(minutes=0.01))
    make_clip("talk.mp4", duration=4.0)
    assert check_upload(clip, Limits()).duration == pytest.approx(4, abs=0.05)


def test_models_are_chosen_by_name_and_shown_with_their_licence() -> None:
    served = object()
    shelf = ModelRegistry(served)
    assert shelf.names[0] == "tiny"
    assert shelf.get("tiny") is shelf.get(None) is served
    assert "Apache-2.0" in shelf.about("tiny")
    assert "Portuguese" in shelf.about("tiny")
    with pytest.raises(AvsrError, match="no model '/etc' on this server"):
        shelf.get("/etc")
    assert ModelRegistry(served, "models/own").names[:2] == ["models/own", "tiny"]
