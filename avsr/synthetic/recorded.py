"""Align recorded speech, and let synthetic heads say it: real voices with lips for training."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avsr.corpus.manifest import Record
from avsr.corpus.resumable import ResumableSplit, claim_copy
from avsr.corpus.shard_index import StoredSample
from avsr.corpus.shards import EncodedSample, ShardFile, encode_sample, open_shards
from avsr.errors import AvsrError, CorpusError
from avsr.rates import SAMPLES_PER_FRAME
from avsr.runtime.progress import ItemProgress
from avsr.synthetic.faces import draw_identity, render_mouth
from avsr.synthetic.speech import Speech
from avsr.synthetic.utterance import utterance_rng
from avsr.synthetic.visemes import mouth_trajectory

Align = Callable[[np.ndarray, str, str], Speech]
"""(waveform, text, language) -> the speech with times of phones and words."""


def align_corpus(
    source: str | Path,
    out: str | Path,
    align: Align,
    *,
    split: str = "train",
    video_fraction: float = 1.0,
    seed: int = 0,
    shard_size: int = 500,
    workers: int = 1,
    progress: ItemProgress | None = None,
) -> list[Record]:
    """Copy a split of recorded speech with times of phones and words, and mouths that say it.

    Recordings that cannot be aligned are copied as they are. An interrupted run is continued by
    calling this again with the same arguments.

    Args:
        source: Folder of a prepared corpus without video.
        out: Folder to write to.
        align: Finds the phones of a recording.
        split: Split to copy; the faces are of the same split.
        video_fraction: Share of the aligned utterances that get mouth crops, 0 to 1.
        seed: A different seed gives other faces.
        shard_size: Utterances per shard.
        workers: Number of processes.
        progress: Called with (split, utterances done, utterances in all).

    Returns:
        The records.

    Raises:
        CorpusError: The source has no shards or has video, options are out of range, or ``out``
            holds another corpus.
    """
    source, out = Path(source), Path(out)
    if min(shard_size, workers) < 1 or not 0 <= video_fraction <= 1:
        raise CorpusError("shard_size and workers must be at least 1, video_fraction within 0 to 1")
    samples = list(open_shards(source, split))
    if any(sample.has_mouth for sample in samples):
        raise CorpusError(f"{source} has video already: lips are for corpora of sound only")
    options = {"video_fraction": video_fraction, "seed": seed, "shard_size": shard_size}
    claim_copy(out / f"{split}.align.json", source, samples, options)
    shards = ResumableSplit(out, split, len(samples), shard_size)
    work = functools.partial(_write_shard, shards, samples, align, video_fraction, seed)
    return shards.write_missing(work, workers, progress)


def _write_shard(
    shards: ResumableSplit,
    samples: list[StoredSample],
    align: Align,
    video_fraction: float,
    seed: int,
    shard: int,
) -> int:
    """Write one shard and return the number of its utterances."""
    media = shards.media(shard)
    with ShardFile(shards.shard_path(shard)) as tar:
        for index in shards.indices(shard):
            record = samples[index].record
            key = record.split, record.language, index
            rng = utterance_rng(seed, *key, record.utterance_id)
            has_video = rng.random() < video_fraction
            aligned = align_sample(samples[index], align, rng if has_video else None)
            tar.write(replace(aligned, record=replace(aligned.record, media=media)))
    shards.finish_shard(shard, tar.records)
    return len(tar.records)


def align_sample(
    sample: StoredSample, align: Align, rng: np.random.Generator | None
) -> EncodedSample:
    """Align one recording.

    Args:
        sample: The recording.
        align: Finds its phones.
        rng: Draws the face that says it; None for no face.
    """
    record, sound = sample.record, sample.decode_audio()
    try:
        speech = align(sound.astype(np.float32) / 32768, record.text, record.language)
    except AvsrError:
        return encode_sample(record, sound, None)
    mouth = None
    if rng is not None:
        frames = -(-len(sound) // SAMPLES_PER_FRAME)
        identity = draw_identity(record.split, rng)
        trajectory = mouth_trajectory(speech.phones, frames, rng, language=record.language)
        mouth = render_mouth(identity, trajectory, rng)
    words = [_span("word", *times) for times in speech.words]
    phones = [_span("phone", one.symbol, one.start, one.end) for one in speech.phones]
    return encode_sample(replace(record, words=words, phones=phones), sound, mouth)


def _span(kind: str, name: str, start: float, end: float) -> dict[str, Any]:
    return {kind: name, "start": round(float(start), 3), "end": round(float(end), 3)}
