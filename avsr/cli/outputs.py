"""The files that a command writes: subtitles or text of each video, and a subtitled video.

Every problem with their names is found before anything is transcribed.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.display import prefix_file, print_error
from avsr.errors import ConfigError, MediaError
from avsr.languages import RIGHT_TO_LEFT
from avsr.transcript import (
    ENDINGS,
    FORMATS,
    FileFormat,
    reads_right_to_left,
    transcript_cues,
    write_transcript,
)

if TYPE_CHECKING:
    from avsr.media import MediaInfo
    from avsr.transcript import Transcript


@dataclass(frozen=True)
class OutputPlan:
    """The files to write for each video of a command."""

    files: dict[str, Path]
    """The file of each video, by the video's name on the command line; none without ``-o``."""
    done: frozenset[str] = frozenset()
    """Videos whose file in a folder is there already and not older than they are."""
    burn: Path | None = None
    """The video with subtitles in it; with one video only."""
    audio_track: int | None = None
    """Number of the sound track for it."""
    video_track: int | None = None
    """Number of the video track for it."""

    def check(self, video: str) -> None:
        """Raise MediaError if subtitles are to be burnt into a video that has no picture."""
        if self.burn is None:
            return
        if not self._probe(video).has_video:
            raise MediaError(f"{video}: has no picture to write subtitles into")

    def write(self, video: str, transcript: "Transcript") -> None:
        """Write the files of one video. Raises AvsrError if one of them cannot be written."""
        path = self.files.get(video)
        if path is not None:
            write_transcript(path, transcript, ENDINGS[path.suffix.lower()])
            if (part := self._part(path)) is not None:
                part.unlink(missing_ok=True)
        if self.burn is not None:
            from avsr.media import Caption, burn_captions

            captions = [
                Caption(cue.start, cue.end, cue.lines, reads_right_to_left(cue.text, cue.language))
                for cue in transcript_cues(transcript)
            ]

            def warn(message: str) -> None:
                if message not in transcript.warnings:  # those were shown
                    print_error(prefix_file(video, f"warning: {message}"))

            tracks = self._probe(video).tracks
            burn_captions(video, self.burn, captions, tracks=tracks, warn=warn)

    def _probe(self, video: str) -> "MediaInfo":
        from avsr.face import probe_faces
        from avsr.media import Tracks

        return probe_faces(video, Tracks(audio=self.audio_track, video=self.video_track))

    def write_part(self, video: str, transcript: "Transcript") -> Path | None:
        """Write what was finished before Ctrl-C as ``NAME.partial.ENDING`` and return its path.

        A complete file of an earlier run stays, and the video does not count as done. None if no
        file was asked for.
        """
        path = self.files.get(video)
        part = None if path is None else self._part(path)
        if part is not None:
            write_transcript(part, transcript, ENDINGS[part.suffix.lower()])
        return part

    def _part(self, path: Path) -> Path | None:
        """Path of the partial file beside ``path``; None if that is another video's file."""
        part = path.with_name(f"{path.stem}.partial{path.suffix}")
        return None if part in self.files.values() else part


