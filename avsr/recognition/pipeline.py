"""The flow of one recording: file -> frames and waveform -> mouth and filterbank -> transcript."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avsr import audio, media
from avsr.encoder import EncoderOutput, fill_blank, normalize_mouth
from avsr.errors import ConfigError
from avsr.language import SURE, UNKNOWN, probabilities
from avsr.languages import check_language_option, check_languages
from avsr.model.network import AVSRModel, load_model
from avsr.rates import CROP_SIZE, FBANK_DIM
from avsr.recognition.lip_sync import in_step
from avsr.recognition.recording import Recording, check_face, read_recording
from avsr.recognition.threads import in_few_threads
from avsr.runtime.progress import WRITING, Progress, report, telling
from avsr.search import Hypothesis, SearchOptions
from avsr.transcript import Modality, Transcript, Word

LENGTH_BONUS = 0.5  # nats a token, against a language model's liking for short texts
LONG_SECONDS = 20.0  # longer recordings are cut at pauses


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    """What a caller may choose for a transcription."""

    modality: Modality = "av"
    """What to use where it is there: sound and lips, sound only, lips only."""
    language: str = "auto"
    """Code of the spoken language, codes with commas between for the classifier's choice among
    these, or ``auto`` for its choice."""
    beam_size: int = 5
    """Hypotheses kept by the search."""
    ctc_weight: float = 0.3
    """Share of CTC in the search's score, 0 to 1."""
    lm_weight: float = 0.4
    """Weight of the model's language model, if it has one, on top of the others."""
    sync: bool = True
    """Whether lips that run before or behind the sound are put right."""
    face: str = "auto"
    """Whose lips are read: ``auto`` for the one that speaks, ``largest``, ``left`` or ``right`` in
    the picture, the number of a face, or ``every`` for segments of each face."""

    def __post_init__(self) -> None:
        if self.modality not in ("av", "audio", "video"):
            raise ConfigError(f"modality '{self.modality}' must be av, audio or video")
        check_face(self.face, self.modality)
        self.search()

    @property
    def detects(self) -> bool:
        """Whether the language is to be found out."""
        return self.language == "auto" or "," in self.language

    def search(self, with_lm: bool = True, with_ctc: bool = True) -> SearchOptions:
        """Options of the beam search; an empty transcript is allowed."""
        return SearchOptions(
            beam_size=self.beam_size,
            ctc_weight=self.ctc_weight,
            lm_weight=self.lm_weight if with_lm else 0.0,
            length_penalty=0.0 if with_ctc else 1.0,  # without CTC sums are best for short texts
            length_bonus=LENGTH_BONUS if with_lm and self.lm_weight else 0.0,
            min_len=0,
        )


@dataclass(frozen=True)
class Encoded:
    """What the network says of a batch of recordings before anything is searched."""

    output: EncoderOutput
    ctc_log_probs: torch.Tensor | None
    """(B, T, V); None for a model without CTC head."""
    language_probs: torch.Tensor
    """(B, languages), on the CPU; all the same for a model without classifier."""
    lengths: torch.Tensor
    """(B,) frames."""


@in_few_threads
@torch.inference_mode()
def encode(model: AVSRModel, recordings: Sequence[Recording], language: str = "auto") -> Encoded:
    """Encode recordings of one modality in one batch; ``language`` as in TranscribeOptions."""
    if len({r.modality for r in recordings}) != 1:
        raise ValueError("a batch must be of one modality")
    fbank, mouth, visual, padding_mask = _batch(recordings, model.device)
    output = model.encode(fbank, mouth, padding_mask, visual=visual)
    return Encoded(
        output=output,
        ctc_log_probs=model.ctc_log_probs(output) if model.has("ctc") else None,
        language_probs=_language_probs(model, output, language),
        lengths=torch.tensor([r.num_frames for r in recordings], device=model.device),
    )


@in_few_threads
@torch.inference_mode()
def decode(
    model: AVSRModel, encoded: Encoded, languages: torch.Tensor, options: TranscribeOptions
) -> list[Hypothesis]:
    """The best hypothesis of each recording, in the ``languages`` (B,) of the model's order."""
    found = model.decode(
        encoded.output,
        languages.to(model.device),
        encoded.lengths,
        encoded.ctc_log_probs,
        options.search(bool(model.language_models), model.has("ctc")),
    )
    return [hypotheses[0] for hypotheses in found]


