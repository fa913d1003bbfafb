"""The result as HTML: video, subtitles, words, a time line and the languages.

`player.js` highlights words, seeks to them and lets the visitor edit them; `page.css` has the
styles. Every text of a transcript is escaped, since words of a model are not markup.
"""

import base64
import dataclasses
import html
import json
import uuid
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np

from avsr import Transcript
from avsr.face import MouthTrack
from avsr.language import UNKNOWN
from avsr.languages import language_name
from avsr.media import MediaInfo, write_video
from avsr.transcript import FORMATS, Segment, Word, reads_right_to_left, render, write_transcript

SCRIPT = (Path(__file__).parent / "player.js").read_text("utf-8")
MIN_CONFIDENCE = 0.5  # below it a word is marked as unsure
MIN_PROBABILITY = 0.005  # of a language that gets a bar
MAX_BARS = 5
MODALITIES = {"av": "sound and lips", "audio": "sound only", "video": "lips only"}
NOT_CALIBRATED = "this model does not say where its text is wrong (it is not calibrated)"
ZOOM = 3  # the crop of 96 px is too small to look at
BOX_UNITS = 1000  # boxes of faces are in thousandths of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultView:
    """What the page shows: a transcript and the paths of its videos."""

    transcript: Transcript
    """Without its mouth crops, which are in the mouth video."""
    video: str
    """Path of the recording."""
    mouth: str | None
    """Path of the mouth video; None if no lips were read."""
    boxes: str = "[]"
    """Box of the face in each frame, as JSON; see ``face_boxes``."""
    face: str = "auto"
    """Whose lips to read, as for ``TranscribeOptions``."""
    start: float = 0.0
    """Seconds into the recording at which mouth video and boxes begin."""
    end: float | None = None
    """Seconds at which they end; None: with the recording."""
    offers_closeups: bool = False
    """Whether the lips are shown for one segment at a time, since the recording is long."""


def segment_span(result: Transcript, time: float) -> tuple[float, float]:
    """Return start and end (s) of the segment at ``time``, or of the next, or else of the last."""
    segments = result.segments
    segment = next((segment for segment in segments if time < segment.end), segments[-1])
    return segment.start, segment.end


def face_boxes(track: MouthTrack | None, info: MediaInfo) -> str:
    """Return JSON with the face in each frame: [x, y, w, h] in units of 1/BOX_UNITS, or null."""
    if track is None or not info.width or not info.height:
        return "[]"
    scale = [BOX_UNITS / info.width, BOX_UNITS / info.height] * 2
    boxes = [
        [round(float(value) * unit) for value, unit in zip(box, scale, strict=True)]
        if detected
        else None
        for box, detected in zip(track.boxes, track.found, strict=True)
    ]
    return json.dumps(boxes, separators=(",", ":"))


def mouth_video(track: MouthTrack | None, folder: Path) -> str | None:
    """Write the mouth crops as an enlarged video and return its path; None without a mouth."""
    if track is None or not track.found.any():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mouth-{uuid.uuid4().hex}.mp4"
    write_video(path, enlarge(track.mouth))
    return str(path)


def mouth_read(result: Transcript) -> MouthTrack | None:
    """Return the mouth that the model read; None if it used the sound only."""
    return None if result.modality == "audio" else result.mouth


def text_files(result: Transcript, video: str, folder: Path) -> dict[str, Path]:
    """Write the transcript in every format, named like the video; return format -> path."""
    name = Path(video).name
    folder = folder / f"text-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    named = dataclasses.replace(result, file=name)  # without the server's folder
    paths = {}
    for file_format, entry in FORMATS.items():
        paths[str(file_format)] = path = folder / f"{Path(name).stem}{entry.ending}"
        write_transcript(path, named, file_format)
    return paths


def enlarge(mouth: np.ndarray) -> Iterator[np.ndarray]:
    """Enlarge crops (T, 96, 96) to T frames of (288, 288); each pixel becomes a square."""
    for frame in mouth:
        yield frame.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def file_url(path: str) -> str:
    """Return the URL, relative to the page, of a file in the server's store."""
    return f"gradio_api/file={quote(path)}"


