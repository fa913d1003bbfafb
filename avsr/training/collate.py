"""Build the tensors of training batches from the utterances of a plan."""

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
from avsr.augmentation import drop_sound, mask_fbank, mix_at_snr, sound_reliability
from avsr.decoder import EOS, PAD, Tokenizer
from avsr.errors import AvsrError
from avsr.rates import FPS
from avsr.training.batches import BatchPlan
from avsr.training.config import StageConfig
from avsr.training.dataset import Utterances
from avsr.training.lips import LipsReader, happens
from avsr.training.losses import NO_TARGET


@dataclass(frozen=True)
class Batch:
    """Tensors of a batch or micro-batch; inputs that its modality does not use are None."""

    step: int
    """Update that it belongs to."""
    modality: str
    fbank: Tensor | None
    """(B, T, 104) normalized filterbank."""
    mouth: Tensor | None
    """(B, T, 88, 88) normalized mouth crops; None also if ``visual`` is given."""
    visual: Tensor | None
    """(B, T, C) stored outputs of the visual front end."""
    padding_mask: Tensor
    """(B, T) with True = padding."""
    lengths: Tensor
    """(B,) frames."""
    tokens_in: Tensor
    """(B, L) decoder inputs: ``</s>``, then the text."""
    targets: Tensor
    """(B, L) the text, then ``</s>``."""
    languages: Tensor
    """(B,) language ids."""
    language_counts: Tensor
    """(languages,) samples of each language in the whole batch."""
    phones: Tensor
    """(B, 2 T) phone of every half frame, or NO_TARGET."""
    reliability_targets: Tensor
    """(B, T, 2) how far audio and video of each frame can be trusted, from 0 to 1, or NO_TARGET."""
    token_spans: Tensor
    """(B, L, 2) first frame of each token and the one after its last; (0, 0) if unknown."""

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Return the batch on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **tensors)


