"""One batch of recordings through the network: features, languages, hypotheses, transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avsr import audio
from avsr.decoder.tokenizer import BLANK
from avsr.encoder import EncoderOutput, fill_blank, normalize_mouth
from avsr.language import MIN_CONFIDENCE, UNKNOWN, probabilities
from avsr.languages import check_languages
from avsr.model.device import FP32
from avsr.model.network import AVSRModel
from avsr.model.reliability import Verdict
from avsr.rates import CROP_SIZE, FBANK_DIM
from avsr.recognition.evidence import collect_evidence
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import Recording
from avsr.recognition.threads import in_few_threads
from avsr.search import Hypothesis
from avsr.search.alignment import align
from avsr.transcript import Transcript, Word
from avsr.transcript.words import time_words


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


@in_few_threads
@torch.inference_mode()
def decode(
    model: AVSRModel, encoded: Encoded, languages: torch.Tensor, options: TranscribeOptions
) -> list[Hypothesis]:
    """Search the best hypothesis of each recording; ``languages`` (B,) are the model's indices."""
    nbest = model.decode(
        encoded.output,
        languages.to(model.device),
        encoded.lengths,
        encoded.ctc_log_probs,
        options.search(bool(model.language_models), model.has("ctc")),
    )
    return [hypotheses[0] for hypotheses in nbest]


def recognize(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> list[Transcript]:
    """Transcribe recordings of one modality in one batch."""
    return [transcript for transcript, _ in recognize_scored(model, recordings, options)]


@torch.inference_mode()
def recognize_scored(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> list[tuple[Transcript, float]]:
    """As ``recognize``; each with the decoder's mean natural-log probability of a token."""
    languages = model.config.languages
    options = options.for_languages(languages)
    encoded = encode(model, recordings, options.language)
    codes = [options.language] * len(recordings)
    if options.detects:
        codes = [languages[best] for best in encoded.language_probs.argmax(-1).tolist()]
    scored = recognize_encoded(model, recordings, encoded, codes, options)
    return [(mark_uncertain(end_words(transcript), options), score) for transcript, score in scored]


def end_words(transcript: Transcript) -> Transcript:
    """End the words with the recording, whose last frame may be longer than its sound."""
    end = transcript.duration
    words = tuple(
        replace(word, start=min(word.start, end), end=min(word.end, end))
        for word in transcript.words
    )
    return replace(transcript, words=words)


def mark_uncertain(transcript: Transcript, options: TranscribeOptions) -> Transcript:
    """Call a detected language unknown if nothing vouches for it.

    Its probability is below MIN_CONFIDENCE, or the recording is not reliable.
    """
    code = transcript.language
    if not options.detects:
        return transcript
    if transcript.reliable is False:
        return replace(transcript, language=UNKNOWN)
    if transcript.language_probs.get(code, 1.0) >= MIN_CONFIDENCE:
        return transcript
    return replace(
        transcript,
        language=UNKNOWN,
        warnings=(
            *transcript.warnings,
            f"the language is not sure; the words are in '{code}'",
        ),
    )


def recognize_encoded(
    model: AVSRModel,
    recordings: Sequence[Recording],
    encoded: Encoded,
    languages: Sequence[str],
    options: TranscribeOptions,
) -> list[tuple[Transcript, float]]:
    """Search and write out encoded recordings, each in its language; with scores as above."""
    codes = model.config.languages
    indices = torch.tensor([codes.index(code) for code in languages], device="cpu")
    hypotheses = decode(model, encoded, indices, options)
    names_languages = model.names_languages
    results = []
    for i, (recording, best) in enumerate(zip(recordings, hypotheses, strict=True)):
        row = encoded.language_probs[i]
        length = recording.num_frames
        words = time_hypothesis(model, best, encoded.ctc_log_probs, i, length)
        certainty = None
        if model.has("classifier"):
            # A language that the caller named must also be likely among all.
            is_free = options.language == "auto"
            certainty = float(row.max() if is_free else encoded.unrestricted_probs[i, indices[i]])
        evidence = collect_evidence(
            best,
            words,
            None if encoded.ctc_log_probs is None else encoded.ctc_log_probs[i, :length],
            certainty,
        )
        transcript = _transcript(
            model,
            recording,
            best,
            words,
            dict(zip(codes, row.tolist(), strict=True)) if names_languages else {},
            languages[i] if names_languages or not options.detects else UNKNOWN,
            evidence,
        )
        results.append((transcript, best.attention_score / max(1, len(best.token_scores))))
    return results


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


def _transcript(
    model: AVSRModel,
    recording: Recording,
    best: Hypothesis,
    words: tuple[Word, ...],
    probs: dict[str, float],
    language: str,
    evidence: Mapping[str, float],
) -> Transcript:
    tokenizer, reliability = model.tokenizer, model.reliability
    assert tokenizer is not None
    verdict = Verdict(None)
    if reliability is not None:
        verdict = reliability.judge(evidence)
    return Transcript(
        file=recording.name,
        language=language,
        language_probs=probs,
        text=tokenizer.decode(best.tokens),
        modality=recording.modality,
        words=words,
        warnings=recording.warnings,
        duration=recording.duration,
        faces=recording.faces(),
        mouth=recording.track,
        reliable=verdict.reliable,
        reliability_reasons=verdict.reasons,
        advice=reliability.advice if reliability and verdict.reliable is False else "",
        doubt=verdict.doubt,
        evidence=evidence,
    )


@in_few_threads
@torch.inference_mode()
def extract_visual_features(model: "AVSRModel", mouth: object) -> Tensor:
    """Outputs (T, C) of the visual front end for mouth crops (T, 96, 96) uint8, on the CPU."""
    crops = normalize_mouth(fill_blank(torch.as_tensor(mouth, device="cpu")))
    return model.encoder.frontend(crops[None].to(model.device))[0].cpu()


def time_hypothesis(
    model: AVSRModel, hypothesis: Hypothesis, ctc_log_probs: Tensor | None, index: int, length: int
) -> tuple[Word, ...]:
    """Time the words of row ``index`` of a batch, of ``length`` frames; empty if unknown."""
    if ctc_log_probs is None:
        return ()
    spans = align(ctc_log_probs[index, :length], hypothesis.tokens, BLANK)
    assert model.tokenizer is not None
    return () if spans is None else time_words(model.tokenizer.pieces(hypothesis.tokens), spans)
