"""The files that a command writes: subtitles or text of each video, and a subtitled video.

Every problem with their names is found before anything is transcribed.
"""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.cli.display import prefix_file, print_error
from avsr.errors import AvsrError, ConfigError, MediaError
from avsr.languages import RIGHT_TO_LEFT
from avsr.transcript import (
    ENDINGS,
    FORMATS,
    FileFormat,
    reads_right_to_left,
    render,
    transcript_cues,
    write_transcript,
)

if TYPE_CHECKING:
    from avsr.media import MediaInfo
    from avsr.transcript import Transcript


MAX_NAME = 255  # bytes of a file's name, on nearly all file systems
STDOUT = ("-", "/dev/stdout")  # names of what is printed instead of written


@dataclass(frozen=True)
class OutputPlan:
    """The files to write for each video of a command."""

    files: dict[str, Path]
    """The file of each video, by the video's name on the command line; none without ``-o``."""
    done: frozenset[str] = frozenset()
    """Videos whose file in a folder is there already: not older than they are, or of another one
    by its content."""
    burn: Path | None = None
    """The video with subtitles in it; with one video only."""
    audio_track: int | None = None
    """Number of the sound track for it."""
    video_track: int | None = None
    """Number of the video track for it."""
    prints: FileFormat | None = None
    """Format of the file that is printed on stdout instead of the usual line."""

    def check(self, video: str) -> None:
        """Raise AvsrError if a name is too long, or subtitles are to be burnt into mere sound."""
        if video in self.files:
            check_name(self.files[video])
        if self.burn is None:
            return
        check_name(self.burn)
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
                message = message.removeprefix(f"{video}: ")
                if message not in transcript.warnings:  # those were shown
                    print_error(prefix_file(video, f"warning: {message}"))

            tracks = self._probe(video).tracks
            burn_captions(video, self.burn, captions, tracks=tracks, warn=warn)

    def _probe(self, video: str) -> "MediaInfo":
        from avsr.face import probe_faces
        from avsr.media import Tracks

        return probe_faces(video, Tracks(audio=self.audio_track, video=self.video_track))

    def print(self, transcript: "Transcript") -> None:
        """Print on stdout, in UTF-8, what a file would hold. Raises AvsrError as ``write``."""
        assert self.prints is not None
        content = render(transcript, self.prints).encode("utf-8", "replace")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()

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
        ending = f".partial{path.suffix}"
        stem = os.fsencode(path.stem)[: MAX_NAME - len(os.fsencode(ending))]
        part = path.with_name(os.fsdecode(stem) + ending)
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
        output: ``-`` for stdout; a file if it has an ending and is no existing folder; else a
            folder, in which files are named after the videos.
        file_format: Format of the files in a folder or of stdout. Default: SRT; text for stdout.
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
    files, in_folder, prints = {}, False, None
    if output in STDOUT:
        _check_one(videos, "-")
        prints = file_format or "txt"
    elif output is not None:
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
        done = frozenset(
            video
            for video in videos
            if is_done(video, files[video]) or other_source(video, files[video])
        )
    return OutputPlan(files, done, target, audio_track, video_track, prints)


def is_done(video: str, file: Path) -> bool:
    """Whether ``file`` was written after ``video``; files appear only when they are complete."""
    try:
        return file.stat().st_mtime >= os.stat(video).st_mtime
    except OSError:
        return False


def report_done(files: Mapping[str, Path]) -> tuple[int, int]:
    """Say what is skipped as its file is there already, and what only seems to be done.

    A video fails that cannot be read, or whose file is known to be that of another video.

    Args:
        files: The file of each video that is done, see ``is_done`` and ``other_source``.

    Returns:
        The number of videos that are skipped, and that of failures.
    """
    from avsr.media import probe

    skipped = 0
    for video, file in files.items():
        try:
            probe(video)
            other = other_source(video, file)
        except AvsrError as error:
            print_error(str(error))
            continue
        if other is not None:
            print_error(
                f"{video}: {file} is there already, of {other}; use another folder, "
                "or --overwrite to replace it"
            )
            continue
        print_error(f"{video}: skipped, {file} is there already")
        skipped += 1
    return skipped, len(files) - skipped


def other_source(video: str, file: Path) -> str | None:
    """The recording that a JSON file says it is of, if that is another one than ``video``."""
    if file.suffix.lower() != ".json":
        return None
    source = None
    with contextlib.suppress(OSError, ValueError, AttributeError):  # none of ours
        source = json.loads(file.read_text("utf-8")).get("file")
    if not isinstance(source, str):
        return None
    if os.path.exists(source):
        return None if os.path.samefile(source, video) else source
    # The folder may have been moved, or named from elsewhere: then only the name can tell.
    name = os.path.basename(video).encode("utf-8", "replace").decode()  # as it is written
    return None if os.path.basename(source) == name else source


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
    _check_one(videos, output)
    return dict.fromkeys(videos, path)


def _check_one(videos: Sequence[str], output: str) -> None:
    if len({os.path.realpath(video) for video in videos}) > 1:
        raise ConfigError(f"{output}: is one file for {len(videos)} videos; give a folder")


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
    """Raise ConfigError if ``path`` cannot be written, or is one of the ``videos``.

    A link stays, and the file to which it leads is replaced. A name that is too long is the matter
    of its own video, see ``check_name``.
    """
    folder = Path(os.path.realpath(path)).parent
    if not os.path.isdir(folder):
        raise ConfigError(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise ConfigError(f"{path}: is a folder; give the name of a file")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{path}: the folder {folder} cannot be written to")
    for video in videos:
        if os.path.realpath(video) == os.path.realpath(path):
            raise ConfigError(f"{path}: is the video itself; give another name")


def check_name(path: Path) -> None:
    """Raise MediaError if the name of a file to write is longer than its folder allows."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MediaError(
                f"{path}: cannot be written, the name is too long; rename the video"
            ) from error
