"""Stage 1 of 8: file -> frames, waveform, metadata.

Frames and waveform have one clock, whatever the file's rates and offsets: ``frames[k]`` is on
screen at k/25 s, ``waveform[i]`` is the sample at i/16000 s.
"""

from avsr.media.burn_in import burn_captions
from avsr.media.captions import Caption, check_captions
from avsr.media.media_info import MediaInfo, probe
from avsr.media.messages import Note, Warn
from avsr.media.picture import Picture, as_picture
from avsr.media.sound import read_waveform, stream_waveform
from avsr.media.tracks import ANY_TRACKS, Tracks
from avsr.media.video import read_frames, read_pictures
from avsr.media.video_writer import open_video, write_video

__all__ = [
    "ANY_TRACKS",
    "Caption",
    "MediaInfo",
    "Note",
    "Picture",
    "Tracks",
    "Warn",
    "as_picture",
    "burn_captions",
    "check_captions",
    "open_video",
    "probe",
    "read_frames",
    "read_pictures",
    "read_waveform",
    "stream_waveform",
    "write_video",
]
