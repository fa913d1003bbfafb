"""Write a corpus of synthetic talking heads.

Every utterance depends on (seed, split, language, index) only. So neither the order nor the number
of workers changes a byte, and an interrupted run can be continued.
"""

import functools
import importlib.metadata
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile

from avsr.corpus import Record, read_manifest, write_manifest
from avsr.corpus.resumable import ResumableSplit, claim_output, write_json
from avsr.corpus.shards import ShardFile, encode_sample
from avsr.errors import CorpusError, MediaError
from avsr.languages import MUAVIC_LANGUAGES, check_language
from avsr.media import probe, read_frames, read_waveform, write_video
from avsr.rates import SAMPLE_RATE
from avsr.runtime.atomic_files import make_folder, replace_bytes
from avsr.runtime.progress import ItemProgress
from avsr.runtime.workers import process_map
from avsr.synthetic.pico import check_pico
from avsr.synthetic.renderers import CLIPS_ONLY, choose_renderer, find_renderer_problems
from avsr.synthetic.sentences import WORDS, identify_texts, mean_duration
from avsr.synthetic.text import MAX_VOCABULARY, SPOKEN_LANGUAGES, VOCABULARY
from avsr.synthetic.utterance import (
    CLIP_SPLITS,
    SYNTHESIZERS,
    Utterance,
    make_utterance,
    utterance_rng,
)