def render_player(view: ResultView) -> str:
    """Render the whole result as HTML."""
    result = view.transcript
    end = "" if view.end is None else f"{view.end:.3f}"
    return f"""
<div class="player" data-boxes="{html.escape(view.boxes)}" data-since="{view.start:.3f}"
 data-until="{end}">
<div class="screen">
<div class="picture"><div class="frame">{_recording(view)}
<i class="face"></i></div></div>
{_mouth(view)}</div>
{_banner(result)}
{_switches(view)}
{_words(result)}
{_timeline(result)}
{_languages(result)}
{_notes(result)}
</div>"""


def _recording(view: ResultView) -> str:
    """The video with its subtitles."""
    result = view.transcript
    subtitles = base64.b64encode(render(result, "vtt").encode()).decode()
    return f"""<video class="source" src="{file_url(view.video)}"
 controls playsinline preload="metadata"><track kind="subtitles"
 src="data:text/vtt;base64,{subtitles}" srclang="{html.escape(result.language)}"
 label="{html.escape(language_name(result.language))}" default></video>"""


def _mouth(view: ResultView) -> str:
    """The mouth video, with its time span if it shows one segment."""
    if view.mouth is None:
        return ""
    span = "" if view.end is None else f", {_clock(view.start)} to {_clock(view.end)}"
    return (
        f'<figure class="mouth"><video src="{file_url(view.mouth)}" muted playsinline'
        f' preload="auto" tabindex="-1"></video><figcaption>What the model sees{span}'
        "</figcaption></figure>"
    )


def _switches(view: ResultView) -> str:
    """The buttons below the video."""
    switches = _switch("subtitles", "Subtitles")
    switches += _switch("face", "Face", pressed=False) if view.boxes != "[]" else ""
    switches += _switch("edit", "Correct words", pressed=False)
    hint = ""
    if view.offers_closeups:
        switches += '<button type="button" data-does="closer">See the lips here</button>'
        hint = (
            '<p class="legend">In a long video the lips are shown for one part at a time: go to a'
            " part, then press “See the lips here”.</p>"
        )
    return f"""<div class="switches">{switches}
<span class="hint"></span></div>{hint}"""


def edit_word(result: Transcript, index: int, text: str) -> Transcript:
    """Return the transcript with one word replaced.

    Args:
        result: The transcript.
        index: Index of the word in the whole recording; -1 replaces the whole text of a transcript
            without words.
        text: The new word; if it is empty, the word is removed.

    Raises:
        IndexError: There is no such word.
    """
    text = " ".join(text.split())
    if index == -1 and not result.words:
        return dataclasses.replace(result, text=text, segments=())
    if not 0 <= index < len(result.words):
        raise IndexError(f"there is no word {index}")
    words = _replace_word(result.words, index, text)
    segments = list(result.segments)
    offsets = list(accumulate((len(segment.words) for segment in segments), initial=0))
    for number, (first, last) in enumerate(pairwise(offsets)):
        if first <= index < last:
            changed = _replace_word(segments[number].words, index - first, text)
            segments[number] = dataclasses.replace(
                segments[number], words=changed, text=_join(changed)
            )
    return dataclasses.replace(result, words=words, segments=tuple(segments), text=_join(words))


def _replace_word(words: tuple[Word, ...], index: int, text: str) -> tuple[Word, ...]:
    # Confidence 1: the word comes from a person.
    new = (dataclasses.replace(words[index], text=text, confidence=1.0),) if text else ()
    return words[:index] + new + words[index + 1 :]


