"""Stage 2 of 8: frames -> landmarks -> tracks -> mouth crops.

Importing it loads no mediapipe: the models start with the first ``FaceFinder``.
"""

from avsr.face.diagnosis import Diagnosis, diagnose
from avsr.face.geometry import crop_matrices, crop_mouth
from avsr.face.landmarks import Face, FaceFinder
from avsr.face.track import MouthTrack, track_mouth

__all__ = [
    "Diagnosis",
    "Face",
    "FaceFinder",
    "MouthTrack",
    "crop_matrices",
    "crop_mouth",
    "diagnose",
    "track_mouth",
]
