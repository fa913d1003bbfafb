"""A transcript as a page shows it: video, subtitles, words, a time line, languages.

What is here is HTML as text; `player.js` lets words light up, jump and be edited, and `page.css`
gives it its looks. Every text of a transcript is escaped: a model's words are no markup.
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
from avsr.languages import language_name
from avsr.media import MediaInfo, write_video
from avsr.transcript import FORMATS, Segment, Word, reads_right_to_left, render, write_transcript

SCRIPT = (Path(__file__).parent / "player.js").read_text("utf-8")
UNSURE = 0.5  # confidence below which a word is marked
LEAST_SHOWN = 0.005  # probability of a language that is worth a bar
MOST_BARS = 5
MODALITIES = {"av": "sound and lips", "audio": "sound only", "video": "lips only"}
ENLARGED = 3  # times; the crop of 96 px is too small to look at
BOX_UNITS = 1000  # a face's box is told in thousandths of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultView:
    """What is on the page: a transcript and where its videos are."""

    transcript: Transcript
    """Without its mouth crops: those are in the video."""
    video: str
    """Path of the recording."""
    mouth: str | None
    """Path of the mouth video; None where no lips were read."""
    boxes: str = "[]"
    """The face's place, frame by frame, as JSON; see ``face_boxes``."""
    face: str = "auto"
    """Whose lips were asked for."""
    since: float = 0.0
    """Seconds into the recording where mouth video and boxes begin."""
    until: float | None = None
    """Seconds where they end, if they show a part only."""
    closer: bool = False
    """Whether a part may be looked at closely, since the whole is too long to be kept."""


def part_at(result: Transcript, time: float) -> tuple[float, float]:
    """Start and end (s) of the segment at a time; between two the next one, at the end the last."""
    parts = result.segments
    part = next((part for part in parts if time < part.end), parts[-1])
    return part.start, part.end


def face_boxes(track: MouthTrack | None, info: MediaInfo) -> str:
    """JSON: for each frame [x, y, w, h] of the face in thousandths of the picture, or null."""
    if track is None or not info.width or not info.height:
        return "[]"
    scale = [BOX_UNITS / info.width, BOX_UNITS / info.height] * 2
    boxes = [
        [round(float(value) * unit) for value, unit in zip(box, scale, strict=True)]
        if seen
        else None
        for box, seen in zip(track.boxes, track.found, strict=True)
    ]
    return json.dumps(boxes, separators=(",", ":"))


def mouth_video(track: MouthTrack | None, folder: Path) -> str | None:
    """Path of the mouth crops as an enlarged video; None where the model saw none."""
    if track is None or not track.found.any():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mouth-{uuid.uuid4().hex}.mp4"
    write_video(path, enlarge(track.mouth))
    return str(path)


def seen(result: Transcript) -> MouthTrack | None:
    """The mouth that was read."""
    return None if result.modality == "audio" else result.mouth


def text_files(result: Transcript, video: str, folder: Path) -> dict[str, Path]:
    """Paths of the transcript in every format, called like the video."""
    name = Path(video).name
    folder = folder / f"text-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    named = dataclasses.replace(result, file=name)  # not where the server keeps it
    paths = {}
    for file_format, entry in FORMATS.items():
        paths[str(file_format)] = path = folder / f"{Path(name).stem}{entry.ending}"
        write_transcript(path, named, file_format)
    return paths


def enlarge(mouth: np.ndarray) -> Iterator[np.ndarray]:
    """(T, 96, 96) -> frames (288, 288), each pixel a square."""
    for frame in mouth:
        yield frame.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def file_address(path: str) -> str:
    """The address, from the page, of a file in the server's upload folder."""
    return f"gradio_api/file={quote(path)}"


def render_player(shown: ResultView) -> str:
    """The whole result as HTML."""
    result = shown.transcript
    code = html.escape(result.language)
    direction = "rtl" if reads_right_to_left(result.text, result.language) else "ltr"
    subtitles = base64.b64encode(render(result, "vtt").encode()).decode()
    mouth = ""
    if shown.mouth is not None:
        span = "" if shown.until is None else f", {_clock(shown.since)} to {_clock(shown.until)}"
        mouth = (
            f'<figure class="mouth"><video src="{file_address(shown.mouth)}" muted playsinline'
            f' preload="auto" tabindex="-1"></video><figcaption>What the model sees{span}'
            "</figcaption></figure>"
        )
    switches = _switch("subtitles", "Subtitles")
    switches += _switch("face", "Face", pressed=False) if shown.boxes != "[]" else ""
    switches += _switch("edit", "Correct words", pressed=False)
    part = ""
    if shown.closer:
        switches += '<button type="button" data-does="closer">See the lips here</button>'
        part = (
            '<p class="legend">The lips of a long video are shown part by part: go to a place,'
            " then press “See the lips here”.</p>"
        )
    return f"""
<div class="player" data-boxes="{html.escape(shown.boxes)}" data-since="{shown.since:.3f}"
 data-until="{"" if shown.until is None else f"{shown.until:.3f}"}">
<div class="screen">
<div class="picture"><div class="frame"><video class="source" src="{file_address(shown.video)}"
 controls playsinline preload="metadata"><track kind="subtitles"
 src="data:text/vtt;base64,{subtitles}" srclang="{code}"
 label="{html.escape(language_name(result.language))}" default></video>
<i class="face"></i></div></div>
{mouth}</div>
<div class="switches">{switches}
<span class="hint"></span></div>{part}
<p class="words" lang="{code}" dir="{direction}">{_words(result)}</p>
{_timeline(result)}
{_languages(result)}
{_notes(result)}
</div>"""