MIN_VOCABULARY = 50  # words; with fewer, a split could run out of texts
MAX_SIZE = 100_000  # hours, or clips of a language
PLAN = "synthesize.json"
TOLERANCE = 0.1  # s by which a codec may shorten the sound of a clip

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The options that determine the content of a corpus; stored in synthesize.json."""

    seed: int
    languages: tuple[str, ...]
    hours: float
    valid_hours: float
    clips: int
    valid_clips: int
    video_fraction: float
    word_exponent: float
    words: int
    texts: str
    shares: tuple[float, ...] | None
    shard_size: int
    renderers: tuple[str, ...] = ("photo",)
    synthesizer: str = "espeak-ng"

    def count(self, part: str) -> int:
        """Return the number of utterances of a part, a multiple of the number of languages."""
        per_hour = 3600 / mean_duration(self.texts, self.languages) / len(self.languages)
        per_language = {
            "train": self.hours * per_hour,
            "valid": self.valid_hours * per_hour,
            "test": self.clips,
            "valid_clips": self.valid_clips,
        }[part]
        return round(per_language) * len(self.languages)

    def utterance(self, part: str, number: int) -> tuple[str, int]:
        """Return language and index within the language of an utterance; languages alternate."""
        if part == "train" and self.shares is not None:
            turn, index = take_turns(self.shares, self.count(part))[number]
            return self.languages[turn], index
        index, turn = divmod(number, len(self.languages))
        return self.languages[turn], index


@functools.cache
def take_turns(shares: tuple[float, ...], count: int) -> list[tuple[int, int]]:
    """Spread utterances evenly over languages of different shares.

    Args:
        shares: Positive weight of each language.
        count: Number of utterances.

    Returns:
        (number of the language, index within the language) of each utterance.
    """
    counts = [0] * len(shares)
    turns = []
    for number in range(count):
        deficits = [
            share / sum(shares) * (number + 1) - c for share, c in zip(shares, counts, strict=True)
        ]
        language = deficits.index(max(deficits))
        turns.append((language, counts[language]))
        counts[language] += 1
    return turns


def synthesize(
    out: str | Path,
    *,
    languages: Sequence[str] = MUAVIC_LANGUAGES,
    hours: float,
    seed: int = 0,
    valid_hours: float | None = None,
    clips: int = 50,
    valid_clips: int = 0,
    video_fraction: float = 1.0,
    word_exponent: float = 1.0,
    words: int = VOCABULARY,
    texts: str | Path = WORDS,
    shares: Sequence[float] | None = None,
    shard_size: int = 500,
    renderers: Sequence[str] = ("photo",),
    synthesizer: str = "espeak-ng",
    workers: int = 1,
    progress: ItemProgress | None = None,
) -> dict[str, Any]:
    """Write a corpus of synthetic talking heads.

    ``OUT/{train,valid}/*.tar`` with manifests ``OUT/{train,valid}.jsonl`` are shards of sound and
    mouth crops. ``OUT/clips/*.mp4`` with manifests ``OUT/test.jsonl`` and ``OUT/valid_clips.jsonl``
    are videos of whole heads (flac files where ``video_fraction`` is 0). An interrupted run is
    continued by calling this again with the same arguments. More than one worker starts processes
    that import the caller's main module: guard the call by ``if __name__ == "__main__"``.

    Args:
        out: Folder to write to.
        languages: Language codes; default: all of ``avsr.languages.MUAVIC_LANGUAGES``.
        hours: Hours of training data over all languages, approximately.
        seed: A different seed gives a different corpus.
        valid_hours: Hours of validation data; default: 5 % of ``hours``, at most half an hour.
        clips: Test clips per language.
        valid_clips: Validation clips per language.
        video_fraction: Share of the utterances in shards that have mouth crops, 0 to 1.
        word_exponent: Words of training texts are drawn by their frequency to this power (0 to 1);
            all other texts use the plain frequency.
        words: Size of the vocabulary: the most frequent words of each language.
        texts: What is said: ``words`` drawn by their frequency, sentences of ``grid`` (English), or
            those of a folder with ``<language>.txt``, one per line; see ``read_sentences``.
        shares: Weight of each language in the training data; default: equal.
        shard_size: Utterances per shard.
        renderers: Names of ``avsr.synthetic.renderers.RENDERERS``; each utterance draws one of
            them. ``drawn`` is for clips only: no model is to be trained on it.
        synthesizer: One of ``avsr.synthetic.utterance.SYNTHESIZERS``. ``pico`` is for clips only,
            and speaks de, en, es, fr and it.
        workers: Number of processes.
        progress: Called with (part of the corpus, utterances done, utterances in all).

    Returns:
        The content of ``OUT/synthesize.json``: ``options``, package ``versions``, and for each part
        the number of ``utterances`` and the ``seconds``.

    Raises:
        CorpusError: For options out of range, broken sentences, or a folder that holds another
            corpus.
        LanguageError: For an unknown language.
        AvsrError: If a package of the extra ``synthetic`` is missing.
    """
    plan = _Plan(
        seed=seed,
        languages=tuple(check_language(language, SPOKEN_LANGUAGES) for language in languages),
        hours=hours,
        valid_hours=min(0.5, 0.05 * hours) if valid_hours is None else valid_hours,
        clips=clips,
        valid_clips=valid_clips,
        video_fraction=video_fraction,
        word_exponent=word_exponent,
        words=words,
        texts=str(texts),
        shares=None if shares is None else tuple(shares),
        shard_size=shard_size,
        renderers=tuple(renderers),
        synthesizer=synthesizer,
    )
    _check(plan, workers)
    description = _describe(plan)
    out = Path(out)
    make_folder(out)
    # Earlier versions did not write these options.
    defaults: dict[str, Any] = {"word_exponent": 1.0, "words": VOCABULARY, "texts": WORDS}
    defaults |= {"shares": None, "renderers": ["photo"], "synthesizer": "espeak-ng"}
    claim_output(out / PLAN, description, section="options", defaults=defaults)
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    with process_map(workers) as run:
        for part in ("train", "valid", "test", "valid_clips"):
            if not plan.count(part):
                continue
            write = _write_clips if part in CLIP_SPLITS else _write_shards
            records = write(out, plan, part, run, progress or _ignore)
            counts[part] = len(records)
            seconds[part] = round(sum(record.end - record.start for record in records), 3)
    summary = {**description, "utterances": counts, "seconds": seconds}
    write_json(out / PLAN, summary)
    return summary


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


RunMap = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


def _write_shards(
    out: Path, plan: _Plan, part: str, run: RunMap, progress: ItemProgress
) -> list[Record]:
    """Write the missing shards of a part in parallel and return the records of all."""
    shards = ResumableSplit(out, part, plan.count(part), plan.shard_size)
    shards.repair()
    if shards.is_finished:
        return read_manifest(shards.manifest)
    missing = [shard for shard in shards.shards if not shards.has_shard(shard)]
    total = shards.num_utterances
    done = total - sum(len(shards.indices(shard)) for shard in missing)
    progress(part, done, total)
    for count in run(functools.partial(_write_shard, shards, plan), missing):
        done += count
        progress(part, done, total)
    return shards.finish()


def _write_shard(shards: ResumableSplit, plan: _Plan, shard: int) -> int:
    """Write one shard and return the number of its utterances."""
    part, media = shards.name, shards.media(shard)
    exponent = plan.word_exponent if part == "train" else 1.0
    with ShardFile(shards.shard_path(shard)) as tar:
        for number in shards.indices(shard):
            language, index = plan.utterance(part, number)
            utterance = make_utterance(
                plan.seed, part, language, index, exponent, plan.words, plan.texts
            )
            rng = utterance_rng(plan.seed, part, language, index, "picture")
            has_video = rng.random() < plan.video_fraction
            mouth = None
            if has_video:
                renderer, utterance = choose_renderer(plan.renderers, utterance, rng)
                mouth = renderer.draw_mouth(utterance, rng) if renderer.draw_mouth else None
            tar.write(encode_sample(_record(utterance, media), utterance.waveform, mouth))
    shards.finish_shard(shard, tar.records)
    return len(tar.records)


def _write_clips(
    out: Path, plan: _Plan, part: str, run: RunMap, progress: ItemProgress
) -> list[Record]:
    """Write the missing clips of a part in parallel and return the records of all."""
    manifest = out / f"{part}.jsonl"
    if manifest.exists():
        return read_manifest(manifest)
    make_folder(out / "clips")
    total = plan.count(part)
    records: list[Record] = []
    for record in run(functools.partial(_write_clip, out, plan, part), range(total)):
        records.append(record)
        progress(part, len(records), total)
    write_manifest(manifest, records)
    return records


def _write_clip(out: Path, plan: _Plan, part: str, number: int) -> Record:
    """Write one clip unless it exists, and return its record."""
    language, index = plan.utterance(part, number)
    utterance = make_utterance(
        plan.seed,
        part,
        language,
        index,
        words=plan.words,
        texts=plan.texts,
        synthesizer=plan.synthesizer,
    )
    suffix = ".mp4" if plan.video_fraction > 0 else ".flac"
    rng = utterance_rng(plan.seed, part, language, index, "picture")
    if suffix == ".mp4":
        renderer, utterance = choose_renderer(plan.renderers, utterance, rng)
    path = out / "clips" / (utterance.utterance_id + suffix)
    if not _is_whole(path, utterance):
        if suffix == ".mp4":
            frames = renderer.draw_frames(utterance, rng)
            write_video(path, frames, waveform=utterance.waveform)
        else:
            sound = io.BytesIO()
            soundfile.write(sound, utterance.waveform, SAMPLE_RATE, "PCM_16", format="FLAC")
            replace_bytes(path, sound.getbuffer())
    return _record(utterance, f"clips/{path.name}")


def _is_whole(path: Path, utterance: Utterance) -> bool:
    """Whether a clip is there and can be read to its end; a damaged one is logged."""
    if not path.exists():
        return False
    problems: list[str] = []
    try:
        missing = len(utterance.waveform) - len(read_waveform(path, warn=problems.append))
        if missing > TOLERANCE * SAMPLE_RATE:
            problems.append("its sound is too short")
        if probe(path).has_video:
            frames = sum(1 for _ in read_frames(path, warn=problems.append))
            if frames < utterance.num_frames:
                problems.append("its video is too short")
    except MediaError as error:
        problems.append(str(error))
    if problems:
        reason = problems[0].removeprefix(f"{path}: ")
        logger.warning("%s is broken (%s): it is made anew", path, reason)
    return not problems


def _check(plan: _Plan, workers: int) -> None:
    """Raise CorpusError that lists all options out of range."""
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
    if not MIN_VOCABULARY <= plan.words <= MAX_VOCABULARY:
        problems.append(f"words must be within {MIN_VOCABULARY} and {MAX_VOCABULARY}")
    sizes = (plan.hours, plan.valid_hours, plan.clips, plan.valid_clips)
    if not all(0 <= size <= MAX_SIZE for size in sizes):
        problems.append(f"hours and numbers of clips must be within 0 and {MAX_SIZE:,}")
    if plan.shard_size < 1 or workers < 1:
        problems.append("shard_size and workers must be at least 1")
    has_shards = max(plan.hours, plan.valid_hours) > 0
    problems += find_renderer_problems(plan.renderers, has_shards)
    if plan.synthesizer not in SYNTHESIZERS:
        names = ", ".join(SYNTHESIZERS)
        problems.append(f"unknown synthesizer '{plan.synthesizer}', use one of {names}")
    if plan.synthesizer == "pico":
        check_pico(plan.languages)
        if has_shards:
            problems.append(f"pico {CLIPS_ONLY}")
    if problems:
        raise CorpusError(f"cannot synthesize: {'; '.join(problems)}")


def _describe(plan: _Plan) -> dict[str, Any]:
    """Return the options of a corpus and the versions of the packages that shape it."""
    packages = ["espeakng-loader", "wordfreq", "num2words", "numpy", "scipy"]
    packages += ["py-nanotts"] if plan.synthesizer == "pico" else []
    lists = {"languages": list(plan.languages), "renderers": list(plan.renderers)}
    options = asdict(plan) | lists
    options["texts"] = identify_texts(plan.texts, plan.languages)
    if plan.shares is not None:
        options["shares"] = list(plan.shares)
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"options": options, "versions": versions}


def _ignore(part: str, done: int, total: int) -> None:
    """Show no progress."""
