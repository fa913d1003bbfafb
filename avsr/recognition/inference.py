"""One batch of recordings through the network: encodings, hypotheses, transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from avsr.decoder.tokenizer import BLANK
from avsr.language import MIN_CONFIDENCE, UNKNOWN
from avsr.model.network import AVSRModel
from avsr.model.reliability import Verdict
from avsr.recognition.assembly import name_left_out
from avsr.recognition.encoding import Encoded, join_encodings
from avsr.recognition.evidence import collect_evidence
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import Recording
from avsr.recognition.senses import (
    UNCLEAR_LIPS,
    choose_senses,
    compare_scores,
    encode_checked,
    encoded_alone,
    search_rule,
)
from avsr.recognition.threads import in_few_threads
from avsr.search import Hypothesis
from avsr.search.alignment import align
from avsr.transcript import Transcript, Word
from avsr.transcript.words import time_words


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


def search_checked(
    model: AVSRModel,
    recordings: Sequence[Recording],
    encoded: Encoded,
    languages: torch.Tensor,
    options: TranscribeOptions,
) -> tuple[Sequence[Recording], Encoded, list[Hypothesis]]:
    """Search the best hypothesis of each recording; arguments as for ``decode``.

    Where a model without CTC head then doubts that it should read both, it searches again from
    sound or from lips alone, and keeps what is likelier under its own encoding. The recordings and
    encodings are those of the hypotheses.
    """
    hypotheses = decode(model, encoded, languages, options)
    rule = search_rule(model, recordings, options)
    if rule is None:
        return recordings, encoded, hypotheses
    recordings, statistics = compare_scores(model, recordings, hypotheses, languages)
    choices = [
        "av" if recording.senses is None else rule.scores.choose(row)
        for recording, row in zip(recordings, statistics, strict=True)
    ]
    alone = [i for i, choice in enumerate(choices) if choice != "av"]
    if alone:
        part = join_encodings(model, [(encoded_alone(recordings[i], choices[i]), 0) for i in alone])
        again = decode(model, part, languages[alone], options)
        for i, hypothesis in zip(alone, again, strict=True):
            if hypothesis.token_score > hypotheses[i].token_score:
                hypotheses[i] = hypothesis
            else:
                choices[i] = "av"
    reasons = [UNCLEAR_LIPS] * len(choices)
    recordings, encoded = choose_senses(model, recordings, encoded, choices, reasons, options)
    return recordings, encoded, hypotheses


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
    recordings, encoded = encode_checked(model, recordings, options)
    codes = [options.language] * len(recordings)
    if options.detects:
        codes = [languages[best] for best in encoded.language_probs.argmax(-1).tolist()]
    results = []
    for transcript, score in recognize_encoded(model, recordings, encoded, codes, options):
        notes = (*transcript.warnings, *name_left_out([transcript], is_whole=True))
        transcript = replace(end_words(transcript), warnings=notes)
        results.append((mark_uncertain(transcript, options), score))
    return results


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
    recordings, encoded, hypotheses = search_checked(model, recordings, encoded, indices, options)
    names_languages = model.names_languages
    results = []
    for i, (recording, best) in enumerate(zip(recordings, hypotheses, strict=True)):
        row = encoded.language_probs[i]
        length = int(encoded.lengths[i])
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
        results.append((transcript, best.token_score))
    return results


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
        modality_reason=recording.reason,
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


def time_hypothesis(
    model: AVSRModel, hypothesis: Hypothesis, ctc_log_probs: Tensor | None, index: int, length: int
) -> tuple[Word, ...]:
    """Time the words of row ``index`` of a batch, of ``length`` frames; empty if unknown."""
    if ctc_log_probs is None:
        return ()
    spans = align(ctc_log_probs[index, :length], hypothesis.tokens, BLANK)
    assert model.tokenizer is not None
    return () if spans is None else time_words(model.tokenizer.pieces(hypothesis.tokens), spans)