def recognize(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> list[Transcript]:
    """Transcribe recordings of one modality in one batch."""
    return [transcript for transcript, _ in recognize_scored(model, recordings, options)]


@torch.inference_mode()
def recognize_scored(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> list[tuple[Transcript, float]]:
    """Like ``recognize``, each transcript with the decoder's mean natural-log probability of its
    tokens.
    """
    languages = model.config.languages
    check_language_option(options.language, languages)
    encoded = encode(model, recordings, options.language)
    told = [options.language] * len(recordings)
    if options.detects:
        told = [languages[best] for best in encoded.language_probs.argmax(-1).tolist()]
    found = recognize_encoded(model, recordings, encoded, told, options)
    return [(admit_doubt(transcript, options), score) for transcript, score in found]


def admit_doubt(transcript: Transcript, options: TranscribeOptions) -> Transcript:
    """Call the language unknown where it was found out and is not likely enough."""
    code = transcript.language
    if not options.detects or transcript.language_probs.get(code, 1.0) >= SURE:
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
    """Transcribe what was encoded, each recording in its language of ``languages``; with scores."""
    codes = model.config.languages
    chosen = torch.tensor([codes.index(code) for code in languages])
    found = decode(model, encoded, chosen, options)
    knows = model.names_languages
    return [
        (
            _transcript(
                model,
                recording,
                best,
                model.time_words(best, encoded.ctc_log_probs, i, recording.num_frames),
                dict(zip(codes, encoded.language_probs[i].tolist(), strict=True)) if knows else {},
                languages[i] if knows or not options.detects else UNKNOWN,
            ),
            best.attention_score / max(1, len(best.token_scores)),
        )
        for i, (recording, best) in enumerate(zip(recordings, found, strict=True))
    ]


def _language_probs(model: AVSRModel, encoded: EncoderOutput, language: str) -> torch.Tensor:
    """(B, languages) on the CPU; the same for every language where there is no classifier."""
    known = model.config.languages
    if not model.has("classifier"):
        return torch.full((len(encoded.features), len(known)), 1 / len(known))
    allowed = (
        [known.index(c) for c in check_languages(language, known)] if "," in language else None
    )
    logits = model.language_logits(encoded)
    return probabilities(logits, model.config.language_temperature, allowed).cpu()


def _batch(
    recordings: Sequence[Recording], device: torch.device
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Filterbank, mouths or outputs of the visual front end, padding mask; None: not there."""
    lengths = [r.num_frames for r in recordings]
    longest = max(lengths)
    fbank = mouth = visual = padding_mask = None
    if recordings[0].waveform is not None:
        fbank = torch.zeros(len(recordings), longest, FBANK_DIM)
    seen = [r.visual for r in recordings if r.visual is not None]
    if len(seen) == len(recordings):
        visual = torch.nn.utils.rnn.pad_sequence(seen, batch_first=True)
    elif recordings[0].mouth is not None:
        mouth = torch.zeros(len(recordings), longest, CROP_SIZE, CROP_SIZE)
    for i, (recording, length) in enumerate(zip(recordings, lengths, strict=True)):
        if fbank is not None and recording.waveform is not None:
            features = audio.audio_features(recording.waveform, length)
            fbank[i, :length] = torch.from_numpy(features)
        if mouth is not None and recording.mouth is not None:
            mouth[i, :length] = normalize_mouth(fill_blank(torch.from_numpy(recording.mouth)))
    if len(set(lengths)) > 1:
        padding_mask = torch.arange(longest)[None] >= torch.tensor(lengths)[:, None]
    tensors = (fbank, mouth, visual, padding_mask)
    return tuple(None if t is None else t.to(device) for t in tensors)  # type: ignore[return-value]


def _transcript(
    model: AVSRModel,
    recording: Recording,
    best: Hypothesis,
    words: tuple[Word, ...],
    probs: dict[str, float],
    language: str,
) -> Transcript:
    tokenizer = model.tokenizer
    assert tokenizer is not None
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
    )


def is_long(model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions) -> bool:
    """Whether a file is transcribed part by part. Raises MediaError if it cannot be read."""
    longest = model.config.segment_seconds
    return options.face == "every" or media.probe(Path(path)).duration > longest


def transcribe_file(
    model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions
) -> Transcript:
    """Transcribe one media file; raise MediaError if it holds nothing to transcribe.

    A file that lasts longer than the model's segments is cut at pauses and transcribed part by
    part, and so is any file for every face in it.
    """
    check_language_option(options.language, model.config.languages)
    if is_long(model, path, options):
        from avsr.recognition.longform import transcribe_long

        return transcribe_long(model, path, options)
    recording = read_recording(path, options.modality, options.face, model)
    report(recording.duration, recording.duration, WRITING)
    if options.sync:
        recording = in_step(model, recording)
    return recognize(model, [recording], options)[0]


def transcribe(
    path: str | os.PathLike[str],
    *,
    model: AVSRModel | str | os.PathLike[str] | None = None,
    modality: Modality = "av",
    language: str = "auto",
    beam_size: int = 5,
    ctc_weight: float = 0.3,
    lm_weight: float = 0.4,
    sync: bool = True,
    face: str = "auto",
    progress: Progress | None = None,
) -> Transcript:
    """Transcribe one media file with ``model`` (loaded, or its name; default: the bundled one).

    ``progress`` is told seconds done and in all, and the stage; what it raises stops the work.
    """
    network = model if isinstance(model, AVSRModel) else load_model(model)
    options = TranscribeOptions(
        modality=modality,
        language=language,
        beam_size=beam_size,
        ctc_weight=ctc_weight,
        lm_weight=lm_weight,
        sync=sync,
        face=face,
    )
    with telling(progress):
        return transcribe_file(network, path, options)
