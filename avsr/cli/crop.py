"""The command ``crop``: show what the model sees of a video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.display import (
    format_error,
    prefix_file,
    print_error,
    print_line,
    print_summary,
    show_status,
)
from avsr.cli.inputs import VIDEO_ENDINGS, check_tracks, find_media
from avsr.cli.options import (
    AudioTrackOption,
    FaceOption,
    OverwriteOption,
    VideosArgument,
    VideoTrackOption,
)
from avsr.cli.outputs import (
    STDOUT,
    check_name,
    check_target,
    is_done,
    name_files,
    other_source,
    report_done,
)
from avsr.errors import AvsrError, ConfigError
from avsr.recognition.options import check_face


def plan_crops(
    videos: Sequence[str], folder: str, relative_paths: Mapping[str, Path] | None = None
) -> dict[str, Path]:
    """Return the path of each video's files without their endings, and make the folders.

    ``relative_paths`` come from ``find_media``. Raises ConfigError if two videos would get the same
    files or a file cannot be written.
    """
    from avsr.inspection.crops import ENDINGS, crop_paths

    named = name_files(videos, folder, ENDINGS[-1], relative_paths)
    stems = {
        video: path.with_name(path.name.removesuffix(ENDINGS[-1])) for video, path in named.items()
    }
    for stem in stems.values():
        for path in crop_paths(stem):
            check_target(path, videos)
    return stems


def is_cropped(video: str, stem: Path) -> bool:
    """Whether the files of ``crop_video`` were written after ``video``, or are of another one."""
    from avsr.inspection.crops import crop_paths

    paths = crop_paths(stem)
    return all(is_done(video, path) for path in paths) or bool(other_source(video, paths[-1]))


def crop(
    videos: VideosArgument,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")
    ],
    face: FaceOption = "auto",
    audio_track: AudioTrackOption = None,
    video_track: VideoTrackOption = None,
    overwrite: OverwriteOption = False,
) -> int:
    """Show what the model sees of a video: mouth, landmarks, contact sheet, figures per frame.

    Example: avsr crop talk.mp4 -o crops
    """
    from avsr.inspection.crops import crop_paths, crop_video
    from avsr.media import Tracks

    tracks = Tracks(audio=audio_track, video=video_track)
    check_face(face)
    if face == "all":
        raise AvsrError("one face at a time is cropped: name it with --face")
    if output in STDOUT:
        raise ConfigError(f"{output}: crops are several files; give a folder")
    _, relative_paths = find_media(videos, VIDEO_ENDINGS)
    stems = plan_crops(list(relative_paths), output, relative_paths)
    videos = [video for video in relative_paths if overwrite or not is_cropped(video, stems[video])]
    check_tracks(videos, audio_track, video_track)
    done = [video for video in relative_paths if video not in videos]
    skipped, failed = report_done({video: crop_paths(stems[video])[-1] for video in done})
    complete = len(videos)
    for number, video in enumerate(videos, 1):

        def warn(message: str, video: str = video) -> None:
            print_error(prefix_file(video, f"warning: {message}"))

        try:
            for path in crop_paths(stems[video]):
                check_name(path)
            with show_status(f"{video} ({number} of {len(videos)})") as at:
                report = crop_video(
                    video, stems[video], warn=warn, progress=at, choice=face, tracks=tracks
                )
        except Exception as error:  # the other files are still to be done
            failed, complete = failed + 1, complete - 1
            print_error(format_error(video, error))
            continue
        print_line(f"{report.sheet}  {report}")
    return print_summary(complete, skipped, failed)
