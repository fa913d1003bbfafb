"""A closeup of one part equals that part of the whole recording."""

from pathlib import Path

import numpy as np
import pytest

from avsr import AvsrError, Transcript
from avsr.face import track_mouth
from avsr.media import probe, read_frames, read_waveform
from avsr.transcript import Segment
from demo.closeup import add_closeup, read_closeup
from demo.player import ResultView, render_player, segment_span

CLIP = Path(__file__).parents[2] / "demo" / "examples" / "en.mp4"
FIRST = 10  # frame at which the part begins


def long_result(parts: list[tuple[float, float]]) -> Transcript:
    segments = tuple(
        Segment(
            start=start, end=end, language="en", language_probs={"en": 1.0}, text="a", modality="av"
        )
        for start, end in parts
    )
    return Transcript(
        file="a.mp4",
        language="en",
        language_probs={"en": 1.0},
        text="a a",
        modality="av",
        duration=parts[-1][1],
        segments=segments,
    )


def test_a_closeup_equals_that_part_of_the_whole() -> None:
    start = FIRST / 25
    closeup = read_closeup(str(CLIP), start, "auto", seconds=0.8)
    whole = track_mouth(read_frames(CLIP))
    assert closeup.track.mouth.shape == (20, 96, 96)
    assert closeup.track.boxes == pytest.approx(whole.boxes[FIRST : FIRST + 20], abs=6)  # px
    waveform = read_waveform(CLIP)[FIRST * 640 : (FIRST + 20) * 640]
    assert np.array_equal(closeup.waveform, waveform)  # type: ignore[arg-type]


def test_a_long_result_shows_the_part_at_a_time(tmp_path: Path) -> None:
    result = long_result([(0.0, 0.5), (0.6, 1.2)])
    assert segment_span(result, 0.2) == (0.0, 0.5)
    assert segment_span(result, 0.55) == (0.6, 1.2)
    assert segment_span(result, 9.0) == (0.6, 1.2)
    whole = ResultView(transcript=result, video=str(CLIP), mouth=None, offers_closeups=True)
    view = add_closeup(whole, 0.7, tmp_path)
    assert (view.start, view.end) == pytest.approx((0.6, 1.2))
    assert view.mouth is not None
    assert probe(view.mouth).duration == pytest.approx(0.6, abs=0.05)
    page = render_player(view)
    assert 'data-since="0.600"' in page
    assert 'data-until="1.200"' in page
    assert 'data-does="closer"' in page
    assert "What the model sees, 0:00 to 0:01" in page


def test_a_part_without_a_face_is_an_error(make_clip: object, tmp_path: Path) -> None:
    clip = make_clip("talk.mp4", duration=1.0)  # type: ignore[operator]
    view = ResultView(
        transcript=long_result([(0.0, 1.0)]), video=str(clip), mouth=None, offers_closeups=True
    )
    with pytest.raises(AvsrError, match="no face that speaks was found in this part"):
        add_closeup(view, 0.0, tmp_path)
