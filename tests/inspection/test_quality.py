"""Scale, angle and blur of crops against planted ones, and what counts as a problem."""

import cv2
import numpy as np
import pytest

from avsr.face import track_mouth
from avsr.inspection.quality import PROBLEMS, Diagnosis, diagnose, measure_blur


def diagnosis(**changes: object) -> Diagnosis:
    usual = {"found": True, "track": 0, "box": (1, 2, 3, 4), "scale": 1, "angle": 0, "blur": 0.5}
    return Diagnosis(**{**usual, **changes})  # type: ignore[arg-type]


def test_scale_and_angle_are_those_of_the_planted_face(draw_face) -> None:
    (upright,) = diagnose(track_mouth([draw_face(200, 640, 360)]))
    (double,) = diagnose(track_mouth([draw_face(400, 640, 360)]))
    (leaning,) = diagnose(track_mouth([draw_face(200, 640, 360, degrees=-20)]))  # clockwise
    assert upright.scale / double.scale == pytest.approx(2, rel=0.05)
    assert upright.scale == pytest.approx(leaning.scale, rel=0.05)
    assert leaning.angle - upright.angle == pytest.approx(20, abs=2)
    x, y, width, height = upright.box
    np.testing.assert_allclose((x + width / 2, y + height / 2), (640, 360), atol=20)


def test_frames_with_and_without_the_face(draw_face, background) -> None:
    face = draw_face(150, 300, 300)
    rows = diagnose(track_mouth([background, face, face, background, face]))
    assert [row.found for row in rows] == [False, True, True, False, True]
    assert [row.track for row in rows] == [None, 0, 0, 0, 0]
    assert [row.problems for row in rows] == [("no face",), (), (), ("not seen",), ()]
    assert (rows[0].scale, rows[0].angle, rows[0].blur, rows[0].box) == (None,) * 4
    assert rows[3].scale == pytest.approx(rows[2].scale, rel=0.01)
    assert rows[3].box is None


def test_blur_grows_with_blur_and_not_with_contrast() -> None:
    rng = np.random.default_rng(0)
    sharp = cv2.GaussianBlur(rng.integers(0, 255, (96, 96)).astype(np.uint8), (0, 0), 0.5)
    blurs = [measure_blur(sharp)]
    blurs += [measure_blur(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.4
    assert blurs[-1] > blurs[0] + 0.2
    assert measure_blur(64 + sharp // 2) == pytest.approx(blurs[0], abs=0.02)


def test_blur_along_one_axis_is_seen(draw_face) -> None:
    sharp = track_mouth([draw_face(300, 640, 360)]).mouth[0]
    for size in ((15, 1), (1, 15)):
        assert measure_blur(cv2.blur(sharp, size)) > measure_blur(sharp) + 0.1


def test_a_ramp_is_as_blurred_as_can_be_and_one_level_is_nothing() -> None:
    ramp = np.tile(np.arange(96, dtype=np.uint8), (96, 1))
    # Along the ramp the mean changes nothing but the four pixels at either end.
    assert measure_blur(ramp) > 0.9
    assert measure_blur(np.full((96, 96), 7, np.uint8)) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"found": False}, "not seen"),
        ({"scale": 2.1}, "small"),
        ({"angle": -31.0}, "tilted"),
        ({"angle": 31.0}, "tilted"),
        ({"turn": 36.0}, "turned"),
        ({"covered": True}, "covered"),
        ({"blur": 0.71}, "blurred"),
        ({"track": None, "found": False}, "no face"),
    ],
)
def test_each_problem_is_named(changes: dict[str, object], problem: str) -> None:
    assert diagnosis().problems == ()
    assert diagnosis(**changes).problems == (problem,)
    assert problem in PROBLEMS


def test_what_is_within_the_limits_is_no_problem() -> None:
    assert diagnosis(scale=2.0, angle=-30.0, blur=0.7, turn=35.9).problems == ()
    assert diagnosis(blur=None).problems == ()
