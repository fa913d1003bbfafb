"""Utterances in shards -> tensors of a training batch."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsr.audio import audio_features
from avsr.augmentation import LIPS_MASK, Corruption, mask_fbank, mix_at_snr
from avsr.decoder import EOS, PAD, Tokenizer
from avsr.encoder import fill_blank, normalize_mouth, random_crop_flip
from avsr.encoder.frontend import shift_frames
from avsr.rates import FPS
from avsr.training.batches import BatchPlan
from avsr.training.config import StageConfig
from avsr.training.dataset import Utterances
from avsr.training.losses import NO_TARGET


@dataclass(frozen=True)
class Batch:
    """Tensors of one step; ``fbank``, ``mouth`` or ``visual`` are None where they take no part."""

    step: int
    modality: str
    fbank: Tensor | None
    mouth: Tensor | None
    visual: Tensor | None
    padding_mask: Tensor
    lengths: Tensor
    tokens_in: Tensor
    targets: Tensor
    languages: Tensor
    language_counts: Tensor
    phones: Tensor
    token_spans: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """The batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **moved)


def phone_targets(
    phones: Sequence[Mapping[str, Any]], phone_ids: Mapping[str, int], length: int
) -> list[int]:
    """The phone of each of the ``2 * length`` half frames (20 ms), at its middle.

    NO_TARGET outside all phones, for phones without an id, and everywhere if there are no phones.
    """
    targets = [NO_TARGET] * (2 * length)
    for phone in phones:
        first, last = (max(0, round(phone[edge] * 2 * FPS)) for edge in ("start", "end"))
        for half_frame in range(first, min(last, len(targets))):
            targets[half_frame] = phone_ids.get(phone["phone"], NO_TARGET)
    return targets


def token_spans(
    words: Sequence[Mapping[str, Any]], tokens: Sequence[int], tokenizer: Tokenizer, length: int
) -> list[tuple[int, int]]:
    """First frame and the one behind the last for each token and ``</s>``: a word's tokens share
    its time by their letters, with a frame more on each side.

    (0, 0) everywhere if the words do not give these tokens.
    """
    pieces = [tokenizer.encode(word["word"]) for word in words]
    if not words or [token for piece in pieces for token in piece] != list(tokens):
        return [(0, 0)] * (len(tokens) + 1)
    times = []
    for word, piece in zip(words, pieces, strict=True):
        letters = [len(p.replace("\u2581", "")) or 0.5 for p in tokenizer.pieces(piece)]
        edges = np.concatenate([[0.0], np.cumsum(letters)]) / sum(letters)
        edges = word["start"] + edges * (word["end"] - word["start"])
        times += list(itertools.pairwise(edges.tolist()))
    times.append((times[-1][1], length / FPS))
    spans = []
    for start, end in times:
        first = min(length - 1, max(0, math.floor(start * FPS) - 1))
        spans.append((first, min(length, max(first + 1, math.ceil(end * FPS) + 1))))
    return spans