def _join(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _switch(action: str, label: str, *, pressed: bool = True) -> str:
    state = "true" if pressed else "false"
    return f'<button type="button" data-does="{action}" aria-pressed="{state}">{label}</button>'


def _words(result: Transcript) -> str:
    """The text, each word a button that seeks to it."""
    if result.words:
        words = " ".join(_word(word, index) for index, word in enumerate(result.words))
    else:
        text = html.escape(result.text) or '<em class="nothing">Nothing was understood.</em>'
        words = f'<span class="word" data-index="-1">{text}</span>'
    code = html.escape(result.language)
    direction = "rtl" if reads_right_to_left(result.text, result.language) else "ltr"
    return f'<p class="words" lang="{code}" dir="{direction}">{words}</p>'


def _word(word: Word, index: int) -> str:
    unsure = " unsure" if word.confidence < MIN_CONFIDENCE else ""
    return (
        f'<span class="word{unsure}" role="button" tabindex="{-1 if index else 0}"'
        f' data-index="{index}" data-start="{word.start:.3f}" data-end="{word.end:.3f}"'
        f' title="{_clock(word.start)}, {word.confidence:.0%} sure">{html.escape(word.text)}</span>'
    )


def _timeline(result: Transcript) -> str:
    """Segments with language and modality; below them a bar for each word, its confidence."""
    duration = max(result.duration, 0.04)
    segments = result.segments or [_whole_as_segment(result, duration)]
    return (
        f'<div class="timeline" data-duration="{duration:.3f}" role="img" aria-label="Time line:'
        f' {len(segments)} parts, {len(result.words)} words">{_blocks(segments, duration)}'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="sure" d="{_bars(result.words, duration, unsure=False)}"/>'
        f'<path class="unsure" d="{_bars(result.words, duration, unsure=True)}"/></svg>'
        '<i class="head"></i></div><p class="legend"><span>0:00</span><span>'
        f"bars: how sure the model is of each word</span><span>{_clock(duration)}</span></p>"
    )


def _whole_as_segment(result: Transcript, duration: float) -> Segment:
    return Segment(
        start=0.0,
        end=duration,
        language=result.language,
        language_probs=result.language_probs,
        text=result.text,
        modality=result.modality,
    )


def _blocks(segments: Sequence[Segment], duration: float) -> str:
    """A coloured block for each segment; segments of one language have one colour."""
    codes = list(dict.fromkeys(segment.language for segment in segments))
    blocks = []
    for segment in segments:
        left, width = segment.start / duration, (segment.end - segment.start) / duration
        span = f"{_clock(segment.start)} to {_clock(segment.end)}"
        name, modality = html.escape(language_name(segment.language)), MODALITIES[segment.modality]
        blocks.append(
            f'<span class="part tint{codes.index(segment.language) % 5}"'
            f' style="left:{left:.3%};width:{width:.3%}" title="{span}: {name}, {modality}">'
            f"<b>{html.escape(segment.language)}</b> <small>{modality}</small></span>"
        )
    return "".join(blocks)


def _bars(words: Sequence[Word], duration: float, *, unsure: bool) -> str:
    """An SVG path with a bar for each word that is unsure, or for each that is not."""
    return "".join(
        f"M{1000 * word.start / duration:.1f} 100v{-100 * max(0.04, word.confidence):.0f}"
        f"h{max(1.0, 1000 * (word.end - word.start) / duration - 2):.1f}V100z"
        for word in words
        if (word.confidence < MIN_CONFIDENCE) == unsure
    )


def _languages(result: Transcript) -> str:
    """Bars of the likeliest languages; nothing if the model knows only one."""
    likely = [item for item in result.language_probs.items() if item[1] >= MIN_PROBABILITY]
    if len(result.language_probs) < 2:
        return ""
    rows = "".join(
        f'<li><span>{html.escape(language_name(code))}</span><meter min="0" max="1" '
        f'value="{probability:.4f}"></meter><span>{probability:.0%}</span></li>'
        for code, probability in likely[:MAX_BARS]
    )
    title = "Language: unknown; most like" if result.language == UNKNOWN else "Language"
    return f'<section class="languages"><h3>{title}</h3><ol>{rows}</ol></section>'


def _banner(result: Transcript) -> str:
    """What to know before the text is read, where it cannot be relied on."""
    note = result.reliability_note.partition(": ")[2]
    if not note:
        return ""
    title = "this text" if result.reliable is False else "parts of this text"
    return (
        f'<div class="banner" role="alert"><h3>Do not rely on {title}</h3>'
        f"<p>{html.escape(note[0].upper() + note[1:])}</p></div>"
    )


def _notes(result: Transcript) -> str:
    """The warnings of the transcript, and whether anything judges its text."""
    is_judged = result.reliable is not None or not result.text
    notes = [*result.warnings, *([] if is_judged else [NOT_CALIBRATED])]
    if not notes:
        return ""
    rows = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{rows}</ul>'


def _clock(seconds: float) -> str:
    """``75.2`` -> ``1:15``."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02}"
