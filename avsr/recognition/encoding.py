"""A batch of recordings -> encodings: features, CTC log-probabilities, languages."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsr import audio
from avsr.encoder import EncoderOutput, fill_blank, normalize_mouth
from avsr.language import probabilities
from avsr.languages import check_languages
from avsr.model.device import FP32
from avsr.model.network import AVSRModel
from avsr.rates import CROP_SIZE, FBANK_DIM
from avsr.recognition.recording import Recording
from avsr.recognition.threads import in_few_threads


@dataclass(frozen=True)
class Encoded:
    """A batch of recordings after the encoder, before the search."""

    output: EncoderOutput
    ctc_log_probs: torch.Tensor | None
    """(B, T, V); None for a model without CTC head."""
    language_probs: torch.Tensor
    """(B, languages), on the CPU; uniform for a model without classifier."""
    lengths: torch.Tensor
    """(B,) frames."""
    unrestricted_probs: torch.Tensor
    """(B, languages), as ``language_probs`` but of all languages where the caller named some."""


@in_few_threads
@torch.inference_mode()
def encode(model: AVSRModel, recordings: Sequence[Recording], language: str = "auto") -> Encoded:
    """Encode recordings of one modality in one batch; ``language`` as in TranscribeOptions."""
    if len({r.modality for r in recordings}) != 1:
        raise ValueError("a batch must be of one modality")
    fbank, mouth, visual, padding_mask = _batch(recordings, model.device)
    output = model.encode(fbank, mouth, padding_mask, visual=visual)
    probs, unrestricted = _language_probs(model, output, language)
    return Encoded(
        output=output,
        ctc_log_probs=model.ctc_log_probs(output) if model.has("ctc") else None,
        language_probs=probs,
        lengths=torch.tensor([r.num_frames for r in recordings], device=model.device),
        unrestricted_probs=unrestricted,
    )


def join_encodings(
    model: AVSRModel, rows: Sequence[tuple[Encoded, int]], language: str = "auto"
) -> Encoded:
    """Put rows of several encodings by one model into one batch.

    Args:
        model: The network.
        rows: Pairs of an encoding and the index of a recording in it.
        language: As in TranscribeOptions.
    """
    lengths = torch.stack([encoded.lengths[i] for encoded, i in rows])
    padding_mask = None
    if len(set(lengths.tolist())) > 1:
        frames = torch.arange(int(lengths.max()), device=lengths.device)
        padding_mask = frames >= lengths[:, None]

    def pad(tensors: Sequence[Tensor]) -> Tensor:
        parts = [tensor[:length] for tensor, length in zip(tensors, lengths, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)

    unrestricted = torch.stack([encoded.unrestricted_probs[i] for encoded, i in rows])
    log_probs = [e.ctc_log_probs[i] for e, i in rows if e.ctc_log_probs is not None]
    return Encoded(
        output=EncoderOutput(
            torch.stack([encoded.output.prompts[i] for encoded, i in rows]),
            pad([encoded.output.features[i] for encoded, i in rows]),
            padding_mask,
        ),
        ctc_log_probs=pad(log_probs) if log_probs else None,
        language_probs=_restrict(model, unrestricted, language),
        lengths=lengths,
        unrestricted_probs=unrestricted,
    )


@in_few_threads
@torch.inference_mode()
def extract_visual_features(model: "AVSRModel", mouth: object) -> Tensor:
    """Outputs (T, C) of the visual front end for mouth crops (T, 96, 96) uint8, on the CPU."""
    crops = normalize_mouth(fill_blank(torch.as_tensor(mouth, device="cpu")))
    return model.encoder.frontend(crops[None].to(model.device))[0].cpu()


def _language_probs(
    model: AVSRModel, encoded: EncoderOutput, language: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, languages) on the CPU, among those that ``language`` names and among all.

    Uniform for a model without classifier.
    """
    known = model.config.languages
    if not model.has("classifier"):
        uniform = torch.full((len(encoded.features), len(known)), 1 / len(known), **FP32)
        return uniform, uniform
    logits = model.language_logits(encoded)
    temperature = model.config.language_temperature
    unrestricted = probabilities(logits, temperature).cpu()
    if "," not in language:
        return unrestricted, unrestricted
    allowed = [known.index(code) for code in check_languages(language, known)]
    return probabilities(logits, temperature, allowed).cpu(), unrestricted


def _restrict(model: AVSRModel, probs: Tensor, language: str) -> Tensor:
    """Share probabilities (B, languages) among the languages that ``language`` names."""
    if "," not in language or not model.has("classifier"):
        return probs
    known = model.config.languages
    allowed = torch.zeros(len(known), **FP32)
    allowed[[known.index(code) for code in check_languages(language, known)]] = 1
    return probs * allowed / (probs * allowed).sum(-1, keepdim=True).clamp(min=1e-30)


def _batch(
    recordings: Sequence[Recording], device: torch.device
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Filterbank, mouths or visual features, padding mask; None for what the batch lacks."""
    lengths = [r.num_frames for r in recordings]
    longest = max(lengths)
    fbank = mouth = visual = padding_mask = None
    if recordings[0].waveform is not None:
        fbank = torch.zeros(len(recordings), longest, FBANK_DIM, **FP32)
    features = [r.visual for r in recordings if r.visual is not None]
    if len(features) == len(recordings):
        visual = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    elif recordings[0].mouth is not None:
        mouth = torch.zeros(len(recordings), longest, CROP_SIZE, CROP_SIZE, **FP32)
    for i, (recording, length) in enumerate(zip(recordings, lengths, strict=True)):
        if fbank is not None and recording.waveform is not None:
            fbank[i, :length] = torch.from_numpy(audio.audio_features(recording.waveform, length))
        if mouth is not None and recording.mouth is not None:
            mouth[i, :length] = normalize_mouth(fill_blank(torch.from_numpy(recording.mouth)))
    if len(set(lengths)) > 1:
        frames = torch.arange(longest, device="cpu")
        padding_mask = frames >= torch.tensor(lengths, device="cpu")[:, None]
    tensors = (fbank, mouth, visual, padding_mask)
    return tuple(None if t is None else t.to(device) for t in tensors)  # type: ignore[return-value]
