"""Copy a corpus with other voices and faces, so that one speaker stands for many."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from avsr.augmentation.face_change import FaceChange
from avsr.augmentation.world import VoiceChange, analyze_voice
from avsr.corpus.manifest import Record
from avsr.corpus.resumable import ResumableSplit, claim_copy
from avsr.corpus.shard_index import StoredSample
from avsr.corpus.shards import EncodedSample, ShardFile, encode_sample, open_shards
from avsr.errors import CorpusError
from avsr.rates import FPS, SAMPLES_PER_FRAME
from avsr.runtime.progress import ItemProgress

SPLIT = "train"  # only what is trained on is varied


def vary_corpus(
    source: str | Path,
    out: str | Path,
    *,
    copies: int = 4,
    seed: int = 0,
    shard_size: int = 500,
    workers: int = 1,
    progress: ItemProgress | None = None,
) -> list[Record]:
    """Write varied copies of the training split of a corpus as shards.

    Each copy has another voice (``VoiceChange``) and, with video, another face (``FaceChange``);
    times of words and phones follow the tempo. An interrupted run is continued by calling this
    again with the same arguments; the number of workers changes no byte.

    Args:
        source: Folder of a prepared corpus.
        out: Folder to write to.
        copies: Copies of each utterance.
        seed: A different seed gives other voices and faces.
        shard_size: Utterances per shard.
        workers: Number of processes.
        progress: Called with (split, utterances done, utterances in all).

    Returns:
        The records of all copies.

    Raises:
        CorpusError: The source has no training shards, options are out of range, or ``out`` holds
            another corpus.
        AvsrError: Without the package pyworld-prebuilt.
    """
    source, out = Path(source), Path(out)
    if min(copies, shard_size, workers) < 1 or seed < 0:
        raise CorpusError("copies, shard_size and workers must be at least 1, seed at least 0")
    samples = list(open_shards(source, SPLIT))
    options = {"copies": copies, "seed": seed, "shard_size": shard_size}
    claim_copy(out / "vary.json", source, samples, options)
    shards = ResumableSplit(out, SPLIT, len(samples) * copies, shard_size)
    work = functools.partial(_write_shard, shards, samples, copies, seed)
    return shards.write_missing(work, workers, progress)


def _write_shard(
    shards: ResumableSplit, samples: list[StoredSample], copies: int, seed: int, shard: int
) -> int:
    """Write one shard and return the number of its utterances."""
    media = shards.media(shard)
    with ShardFile(shards.shard_path(shard)) as tar:
        for index, numbers in groupby(shards.indices(shard), lambda number: number // copies):
            for varied in vary_sample(samples[index], [n % copies for n in numbers], seed):
                tar.write(replace(varied, record=replace(varied.record, media=media)))
    shards.finish_shard(shard, tar.records)
    return len(tar.records)


def vary_sample(sample: StoredSample, copies: list[int], seed: int) -> Iterator[EncodedSample]:
    """Yield varied copies of an utterance; each depends on seed, id and number of the copy only."""
    waveform = sample.decode_audio().astype(np.float32) / 32768
    mouth = sample.decode_mouth()
    voice = analyze_voice(waveform)
    for copy in copies:
        name = f"{sample.record.utterance_id}-v{copy}"
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        change = VoiceChange.sample(voice.mean_pitch, rng)
        varied = change.apply(voice)
        frames = -(-len(varied) // SAMPLES_PER_FRAME)
        varied = np.pad(varied, (0, frames * SAMPLES_PER_FRAME - len(varied)))
        crops = None
        if mouth is not None:
            times = ((np.arange(frames) + 0.5) * change.tempo).astype(int)  # frame that is shown
            crops = FaceChange.sample(rng).apply(mouth[np.minimum(times, len(mouth) - 1)], rng)
        record = replace(
            sample.record,
            utterance_id=name,
            start=0.0,
            end=frames / FPS,
            words=_scale(sample.record.words, change.tempo),
            phones=_scale(sample.record.phones, change.tempo),
        )
        yield encode_sample(record, varied, crops)


def _scale(spans: list[dict[str, Any]] | None, tempo: float) -> list[dict[str, Any]] | None:
    if spans is None:
        return None
    return [
        {**span, **{name: round(span[name] / tempo, 3) for name in ("start", "end")}}
        for span in spans
    ]
