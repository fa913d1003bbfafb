"""Language identification: which language is spoken in a recording, without its words.

Speech alone votes: Silero VAD finds it, so silence and music do not count. Every piece of speech
gets probabilities of its own, and those of the recording are their mean, weighted by length: the
share of each language in what is spoken. A product would take the pieces of a recording for
independent, and one piece that is surely wrong would outweigh all others.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avsr import media
from avsr.audio import SpokenParts, has_speech
from avsr.audio.mel_decibels import compute_mel_decibels
from avsr.errors import ModelError
from avsr.hub import find_model, load_network, log_licence
from avsr.language.ecapa import Ecapa
from avsr.model.device import resolve_device
from avsr.model.directory import is_language_id, read_licence
from avsr.model.ecapa_directory import load_ecapa
from avsr.model.network import AVSRModel
from avsr.model.quantization import Precision
from avsr.rates import SAMPLE_RATE
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import probe_recording
from avsr.recognition.recording import Recording
from avsr.recognition.segmentation import (
    SLACK_SECONDS,
    MediaSegment,
    cut_segments,
    read_segments,
)
from avsr.recognition.senses import encode_checked
from avsr.runtime.prefetch import prefetch
from avsr.runtime.progress import report

LanguageModel = AVSRModel | Ecapa
"""A model that tells languages apart: a network with a language classifier, or an ECAPA."""

Vote = tuple[float, Mapping[str, float]]
"""Seconds of speech, and the probability of each language code in them."""

PIECE_SECONDS = 10.0  # of speech that ECAPA judges at once; shorter neighbours are joined
PREFETCHED_PIECES = 2  # found while the ones before are judged
CHECKED = TranscribeOptions()
LISTENING = "finding the language"


def load_language_model(
    name: str | os.PathLike[str] | None, device: str = "auto", precision: Precision = "auto"
) -> LanguageModel:
    """Load a model that tells languages apart.

    Args:
        name: As for ``avsr.hub.load_network``; or a language-ID model that was imported.
        device: As for ``load_network``.
        precision: As for ``load_network``; a language-ID model always computes in fp32.

    Raises:
        ModelError: There is no such model, or it has no language classifier.
    """
    path = find_model(name)
    if is_language_id(path):
        target = resolve_device(device)
        ecapa = load_ecapa(path, packed=target.type == "cpu")
        log_licence(str(name), read_licence(path))
        return ecapa.to(target)
    network = load_network(name, device, precision)
    _check_classifier(network)
    return network


def identify_file(
    model: LanguageModel, path: str | os.PathLike[str], options: TranscribeOptions
) -> dict[str, float]:
    """Tell which language is spoken in a media file; memory does not grow with its length.

    Args:
        model: The model. An ECAPA judges the sound alone.
        path: Media file.
        options: Modality and face are used here.

    Returns:
        Probability of each language code, the most likely first; empty if there is no speech (nor
        lips, where the model reads them).

    Raises:
        MediaError: The file cannot be read.
        ModelError: The model has no language classifier.
    """
    path = Path(path)
    info = probe_recording(path, options)
    if isinstance(model, Ecapa):
        if options.modality == "video" or not info.has_audio:
            return {}
        chunks = media.stream_waveform(path, tracks=info.tracks)
        with closing(prefetch(speech_pieces(chunks), PREFETCHED_PIECES)) as pieces:
            return combine_votes(_ecapa_votes(model, pieces, info.duration))
    with closing(read_segments(model, path, info, options, [])) as segments:
        return combine_votes(_network_votes(model, _without_silence(segments), options))


def identify_recording(model: LanguageModel, recording: Recording) -> dict[str, float]:
    """As ``identify_file``, for a recording in memory."""
    if not isinstance(model, Ecapa):
        if recording.duration <= model.config.segment_seconds + SLACK_SECONDS:
            return combine_votes(_network_votes(model, [recording] if recording.spoken else []))
        segments, _ = cut_segments(recording, model.config.segment_seconds)
        return combine_votes(_network_votes(model, _without_silence(segments)))
    if recording.waveform is None:
        return {}
    pieces = speech_pieces([recording.waveform])
    return combine_votes(_ecapa_votes(model, pieces, recording.duration))


def combine_votes(votes: Iterable[Vote]) -> dict[str, float]:
    """Mean probability of each code, weighted by seconds, the most likely first."""
    sums: dict[str, float] = {}
    total = 0.0
    for seconds, probs in votes:
        total += seconds
        for code, prob in probs.items():
            sums[code] = sums.get(code, 0.0) + seconds * prob
    return {code: sums[code] / total for code in sorted(sums, key=lambda code: -sums[code])}


def speech_pieces(chunks: Iterable[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Find the speech in a stream of sound.

    Args:
        chunks: Chunks (n,) float32 at 16 kHz of any length.

    Yields:
        (seconds at which it ends, samples (S,)) of pieces of speech in order, of at most
        ``PIECE_SECONDS``. Neighbours that are shorter together are joined, since a second of
        speech says little.
    """
    parts: list[np.ndarray] = []
    length = end = 0
    for span, samples in SpokenParts(chunks, PIECE_SECONDS):
        if not has_speech(samples):
            continue
        if parts and length + len(samples) > PIECE_SECONDS * SAMPLE_RATE:
            yield end / SAMPLE_RATE, np.concatenate(parts)
            parts, length = [], 0
        parts.append(samples)
        length, end = length + len(samples), span.end
    if parts:
        yield end / SAMPLE_RATE, np.concatenate(parts)


