"""Synthetic corpus: every utterance is a function of (seed, split, language, index) alone.

So neither the order nor the number of workers changes a byte, and an interrupted run goes on where
it stopped.
"""

import functools
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from avsr.corpus import Record, ShardWriter, read_manifest, write_manifest
from avsr.corpus.shards import index_path
from avsr.errors import CorpusError
from avsr.languages import LANGUAGES, check_language
from avsr.media import write_video
from avsr.rates import SAMPLE_RATE
from avsr.runtime.atomic_files import replace_text
from avsr.runtime.workers import process_map
from avsr.synthetic.faces import draw_identity, render_frames, render_mouth
from avsr.synthetic.text import VOCABULARY
from avsr.synthetic.utterance import CLIP_SPLITS, Utterance, make_utterance, utterance_rng
from avsr.synthetic.visemes import mouth_trajectory

MIN_VOCABULARY = 50  # words; with fewer, texts of one split could run out
MEAN_DURATION = 1.66  # s of an utterance, measured over 9 languages; turns hours into a number

Progress = Callable[[str, int, int], None]  # part of the corpus, utterances done, in all


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What defines the content of a corpus; kept in synthesize.json."""

    seed: int
    languages: tuple[str, ...]
    hours: float
    valid_hours: float
    clips: int
    valid_clips: int
    video_fraction: float
    word_exponent: float
    words: int
    shares: tuple[float, ...] | None
    shard_size: int

    def count(self, part: str) -> int:
        """Number of utterances of a part; a multiple of the number of languages."""
        each = {
            "train": self.hours * 3600 / MEAN_DURATION / len(self.languages),
            "valid": self.valid_hours * 3600 / MEAN_DURATION / len(self.languages),
            "test": self.clips,
            "valid_clips": self.valid_clips,
        }[part]
        return round(each) * len(self.languages)

    def utterance(self, part: str, number: int) -> tuple[str, int]:
        """Language and index within the language; the languages take turns."""
        if part == "train" and self.shares is not None:
            turn, index = take_turns(self.shares, self.count(part))[number]
            return self.languages[turn], index
        index, turn = divmod(number, len(self.languages))
        return self.languages[turn], index


@functools.cache
def take_turns(shares: tuple[float, ...], count: int) -> list[tuple[int, int]]:
    """(language, index within it) of ``count`` utterances, spread evenly by their shares."""
    given = [0] * len(shares)
    turns = []
    for number in range(count):
        due = [
            share / sum(shares) * (number + 1) - g for share, g in zip(shares, given, strict=True)
        ]
        turn = due.index(max(due))
        turns.append((turn, given[turn]))
        given[turn] += 1
    return turns


def synthesize(
    out: str | Path,
    *,
    languages: Sequence[str] = LANGUAGES,
    hours: float,
    seed: int = 0,
    valid_hours: float | None = None,
    clips: int = 50,
    valid_clips: int = 0,
    video_fraction: float = 1.0,
    word_exponent: float = 1.0,
    words: int = VOCABULARY,
    shares: Sequence[float] | None = None,
    shard_size: int = 500,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a corpus of talking heads to ``out``; return what synthesize.json then holds.

    ``OUT/{train,valid}/*.tar`` with manifests ``OUT/{train,valid}.jsonl``: shards of sound and,
    for a share ``video_fraction`` of the utterances, mouth crops; about ``hours`` for training over
    all languages and ``valid_hours`` (default: 5 % of them, half an hour at most).
    ``OUT/clips/*.mp4`` with manifest ``OUT/test.jsonl`` (and ``OUT/valid_clips.jsonl``): ``clips``
    whole talking heads a language (sound alone, flac, where ``video_fraction`` is 0). Words of
    training texts are drawn by their frequency to the power of ``word_exponent``, all others by
    their frequency; both from the ``words`` most frequent of a language. ``shares``, one number for
    each language, unbalance the training utterances.

    Calling it again with the same arguments goes on after an interruption. More than one worker
    means processes that import the caller's main module: call it under ``__main__`` then.
    """
    plan = _Plan(
        seed=seed,
        languages=tuple(check_language(language) for language in languages),
        hours=hours,
        valid_hours=min(0.5, 0.05 * hours) if valid_hours is None else valid_hours,
        clips=clips,
        valid_clips=valid_clips,
        video_fraction=video_fraction,
        word_exponent=word_exponent,
        words=words,
        shares=None if shares is None else tuple(shares),
        shard_size=shard_size,
    )
    _check(plan, workers)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, plan)
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    with process_map(workers) as run:
        for part in ("train", "valid", "test", "valid_clips"):
            total = plan.count(part)
            if not total:
                continue
            write = _write_clips if part in CLIP_SPLITS else _write_shards
            records = write(out, plan, part, total, run, progress or _silent)
            counts[part] = len(records)
            seconds[part] = round(sum(record.end - record.start for record in records), 3)
    shutil.rmtree(out / ".parts", ignore_errors=True)
    summary = {**_description(plan), "utterances": counts, "seconds": seconds}
    _write_json(out / "synthesize.json", summary)
    return summary