def plan_outputs(
    videos: Sequence[str],
    output: str | None,
    file_format: FileFormat | None = None,
    burn: str | None = None,
    language: str = "auto",
    *,
    relative_paths: Mapping[str, Path] | None = None,
    overwrite: bool = False,
    audio_track: int | None = None,
    video_track: int | None = None,
) -> OutputPlan:
    """Decide which files to write, and make the folder if there is one.

    Args:
        videos: The videos, as they are named on the command line.
        output: A file if it has an ending and is no existing folder, else a folder; files in it are
            named after the videos.
        file_format: Format of the files in a folder. Default: SRT.
        burn: The MP4 file to write with subtitles, of one video only.
        language: As given on the command line; burning right-to-left text needs a library.
        relative_paths: Paths within the folder, from ``find_media``.
        overwrite: Do videos again whose file is in the folder already.
        audio_track: Number of the sound track of ``burn``; None: the one that is transcribed.
        video_track: Number of its video track, likewise.

    Raises:
        ConfigError: The options contradict each other, or a file cannot be written.
    """
    if file_format is not None and output is None:
        raise ConfigError("--format is for files in a folder: name the folder with -o")
    if overwrite and output is None:
        raise ConfigError("--overwrite is for files in a folder: name the folder with -o")
    files, in_folder = {}, False
    if output is not None:
        in_folder = _is_folder(output)
        if in_folder:
            files = name_files(videos, output, FORMATS[file_format or "srt"].ending, relative_paths)
        else:
            files = _one_file(videos, output, file_format)
    target = None if burn is None else _burn_target(videos, burn, language)
    for path in [*files.values(), *([target] if target else [])]:
        check_target(path, videos)
    done = frozenset[str]()
    if in_folder and target is None and not overwrite:
        done = frozenset(video for video in videos if is_done(video, files[video]))
    return OutputPlan(files, done, target, audio_track, video_track)


def is_done(video: str, file: Path) -> bool:
    """Whether ``file`` was written after ``video``; files appear only when they are complete."""
    try:
        return file.stat().st_mtime >= os.stat(video).st_mtime
    except OSError:
        return False


def _is_folder(output: str) -> bool:
    path = Path(output)
    return path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix


def _one_file(
    videos: Sequence[str], output: str, file_format: FileFormat | None
) -> dict[str, Path]:
    path = Path(output)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(
            f"{output}: unknown ending '{path.suffix}' (known: {', '.join(ENDINGS)};"
            " a folder ends with a slash)"
        )
    if file_format not in (None, ENDINGS[ending]):
        raise ConfigError(f"{output}: the name says {ending[1:]}, --format {file_format}")
    if len({os.path.realpath(video) for video in videos}) > 1:
        raise ConfigError(f"{output}: is one file for {len(videos)} videos; give a folder")
    return dict.fromkeys(videos, path)


def name_files(
    videos: Sequence[str],
    folder: str,
    ending: str,
    relative_paths: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Name a file with ``ending`` in ``folder`` for each video, and make the folders.

    ``relative_paths`` come from ``find_media``; default: the bare names. Raises ConfigError if two
    videos would get the same file or a folder cannot be made.
    """
    path = Path(folder)
    files: dict[str, Path] = {}
    taken: dict[str, str] = {}
    for video in videos:
        relative = Path(Path(video).stem) if relative_paths is None else relative_paths[video]
        file = path / relative.with_name(f"{relative.name}{ending}")
        # Some file systems do not tell small from capital letters.
        first = taken.setdefault(str(file).casefold(), video)
        if os.path.realpath(first) != os.path.realpath(video):
            raise ConfigError(
                f"{first} and {video} would both be written to {file};"
                " rename one, or use two folders"
            )
        files[video] = file
    try:
        for parent in {path, *(file.parent for file in files.values())}:
            parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: is not a folder and cannot be made one") from error
    return files


def _burn_target(videos: Sequence[str], burn: str, language: str) -> Path:
    path = Path(burn)
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"{burn}: --burn-in writes MP4; give a name that ends with .mp4")
    if len(videos) > 1:
        raise ConfigError(f"{burn}: --burn-in writes one video, but there are {len(videos)}")
    if language in RIGHT_TO_LEFT:
        from avsr.media import Caption, check_captions

        check_captions([Caption(0.0, 1.0, (), right_to_left=True)])
    return path


def check_target(path: Path, videos: Sequence[str]) -> None:
    """Raise ConfigError if ``path`` cannot be written, or is one of the ``videos``."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: the folder {path.parent} cannot be written to")
    for video in videos:
        if os.path.realpath(video) == os.path.realpath(path):
            raise ConfigError(f"{path}: is the video itself; give another name")