def edit_word(result: Transcript, index: int, text: str) -> Transcript:
    """The transcript with one word replaced, or left out where ``text`` is empty.

    ``index`` counts the words of the whole recording; -1 replaces the text of a transcript that
    has no words. Raises IndexError for a word that there is not.
    """
    text = " ".join(text.split())
    if index == -1 and not result.words:
        return dataclasses.replace(result, text=text, segments=())
    if not 0 <= index < len(result.words):
        raise IndexError(f"there is no word {index}")
    words = _replaced(result.words, index, text)
    parts = list(result.segments)
    firsts = list(accumulate((len(part.words) for part in parts), initial=0))
    for number, (first, after) in enumerate(pairwise(firsts)):
        if first <= index < after:
            own = _replaced(parts[number].words, index - first, text)
            parts[number] = dataclasses.replace(parts[number], words=own, text=_joined(own))
    return dataclasses.replace(result, words=words, segments=tuple(parts), text=_joined(words))


def _replaced(words: tuple[Word, ...], index: int, text: str) -> tuple[Word, ...]:
    """A person is sure of what she writes."""
    new = (dataclasses.replace(words[index], text=text, confidence=1.0),) if text else ()
    return words[:index] + new + words[index + 1 :]


def _joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _switch(does: str, label: str, *, pressed: bool = True) -> str:
    state = "true" if pressed else "false"
    return f'<button type="button" data-does="{does}" aria-pressed="{state}">{label}</button>'


def _words(result: Transcript) -> str:
    if not result.words:
        text = html.escape(result.text) or '<em class="nothing">Nothing was understood.</em>'
        return f'<span class="word" data-index="-1">{text}</span>'
    return " ".join(_word(word, index) for index, word in enumerate(result.words))


def _word(word: Word, index: int) -> str:
    unsure = " unsure" if word.confidence < UNSURE else ""
    return (
        f'<span class="word{unsure}" role="button" tabindex="{-1 if index else 0}"'
        f' data-index="{index}" data-start="{word.start:.3f}" data-end="{word.end:.3f}"'
        f' title="{_clock(word.start)}, {word.confidence:.0%} sure">{html.escape(word.text)}</span>'
    )


def _timeline(result: Transcript) -> str:
    """Segments with their language and modality; under them the words, as high as they are sure."""
    duration = max(result.duration, *(word.end for word in result.words), 0.04)
    parts: Sequence[Segment] = result.segments or [
        Segment(
            start=0.0,
            end=duration,
            language=result.language,
            language_probs=result.language_probs,
            text=result.text,
            modality=result.modality,
        )
    ]
    codes = list(dict.fromkeys(part.language for part in parts))
    blocks = "".join(
        f'<span class="part tint{codes.index(part.language) % 5}" style="left:'
        f'{part.start / duration:.3%};width:{(part.end - part.start) / duration:.3%}" title="'
        f"{_clock(part.start)} to {_clock(part.end)}: {html.escape(language_name(part.language))},"
        f' {MODALITIES[part.modality]}"><b>{html.escape(part.language)}</b>'
        f" <small>{MODALITIES[part.modality]}</small></span>"
        for part in parts
    )
    return (
        f'<div class="timeline" data-duration="{duration:.3f}" role="img" aria-label="Time line:'
        f' {len(parts)} parts, {len(result.words)} words">{blocks}'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="sure" d="{_bars(result.words, duration, unsure=False)}"/>'
        f'<path class="unsure" d="{_bars(result.words, duration, unsure=True)}"/></svg>'
        '<i class="head"></i></div><p class="legend"><span>0:00</span><span>'
        f"bars: how sure each word is</span><span>{_clock(duration)}</span></p>"
    )


def _bars(words: Sequence[Word], duration: float, *, unsure: bool) -> str:
    """An SVG path of a bar per word that is, or is not, unsure."""
    return "".join(
        f"M{1000 * word.start / duration:.1f} 100v{-100 * max(0.04, word.confidence):.0f}"
        f"h{max(1.0, 1000 * (word.end - word.start) / duration - 2):.1f}V100z"
        for word in words
        if (word.confidence < UNSURE) == unsure
    )


def _languages(result: Transcript) -> str:
    """Bars of the likeliest languages; nothing for a model that knows only one."""
    likely = [
        (code, share) for code, share in result.language_probs.items() if share >= LEAST_SHOWN
    ]
    if len(result.language_probs) < 2:
        return ""
    rows = "".join(
        f'<li><span>{html.escape(language_name(code))}</span><meter min="0" max="1" '
        f'value="{share:.4f}"></meter><span>{share:.0%}</span></li>'
        for code, share in likely[:MOST_BARS]
    )
    return f'<section class="languages"><h3>Language</h3><ol>{rows}</ol></section>'


def _notes(result: Transcript) -> str:
    """The warnings; what they say is shown as it stands."""
    if not result.warnings:
        return ""
    rows = "".join(f"<li>{html.escape(warning)}</li>" for warning in result.warnings)
    return f'<ul class="notes">{rows}</ul>'


def _clock(seconds: float) -> str:
    """``75.2`` -> ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"
