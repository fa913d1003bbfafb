"""Stage 2 of 8: frames -> landmarks -> tracks -> mouth crops.

Importing it loads no mediapipe: the models start with the first ``MediapipeDetector``.
"""

from avsr.face.active_speaker import Agree, is_still
from avsr.face.detector import Face, FaceDetector
from avsr.face.geometry import crop_matrices, crop_mouth
from avsr.face.landmarks import MediapipeDetector
from avsr.face.mouth_video import check_mouth_size, is_mouth_size, track_mouth_video
from avsr.face.readability import (
    find_covered,
    is_covered,
    is_readable,
    lips_move,
    why_unreadable,
)
from avsr.face.reidentification import FaceRegistry
from avsr.face.selection import MIN_HEIGHT, Turn, choose_face, find_turns, is_small
from avsr.face.track import FaceTrack, FaceTracks, MouthTrack, join_parts
from avsr.face.tracking import default_detector, track_faces, track_mouth
from avsr.face.video_track import probe_faces

__all__ = [
    "MIN_HEIGHT",
    "Agree",
    "Face",
    "FaceDetector",
    "FaceRegistry",
    "FaceTrack",
    "FaceTracks",
    "MediapipeDetector",
    "MouthTrack",
    "Turn",
    "check_mouth_size",
    "choose_face",
    "crop_matrices",
    "crop_mouth",
    "default_detector",
    "find_covered",
    "find_turns",
    "is_covered",
    "is_mouth_size",
    "is_readable",
    "is_small",
    "is_still",
    "join_parts",
    "lips_move",
    "probe_faces",
    "track_faces",
    "track_mouth",
    "track_mouth_video",
    "why_unreadable",
]