def phone_targets(
    phones: Sequence[Mapping[str, Any]], phone_ids: Mapping[str, int], length: int
) -> list[int]:
    """Return the phone of each half frame (20 ms).

    Args:
        phones: Mappings with ``phone``, ``start`` and ``end`` in seconds.
        phone_ids: Id of each phone.
        length: Frames of the utterance.

    Returns:
        ``2 * length`` ids: the phone at the middle of each half frame, or NO_TARGET if there is
        none or it has no id.
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
    """Return the frames of each token and of ``</s>``, from the times of the words.

    A word's duration is divided among its tokens by their number of letters, and one frame is added
    on each side.

    Args:
        words: Mappings with ``word``, ``start`` and ``end`` in seconds.
        tokens: Tokens of the text.
        tokenizer: Tokenizer of the tokens.
        length: Frames of the utterance.

    Returns:
        First frame and the one after the last for each token; (0, 0) for all of them if the tokens
        of the words are not ``tokens``.
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
    """Builds the batch of a plan; randomness depends only on seed, step and utterance.

    Args:
        utterances: Data that the plans index.
        tokenizer: Tokenizer of the texts.
        noises: Clips (S,) of each kind of noise that the stage uses.
        stage: Settings of the stage.
        seed: Seed of everything random.
        augment: Whether to augment: masks, gaps, crops, flips, offsets, corruptions, wrong lips.
        phone_ids: Id of each phone.
        visual_corruption_probability: Fraction of the clips whose video is corrupted.
    """

    def __init__(
        self,
        utterances: Utterances,
        tokenizer: Tokenizer,
        noises: Mapping[str, Sequence[np.ndarray]],
        stage: StageConfig,
        seed: Sequence[int],
        augment: bool,
        phone_ids: Mapping[str, int],
        visual_corruption_probability: float = 0.0,
    ) -> None:
        self.phone_ids = phone_ids
        self.lips = LipsReader(utterances, stage, augment, visual_corruption_probability)
        self.utterances = utterances
        self.tokenizer = tokenizer
        self.noises = noises
        self.stage = stage
        self.seed = seed
        self.augment = augment

    def load_sound(
        self, index: int, length: int, modality: str, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the sound of an utterance, with the stage's noise, gaps and masks.

        Args:
            index: The utterance.
            length: Its frames T.
            modality: That of its batch.
            rng: Source of everything random.

        Returns:
            Normalized filterbank (T, 104), and how far it can be trusted (T,), from 0 to 1.
        """
        stage = self.stage
        waveform = self.utterances.waveform(index)
        reliable = torch.ones(length)
        if rng.random() < stage.noise_probability:
            kinds, shares = zip(*sorted(stage.noises.items()), strict=True)
            clips = self.noises[rng.choice(kinds, p=np.array(shares) / sum(shares))]
            noise = clips[int(rng.integers(len(clips)))]
            snr_db = float(rng.uniform(*stage.snr_db))
            waveform = mix_at_snr(waveform, noise, snr_db, offset=int(rng.integers(len(noise))))
            reliable *= sound_reliability(snr_db)
        if self.augment and modality == "av" and happens(stage.sound_drop_probability, rng):
            waveform, lost = drop_sound(waveform, rng)
            reliable[: len(lost)].masked_fill_(torch.from_numpy(lost[:length]), 0.0)
        fbank = torch.from_numpy(audio_features(waveform, length))
        if self.augment and rng.random() < stage.mask_probability:
            fbank = mask_fbank(fbank, torch.Generator().manual_seed(int(rng.integers(1 << 31))))
            reliable.masked_fill_((fbank == 0).all(1), 0.0)
        return fbank, reliable

    def __call__(self, plan: BatchPlan, index: int = 0, micro_batches: int = 1) -> Batch:
        """Build the batch of a plan, or micro-batch ``index`` of ``micro_batches``."""
        data = self.utterances
        indices = list(plan.micro_batch(index, micro_batches))
        lengths = data.lengths[indices]
        longest = int(lengths.max())
        use_audio, use_video = plan.modality != "video", plan.modality != "audio"
        fbanks, videos, texts, phones, spans = [], [], [], [], []
        reliable = torch.full((len(indices), longest, 2), torch.nan)
        for row, (utterance, length) in enumerate(zip(indices, lengths.tolist(), strict=True)):
            rng = np.random.default_rng([*self.seed, plan.step, utterance])
            record = data.samples[utterance].record
            if use_audio:
                fbank, reliable[row, :length, 0] = self.load_sound(
                    utterance, length, plan.modality, rng
                )
                fbanks.append(fbank)
            if use_video:
                lips = self.lips.read(utterance, length, plan.modality, rng)
                reliable[row, : len(lips.frames), 1] = lips.readable()
                videos.append(lips.frames)
            texts.append(self.tokenizer.encode(record.text))
            spans.append(token_spans(record.words or (), texts[-1], self.tokenizer, length))
            phones.append(phone_targets(record.phones or (), self.phone_ids, length))
        return Batch(
            step=plan.step,
            modality=plan.modality,
            fbank=_pad(fbanks, longest),
            mouth=_pad(videos, longest) if data.visual is None else None,
            visual=_pad(videos, longest) if data.visual is not None else None,
            padding_mask=torch.arange(longest)[None] >= torch.from_numpy(lengths)[:, None],
            lengths=torch.from_numpy(lengths),
            tokens_in=_rows([[EOS, *text] for text in texts], PAD),
            targets=_rows([[*text, EOS] for text in texts], PAD),
            languages=torch.from_numpy(data.language_ids[indices]),
            language_counts=torch.from_numpy(
                np.bincount(data.language_ids[list(plan.indices)], minlength=data.num_languages)
            ),
            phones=_rows(phones, NO_TARGET, 2 * longest),
            reliability_targets=reliable.nan_to_num(NO_TARGET),
            token_spans=torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(span) for span in spans], batch_first=True
            ),
        )


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


class TrainingBatches(torch.utils.data.IterableDataset[Batch | AvsrError]):
    """Micro-batches of a stage, for one loader worker of one process.

    A broken utterance is raised; in a worker it is the last item instead, for ``BatchLoader``.

    Args:
        plans: Plans of all updates of the stage.
        make_batch: Builds a micro-batch of a plan.
        first: Step at which to start.
        rank: Process to build for.
        processes: Number of processes that share each batch.
        gradient_accumulation_steps: Micro-batches per process of every plan.
    """

    def __init__(
        self,
        plans: Sequence[BatchPlan],
        make_batch: BatchMaker,
        first: int = 0,
        *,
        rank: int = 0,
        processes: int = 1,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        self.plans = plans
        self.make_batch = make_batch
        self.first = first
        self.rank = rank
        self.processes = processes
        self.gradient_accumulation_steps = gradient_accumulation_steps

    def __iter__(self) -> Iterator[Batch | AvsrError]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        steps = self.gradient_accumulation_steps
        # A loader takes one batch from each worker in turn.
        for turn in range(self.first * steps + offset, len(self.plans) * steps, stride):
            update, step = divmod(turn, steps)
            index = self.rank * steps + step
            try:
                yield self.make_batch(self.plans[update], index, self.processes * steps)
            except AvsrError as error:
                if worker is None:
                    raise
                yield error  # raised by BatchLoader
                return


class BatchLoader(torch.utils.data.DataLoader[Any]):
    """A loader of ``TrainingBatches`` that raises errors of its workers as they are.

    PyTorch would put the traceback of the worker, 45 lines, into the message.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, AvsrError):
                raise batch
            yield batch
