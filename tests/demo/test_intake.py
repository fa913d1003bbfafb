"""The description of a file, the checks of an upload, and the choice of a model."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    monkeypatch.setattr(limits, "_fits", lambda *args: (counted.append(1), count(*args))[1])
    clip = make_clip("talk.mp4")
    assert check_upload(clip, Limits()) == check_upload(str(clip), Limits())
    assert len(counted) == 1
    with pytest.raises(AvsrError, match=r"longer than the 0\.01 minutes"):
        check_upload(clip, Limits(minutes=0.01))
    make_clip("talk.mp4", duration=4.0)
    assert check_upload(clip, Limits()).duration == pytest.approx(4, abs=0.05)


def test_models_are_chosen_by_name_and_shown_with_their_licence(tmp_path: Path) -> None:
    default: Any = SimpleNamespace(languages=("en", "pt"))
    models = ModelRegistry(default)
    assert models.names[0] == "tiny"
    assert models.get("tiny") is models.get(None) is default
    assert "Apache-2.0" in models.render_licence("tiny")
    assert "Portuguese" in models.render_details("tiny")
    with pytest.raises(AvsrError, match="no model '/etc' on this server"):
        models.get("/etc")

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# Mine\n\nLicence: CC <BY>\n")
    models = ModelRegistry(default, str(tmp_path / "mine"))
    assert models.names[:2] == [str(tmp_path / "mine"), "tiny"]
    assert models.render_licence(models.names[0]) == "<p>Model “mine”. Licence: CC &lt;BY&gt;</p>"
    assert models.render_details(models.names[0]) == (
        "<p>English, Portuguese. Licence: CC &lt;BY&gt;.</p>"
    )
    assert "Apache-2.0" in models.render_licence("tiny")
    assert "Licence: unknown" in ModelRegistry(default, "no such model").render_licence(
        "no such model"
    )
