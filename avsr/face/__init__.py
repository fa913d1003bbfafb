"""Stage 2 of 8: frames -> landmarks -> tracks -> mouth crops.

Importing it loads no mediapipe: the models start with the first ``FaceFinder``.
"""

from avsr.face.cast import (
    MIN_HEIGHT,
    WISHES,
    Cast,
    Turn,
    choose_face,
    find_turns,
    is_readable,
    is_small,
)
from avsr.face.diagnosis import Diagnosis, diagnose
from avsr.face.following import track_faces, track_mouth
from avsr.face.geometry import crop_matrices, crop_mouth
from avsr.face.landmarks import Face, FaceFinder
from avsr.face.speaking import Agree, is_covered, is_still
from avsr.face.track import FaceTrack, FaceTracks, MouthTrack, join_parts

__all__ = [
    "MIN_HEIGHT",
    "WISHES",
    "Agree",
    "Cast",
    "Diagnosis",
    "Face",
    "FaceFinder",
    "FaceTrack",
    "FaceTracks",
    "MouthTrack",
    "Turn",
    "choose_face",
    "crop_matrices",
    "crop_mouth",
    "diagnose",
    "find_turns",
    "is_covered",
    "is_readable",
    "is_small",
    "is_still",
    "join_parts",
    "track_faces",
    "track_mouth",
]