class BatchMaker:
    """Builds the batch of a plan; everything random comes from the seed and the step."""

    def __init__(
        self,
        utterances: Utterances,
        tokenizer: Tokenizer,
        noises: Mapping[str, Sequence[np.ndarray]],
        stage: StageConfig,
        seed: Sequence[int],
        augment: bool,
        phone_ids: Mapping[str, int],
        damage: float = 0.0,
    ) -> None:
        self.phone_ids = phone_ids
        self.damage = damage
        self.utterances = utterances
        self.tokenizer = tokenizer
        self.noises = noises
        self.stage = stage
        self.seed = seed
        self.augment = augment

    def sound(self, index: int, length: int, rng: np.random.Generator) -> Tensor:
        """(length, 104) normalised filterbank, noisy and masked as the stage says."""
        waveform = self.utterances.waveform(index)
        if rng.random() < self.stage.noise_probability:
            kinds, shares = zip(*sorted(self.stage.noises.items()), strict=True)
            clips = self.noises[rng.choice(kinds, p=np.array(shares) / sum(shares))]
            noise = clips[int(rng.integers(len(clips)))]
            snr_db = float(rng.uniform(*self.stage.snr_db))
            waveform = mix_at_snr(waveform, noise, snr_db, offset=int(rng.integers(len(noise))))
        fbank = torch.from_numpy(audio_features(waveform, length))
        if self.augment and rng.random() < self.stage.mask_probability:
            fbank = mask_fbank(fbank, torch.Generator().manual_seed(int(rng.integers(1 << 31))))
        return fbank

    def lips(self, index: int, rng: np.random.Generator) -> Tensor:
        """(T, 88, 88) normalised mouths."""
        mouth = self.utterances.mouth(index)
        if self.augment:
            mouth = damaged(mouth, self.damage, rng)
            generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
            mouth = random_crop_flip(mouth, generator)
        return self.shifted(self.masked(normalize_mouth(mouth), rng), rng)

    def visual(self, index: int, rng: np.random.Generator) -> Tensor:
        """(T, C) outputs of the frozen front end, of a random variant in training."""
        assert self.utterances.visual is not None
        variants = self.utterances.visual[index]
        chosen = int(rng.integers(len(variants))) if self.augment else 0
        features = torch.from_numpy(variants[chosen].astype(np.float32))
        return self.shifted(self.masked(features, rng), rng)

    def shifted(self, lips: Tensor, rng: np.random.Generator) -> Tensor:
        """The frames (T, ...) early or late as the stage says; the first or last one stands."""
        if self.augment and rng.random() < self.stage.offset_probability:
            most = round(self.stage.offset_ms / 1000 * FPS)
            shift = int(rng.integers(-most, most + 1))
            lips = shift_frames(lips, shift)
        return lips

    def masked(self, lips: Tensor, rng: np.random.Generator) -> Tensor:
        """The frames (T, ...) with zeros, the mean, over a stretch of them, as the stage says."""
        if self.augment and rng.random() < self.stage.mask_probability:
            width = int(rng.integers(min(LIPS_MASK, len(lips) // 6) + 1))
            first = int(rng.integers(len(lips) - width + 1))
            lips[first : first + width] = 0.0
        return lips

    def __call__(self, plan: BatchPlan, number: int = 0, parts: int = 1) -> Batch:
        """The batch of a plan, or one of its parts."""
        data = self.utterances
        indices = list(plan.part(number, parts))
        lengths = data.lengths[indices]
        longest = int(lengths.max())
        use_audio, use_video = plan.modality != "video", plan.modality != "audio"
        fbanks, mouths, visuals, texts, phones, spans = [], [], [], [], [], []
        for index, length in zip(indices, lengths.tolist(), strict=True):
            rng = np.random.default_rng([*self.seed, plan.step, index])
            record = data.samples[index].record
            if use_audio:
                fbanks.append(self.sound(index, length, rng))
            if use_video and data.visual is not None:
                visuals.append(self.visual(index, rng))
            elif use_video:
                mouths.append(self.lips(index, rng))
            texts.append(self.tokenizer.encode(record.text))
            spans.append(token_spans(record.words or (), texts[-1], self.tokenizer, length))
            phones.append(phone_targets(record.phones or (), self.phone_ids, length))
        return Batch(
            step=plan.step,
            modality=plan.modality,
            fbank=_pad(fbanks, longest),
            mouth=_pad(mouths, longest),
            visual=_pad(visuals, longest),
            padding_mask=torch.arange(longest)[None] >= torch.from_numpy(lengths)[:, None],
            lengths=torch.from_numpy(lengths),
            tokens_in=_rows([[EOS, *text] for text in texts], PAD),
            targets=_rows([[*text, EOS] for text in texts], PAD),
            languages=torch.from_numpy(data.language_ids[indices]),
            language_counts=torch.from_numpy(
                np.bincount(data.language_ids[list(plan.indices)], minlength=data.num_languages)
            ),
            phones=_rows(phones, NO_TARGET, 2 * longest),
            token_spans=torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(span) for span in spans], batch_first=True
            ),
        )


def damaged(mouth: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Mouths (T, 96, 96) uint8, in a ``share`` of cases with a random damage."""
    if share == 0.0 or rng.random() >= share:
        return mouth
    return fill_blank(torch.from_numpy(Corruption.sample(rng).apply(mouth.numpy(), rng)))


def _pad(arrays: list[Tensor], longest: int) -> Tensor | None:
    if not arrays:
        return None
    out = torch.zeros(len(arrays), longest, *arrays[0].shape[1:])
    for row, array in zip(out, arrays, strict=True):
        row[: min(longest, len(array))] = array[:longest]
    return out


def _rows(rows: list[list[int]], fill: int, longest: int = 0) -> Tensor:
    out = torch.full((len(rows), max(longest, *(len(row) for row in rows))), fill)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = torch.tensor(row, dtype=torch.long)
    return out


class TrainingBatches(torch.utils.data.IterableDataset[Batch]):
    """The batches of a stage from step ``first`` on, for one loader worker of one process.

    Process ``rank`` of ``processes`` gets ``passes`` parts of every plan, one after the other.
    """

    def __init__(
        self,
        plans: Sequence[BatchPlan],
        make: BatchMaker,
        first: int = 0,
        *,
        rank: int = 0,
        processes: int = 1,
        passes: int = 1,
    ) -> None:
        self.plans = plans
        self.make = make
        self.first = first
        self.rank = rank
        self.processes = processes
        self.passes = passes

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        parts = self.processes * self.passes
        # A loader takes one batch from each worker in turn.
        for turn in range(self.first * self.passes + offset, len(self.plans) * self.passes, stride):
            step, number = divmod(turn, self.passes)
            yield self.make(self.plans[step], self.rank * self.passes + number, parts)