def _mouth(utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """Mouth crops (T, 96, 96) uint8 of a talking head."""
    identity = draw_identity(utterance.split, rng)
    return render_mouth(identity, _trajectory(utterance, rng), rng)


def _frames(utterance: Utterance, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of a talking head."""
    identity = draw_identity(utterance.split, rng)
    return render_frames(identity, _trajectory(utterance, rng), rng)


def _trajectory(utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    frames, language = utterance.num_frames, utterance.language
    return mouth_trajectory(utterance.phones, frames, rng, language=language)


def _record(utterance: Utterance, media: str) -> Record:
    return Record(
        utterance_id=utterance.utterance_id,
        media=media,
        start=0.0,
        end=len(utterance.waveform) / SAMPLE_RATE,
        text=utterance.text,
        language=utterance.language,
        split=utterance.split,
        speaker=utterance.voice.name,
        words=[
            {"word": word, "start": round(start, 3), "end": round(end, 3)}
            for word, start, end in utterance.words
        ],
        phones=[
            {"phone": phone.symbol, "start": round(phone.start, 3), "end": round(phone.end, 3)}
            for phone in utterance.phones
        ],
    )


Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


def _write_shards(
    out: Path, plan: _Plan, part: str, total: int, run: Run, progress: Progress
) -> list[Record]:
    manifest = out / f"{part}.jsonl"
    if manifest.exists():
        return read_manifest(manifest)
    shards = range(-(-total // plan.shard_size))
    parts = [_part_manifest(out, part, shard) for shard in shards]
    missing = [shard for shard in shards if not parts[shard].exists()]
    done = total - sum(len(_numbers(plan, total, shard)) for shard in missing)
    progress(part, done, total)
    for count in run(functools.partial(_write_shard, out, plan, part, total), missing):
        done += count
        progress(part, done, total)
    records = [record for path in parts for record in read_manifest(path)]
    write_manifest(manifest, records)
    return records


def _numbers(plan: _Plan, total: int, shard: int) -> range:
    return range(shard * plan.shard_size, min(total, (shard + 1) * plan.shard_size))


def _part_manifest(out: Path, part: str, shard: int) -> Path:
    return out / ".parts" / part / f"{shard:06d}.jsonl"


def _write_shard(out: Path, plan: _Plan, part: str, total: int, shard: int) -> int:
    """Write one shard aside, then move it in place; its manifest says that it is complete."""
    final = out / part / f"{shard:06d}.tar"
    aside = out / ".parts" / f"{part}-{shard:06d}"
    shutil.rmtree(aside, ignore_errors=True)
    numbers = _numbers(plan, total, shard)
    media = f"{part}/{final.name}"
    records = []
    with ShardWriter(aside, part, shard_size=len(numbers)) as writer:
        for number in numbers:
            language, index = plan.utterance(part, number)
            exponent = plan.word_exponent if part == "train" else 1.0
            utterance = make_utterance(plan.seed, part, language, index, exponent, plan.words)
            picture = utterance_rng(plan.seed, part, language, index, "picture")
            seen = picture.random() < plan.video_fraction
            record = _record(utterance, media)
            writer.write(record, utterance.waveform, _mouth(utterance, picture) if seen else None)
            records.append(record)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(index_path(aside / part / "000000.tar"), index_path(final))
    os.replace(aside / part / "000000.tar", final)
    path = _part_manifest(out, part, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, records)
    shutil.rmtree(aside)
    return len(records)


def _write_clips(
    out: Path, plan: _Plan, part: str, total: int, run: Run, progress: Progress
) -> list[Record]:
    manifest = out / f"{part}.jsonl"
    if manifest.exists():
        return read_manifest(manifest)
    (out / "clips").mkdir(exist_ok=True)
    records: list[Record] = []
    for record in run(functools.partial(_write_clip, out, plan, part), range(total)):
        records.append(record)
        progress(part, len(records), total)
    write_manifest(manifest, records)
    return records


def _write_clip(out: Path, plan: _Plan, part: str, number: int) -> Record:
    """Write one clip unless it is there, and describe it."""
    language, index = plan.utterance(part, number)
    utterance = make_utterance(plan.seed, part, language, index, words=plan.words)
    suffix = ".mp4" if plan.video_fraction > 0 else ".flac"
    path = out / "clips" / (utterance.utterance_id + suffix)
    if not path.exists():
        if suffix == ".mp4":
            picture = utterance_rng(plan.seed, part, language, index, "picture")
            write_video(path, _frames(utterance, picture), waveform=utterance.waveform)
        else:
            aside = path.with_suffix(".part")
            soundfile.write(aside, utterance.waveform, SAMPLE_RATE, "PCM_16", format="FLAC")
            os.replace(aside, path)
    return _record(utterance, f"clips/{path.name}")


def _check(plan: _Plan, workers: int) -> None:
    problems = []
    if not plan.languages:
        problems.append("no language given")
    if len(set(plan.languages)) < len(plan.languages):
        problems.append("a language is given twice")
    if not 0 <= plan.video_fraction <= 1:
        problems.append(f"video_fraction is {plan.video_fraction}, it must be within 0 and 1")
    if plan.shares is not None and (
        len(plan.shares) != len(plan.languages) or min(plan.shares) <= 0
    ):
        problems.append("shares must be positive numbers, one for each language")
    if not 0 <= plan.word_exponent <= 1:
        problems.append(f"word_exponent is {plan.word_exponent}, it must be within 0 and 1")
    if not MIN_VOCABULARY <= plan.words <= VOCABULARY:
        problems.append(f"words must be within {MIN_VOCABULARY} and {VOCABULARY}")
    if min(plan.hours, plan.valid_hours, plan.clips, plan.valid_clips) < 0:
        problems.append("hours and numbers of clips must not be negative")
    if plan.shard_size < 1 or workers < 1:
        problems.append("shard_size and workers must be at least 1")
    if problems:
        raise CorpusError(f"cannot synthesize: {'; '.join(problems)}")


def _claim(out: Path, plan: _Plan) -> None:
    """Note what is being made in ``out``; refuse to mix it with another corpus."""
    path = out / "synthesize.json"
    if not path.exists():
        _write_json(path, _description(plan))
        return
    try:
        found = json.loads(path.read_text())["options"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is broken: delete it or choose another folder") from error
    wanted = _description(plan)["options"]
    # What earlier versions did not write:
    found = {"word_exponent": 1.0, "words": VOCABULARY, "shares": None, **found}
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        raise CorpusError(
            f"{out} holds a corpus with other options ({', '.join(other)}): choose another folder"
        )


def _description(plan: _Plan) -> dict[str, Any]:
    packages = ("espeakng-loader", "wordfreq", "num2words", "numpy", "scipy")
    options = asdict(plan) | {"languages": list(plan.languages)}
    if plan.shares is not None:
        options["shares"] = list(plan.shares)
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"options": options, "versions": versions}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")


def _silent(part: str, done: int, total: int) -> None:
    """No progress is shown."""
