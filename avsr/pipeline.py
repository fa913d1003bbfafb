"""The flow of one recording: file -> frames and waveform -> mouth and filterbank -> transcript."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avsr import audio, face, media
from avsr.decoder import BLANK
from avsr.encoder import EncoderOutput, normalize_mouth
from avsr.errors import ConfigError, MediaError, ModelError
from avsr.languages import check_language
from avsr.model import AVSRModel, load_model
from avsr.progress import WRITING, Progress, counted, report, telling
from avsr.rates import CROP_SIZE, FBANK_DIM, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.search import Hypothesis, SearchOptions, align
from avsr.sync import in_step
from avsr.transcript import Modality, Transcript, Word, time_words

SILENCE_RMS = 1e-4  # -80 dB of full scale; below it a recording holds no sound
FEW_FACES = 0.8  # share of frames with a face below which the transcript says so
LENGTH_BONUS = 0.5  # nats a token, against a language model's liking for short texts
UNDETERMINED = "und"  # ISO 639-2's code of a language that nobody named
LONG_SECONDS = 20.0  # longer recordings are cut at pauses


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    """What a caller may choose for a transcription."""

    modality: Modality = "av"
    """What to use where it is there: sound and lips, sound only, lips only."""
    language: str = "auto"
    """Code of the spoken language, or ``auto`` for the classifier's choice."""
    beam_size: int = 5
    """Hypotheses kept by the search."""
    ctc_weight: float = 0.3
    """Share of CTC in the search's score, 0 to 1."""
    lm_weight: float = 0.4
    """Weight of the model's language model, if it has one, on top of the others."""
    sync: bool = True
    """Whether lips that run before or behind the sound are put right."""

    def __post_init__(self) -> None:
        if self.modality not in ("av", "audio", "video"):
            raise ConfigError(f"modality '{self.modality}' must be av, audio or video")
        self.search()

    def search(self, with_lm: bool = True) -> SearchOptions:
        """Options of the beam search; an empty transcript is allowed."""
        lm_weight = self.lm_weight if with_lm else 0.0
        return SearchOptions(
            beam_size=self.beam_size,
            ctc_weight=self.ctc_weight,
            lm_weight=lm_weight,
            length_bonus=LENGTH_BONUS if lm_weight else 0.0,
            min_len=0,
        )


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is known of a recording before the network sees it."""

    name: str
    """The recording as the caller named it."""
    waveform: np.ndarray | None
    """(S,) float32 in [-1, 1] at 16 kHz; None without usable sound."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz; None without usable lips."""
    visual: torch.Tensor | None = None
    """(T, C) outputs of the model's visual front end for ``mouth``, where they are known."""
    track: face.MouthTrack | None = None
    """Where the mouth comes from."""
    warnings: tuple[str, ...] = ()
    """What went otherwise than asked for."""

    @property
    def modality(self) -> Modality:
        """What there is to use."""
        if self.waveform is None:
            return "video"
        return "audio" if self.mouth is None else "av"

    @property
    def num_frames(self) -> int:
        """Length in video frames: of the lips if they are there, else of the sound."""
        if self.mouth is not None:
            return len(self.mouth)
        assert self.waveform is not None
        return max(1, -(-len(self.waveform) // SAMPLES_PER_FRAME))

    @property
    def duration(self) -> float:
        """Seconds."""
        if self.waveform is not None:
            return len(self.waveform) / SAMPLE_RATE
        return self.num_frames / FPS


def read_recording(path: str | os.PathLike[str], modality: Modality = "av") -> Recording:
    """Read sound and lips of a media file, falling back to the one that is there.

    Raises MediaError for a file that cannot be read or has neither.
    """
    path = Path(path)
    info = media.probe(path)
    notes: list[str] = []
    waveform = track = None
    modality = usable_modality(info, modality, notes)
    if modality != "video":
        waveform = _read_sound(path, info.has_audio, notes)
    if modality != "audio" or (waveform is None and info.has_video):
        track = _read_lips(path, info, notes)
        if track is None and waveform is None and modality == "video":
            waveform = _read_sound(path, info.has_audio, notes)
    if waveform is None and track is None:
        raise MediaError(f"{path}: nothing to transcribe: {'; '.join(dict.fromkeys(notes))}")
    if waveform is None and modality != "video":
        notes.append("the lips are read without sound")
    if track is None and modality != "audio":
        notes.append("the sound is transcribed without lips")
    return Recording(
        name=os.fspath(path),
        waveform=waveform,
        mouth=None if track is None else track.mouth,
        track=track,
        warnings=tuple(dict.fromkeys(notes)),
    )


def usable_modality(info: media.MediaInfo, asked: Modality, notes: list[str]) -> Modality:
    """What is asked for, or the sense that the file has instead; ``notes`` are told why."""
    if asked == "video" and not info.has_video:
        notes.append("there is no picture, so the sound is transcribed")
        return "audio"
    if asked == "audio" and not info.has_audio:
        notes.append("there is no sound track, so the lips are read")
        return "video"
    return asked


def _read_sound(path: Path, has_audio: bool, notes: list[str]) -> np.ndarray | None:
    if not has_audio:
        notes.append("there is no sound track")
        return None
    waveform = media.read_waveform(path, warn=notes.append)
    if audio.rms(waveform) < SILENCE_RMS:
        notes.append("the sound track is silent")
        return None
    return waveform


def _read_lips(path: Path, info: media.MediaInfo, notes: list[str]) -> face.MouthTrack | None:
    if not info.has_video:
        notes.append("there is no picture")
        return None
    track = face.track_mouth(counted(media.read_frames(path, warn=notes.append), info.duration))
    share = float(track.found.mean()) if len(track.found) else 0.0
    if share == 0.0:
        notes.append("no face was found in any frame")
        return None
    if share < FEW_FACES:
        notes.append(f"a face was found in {share:.0%} of the frames only")
    return track


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


@torch.inference_mode()
def encode(model: AVSRModel, recordings: Sequence[Recording]) -> Encoded:
    """Encode recordings of one modality in one batch."""
    if len({r.modality for r in recordings}) != 1:
        raise ValueError("a batch must be of one modality")
    fbank, mouth, visual, padding_mask = _batch(recordings, model.device)
    output = model.encode(fbank, mouth, padding_mask, visual=visual)
    return Encoded(
        output=output,
        ctc_log_probs=model.ctc_log_probs(output) if model.has("ctc") else None,
        language_probs=_language_probs(model, output),
        lengths=torch.tensor([r.num_frames for r in recordings], device=model.device),
    )


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
        options.search(with_lm=bool(model.language_models)),
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
    if options.language != "auto":
        check_language(options.language, languages)
    encoded = encode(model, recordings)
    told = [options.language] * len(recordings)
    if options.language == "auto":
        told = [languages[best] for best in encoded.language_probs.argmax(-1).tolist()]
    return recognize_encoded(model, recordings, encoded, told, options)


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
    log_probs = encoded.ctc_log_probs
    knows = model.names_languages
    return [
        (
            _transcript(
                model,
                recording,
                best,
                None if log_probs is None else log_probs[i, : recording.num_frames],
                dict(zip(codes, encoded.language_probs[i].tolist(), strict=True)) if knows else {},
                languages[i] if knows or options.language != "auto" else UNDETERMINED,
            ),
            best.attention_score / max(1, len(best.token_scores)),
        )
        for i, (recording, best) in enumerate(zip(recordings, found, strict=True))
    ]


def _language_probs(model: AVSRModel, encoded: EncoderOutput) -> torch.Tensor:
    """(B, languages) on the CPU; the same for every language where there is no classifier."""
    if model.has("classifier"):
        return model.language_logits(encoded).float().softmax(-1).cpu()
    number = len(model.config.languages)
    return torch.full((len(encoded.features), number), 1 / number)


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
            mouth[i, :length] = normalize_mouth(torch.from_numpy(recording.mouth))
    if len(set(lengths)) > 1:
        padding_mask = torch.arange(longest)[None] >= torch.tensor(lengths)[:, None]
    tensors = (fbank, mouth, visual, padding_mask)
    return tuple(None if t is None else t.to(device) for t in tensors)  # type: ignore[return-value]


def _transcript(
    model: AVSRModel,
    recording: Recording,
    best: Hypothesis,
    log_probs: torch.Tensor | None,
    probs: dict[str, float],
    language: str,
) -> Transcript:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    spans = None if log_probs is None else align(log_probs, best.tokens, BLANK)
    words: tuple[Word, ...] = ()
    if spans is not None:
        words = time_words(tokenizer.pieces(best.tokens), spans)
    return Transcript(
        file=recording.name,
        language=language,
        language_probs=probs,
        text=tokenizer.decode(best.tokens),
        modality=recording.modality,
        words=words,
        warnings=recording.warnings,
        duration=recording.duration,
        mouth=recording.track,
    )


def transcribe_file(
    model: AVSRModel, path: str | os.PathLike[str], options: TranscribeOptions
) -> Transcript:
    """Transcribe one media file; raise MediaError if it holds nothing to transcribe.

    A file of more than 20 s is cut at pauses and transcribed part by part.
    """
    if options.language != "auto":
        check_language(options.language, model.config.languages)
    if media.probe(Path(path)).duration > LONG_SECONDS:
        from avsr.longform import transcribe_long

        return transcribe_long(model, path, options)
    recording = read_recording(path, options.modality)
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
    )
    with telling(progress):
        return transcribe_file(network, path, options)


def detect_language(
    path: str | os.PathLike[str],
    *,
    model: AVSRModel | str | os.PathLike[str] | None = None,
    modality: Modality = "av",
) -> dict[str, float]:
    """Probability of each language code in a media file, the most likely first.

    Raises ModelError for a model that does not tell languages apart.
    """
    network = model if isinstance(model, AVSRModel) else load_model(model)
    return language_probabilities(network, read_recording(path, modality))


def language_probabilities(model: AVSRModel, recording: Recording) -> dict[str, float]:
    """Probability of each language code in a recording, the most likely first.

    Raises ModelError for a model that does not tell languages apart.
    """
    if not model.has("classifier"):
        raise ModelError("the model has no language classifier: take another, or say the language")
    probs = encode(model, [recording]).language_probs[0].tolist()
    pairs = zip(model.config.languages, probs, strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