def _ecapa_votes(
    model: Ecapa, pieces: Iterable[tuple[float, np.ndarray]], duration: float
) -> Iterator[Vote]:
    for end, samples in pieces:
        yield len(samples) / SAMPLE_RATE, ecapa_probabilities(model, samples)
        report(min(end, duration), duration, LISTENING)


@torch.inference_mode()
def ecapa_probabilities(model: Ecapa, waveform: np.ndarray) -> dict[str, float]:
    """Probability of each language code in a piece of sound.

    Args:
        model: The model.
        waveform: (S,) float32 at 16 kHz; one that is shorter than 40 ms is padded with zeros.
    """
    missing = max(0, model.config.min_samples - len(waveform))
    fbank = compute_mel_decibels(np.pad(waveform, (0, missing)), model.config.filters)
    device = next(model.parameters()).device
    scores = model(torch.from_numpy(fbank)[None].to(device))
    probs = model.language_probs(scores)[0].tolist()
    return dict(zip(model.config.codes, probs, strict=True))


def _network_votes(
    model: AVSRModel, recordings: Iterable[Recording], options: TranscribeOptions = CHECKED
) -> Iterator[Vote]:
    _check_classifier(model)
    codes = model.config.languages
    options = replace(options, language="auto", check=options.check and model.has("ctc"))
    for recording in recordings:
        _, encoded = encode_checked(model, [recording], options)
        probs = encoded.language_probs[0].tolist()
        yield recording.duration, dict(zip(codes, probs, strict=True))


def _without_silence(segments: Iterable[MediaSegment]) -> Iterator[Recording]:
    """What may vote of each segment: of a long recording no sound without speech.

    A recording of one segment votes as a whole, as it is transcribed.
    """
    for segment in segments:
        recording = segment.recording
        if not recording.spoken:
            continue
        if recording.waveform is not None and not segment.whole:
            spans = SpokenParts([recording.waveform])
            if next(iter(spans), None) is None:
                recording = replace(recording, waveform=None)
        if recording.waveform is not None or recording.mouth is not None:
            yield recording


def _check_classifier(model: AVSRModel) -> None:
    if not model.has("classifier"):
        raise ModelError("the model has no language classifier: use another, or give the language")
