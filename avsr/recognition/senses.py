"""Whether a segment is read from sound, from lips or from both: what is most certain decides.

A segment is encoded from its sound, from its lips and from both; the visual front end runs once. A
model with a CTC head compares the letters that it reads in the three encodings before the search,
which then runs once, whatever is chosen. A model without one scores the hypothesis from both by the
decoder under the sound alone and, where that supports it less, under the lips alone; where these
disagree with both, it searches again from one of them.
The rule (``avsr.model.sense_rule``) looks at differences only, so that a model that has not been
calibrated can take that of the bundled model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from avsr.decoder import BLANK, EOS, PAD, AttentionDecoder
from avsr.encoder.frontend import shift_frames
from avsr.hub import ASSETS, BUNDLED, DEFAULT_MODEL
from avsr.model.network import AVSRModel
from avsr.model.reliability import read_reliability
from avsr.model.sense_rule import ALONE, SCORES, SenseRule, choose_by_letters
from avsr.recognition.av_agreement import lag_evidence
from avsr.recognition.encoding import Encoded, encode, extract_visual_features, join_encodings
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.recording import Recording
from avsr.recognition.threads import in_few_threads
from avsr.search import Hypothesis
from avsr.transcript import Modality

NO_LETTERS = -5.0  # clarity of an encoding in which CTC reads no letter at all
SUPPORTED = -0.1  # nats a token; what sound alone scores so high it would write itself
CONTRADICTION = -0.1  # nats a frame; an agreement below it is one that sound and lips do not have

CONTRADICT = "the lips contradict the sound"
UNCLEAR_LIPS = "the lips are not clear, the sound decides"
UNCLEAR_SOUND = "the sound is not clear, the lips decide"


@dataclass(frozen=True)
class Senses:
    """A recording encoded from its sound alone and from its lips alone."""

    audio: Encoded
    video: Encoded

    def letter_probs(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (T, V) of the letters of the sound and of the lips, by the CTC head."""
        return _letters(self.audio).exp().numpy(), _letters(self.video).exp().numpy()

    def shift(self, late: int) -> "Senses":
        """Undo a delay of the lips, as ``shift_frames`` does."""
        video, letters = self.video, self.video.ctc_log_probs
        features = shift_frames(video.output.features[0], late)[None]
        return replace(
            self,
            video=replace(
                video,
                output=video.output._replace(features=features),
                ctc_log_probs=None if letters is None else shift_frames(letters[0], late)[None],
            ),
        )


def encode_senses(model: AVSRModel, recording: Recording) -> Recording:
    """Encode the sound and the lips of a recording that has both, and set ``senses``, ``visual``.

    What is set already stays.
    """
    recording = _with_visual(model, recording)
    if recording.senses is not None:
        return recording
    sound = replace(recording, mouth=None, visual=None)
    lips = replace(recording, waveform=None)
    return replace(recording, senses=Senses(encode(model, [sound]), encode(model, [lips])))


def _with_visual(model: AVSRModel, recording: Recording) -> Recording:
    if recording.visual is not None:
        return recording
    return replace(recording, visual=extract_visual_features(model, recording.mouth))


def encoded_alone(recording: Recording, modality: Modality) -> Encoded:
    """The encoding of a recording, with ``senses``, from ``audio`` or from ``video`` alone."""
    assert recording.senses is not None
    return recording.senses.audio if modality == "audio" else recording.senses.video


@cache
def bundled_rule() -> SenseRule | None:
    """The rule for models that have none of their own."""
    reliability = read_reliability(ASSETS / BUNDLED[DEFAULT_MODEL])
    return None if reliability is None else reliability.senses


def find_rule(model: AVSRModel) -> SenseRule | None:
    """The rule of a model, or that of the bundled one."""
    own = None if model.reliability is None else model.reliability.senses
    return bundled_rule() if own is None else own


def encode_checked(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> tuple[list[Recording], Encoded]:
    """Encode recordings of one modality in one batch, each from what is most certain.

    Args:
        model: The network.
        recordings: Sound, lips or both.
        options: Language and check are used.

    Returns:
        The recordings, those that are to be read from one sense without the other and with the
        reason; and their encodings. A model without CTC head decides after the search, see
        ``search_rule``; then nothing has changed but ``visual``.
    """
    recordings = list(recordings)
    rule = find_rule(model) if options.check and recordings[0].modality == "av" else None
    if rule is None:
        return recordings, encode(model, recordings, options.language)
    if rule.letters is None or not model.has("ctc"):
        recordings = [_with_visual(model, recording) for recording in recordings]
        return recordings, encode(model, recordings, options.language)
    recordings = [encode_senses(model, recording) for recording in recordings]
    both = encode(model, recordings, options.language)
    choices: list[Modality] = []
    reasons = []
    for i, recording in enumerate(recordings):
        assert recording.senses is not None
        statistics = letter_statistics(recording.senses, both, i)
        choices.append(choose_by_letters(rule.letters, statistics))
        contradicts = statistics["agreement"] < CONTRADICTION
        reasons.append(CONTRADICT if contradicts else UNCLEAR_LIPS)
    return choose_senses(model, recordings, both, choices, reasons, options)


def choose_senses(
    model: AVSRModel,
    recordings: Sequence[Recording],
    both: Encoded,
    choices: Sequence[Modality],
    reasons: Sequence[str],
    options: TranscribeOptions,
) -> tuple[list[Recording], Encoded]:
    """Take the chosen encoding of each recording; the reasons are for those without lips."""
    if set(choices) == {"av"}:
        return list(recordings), both
    rows, chosen = [], []
    for i, (recording, choice, reason) in enumerate(zip(recordings, choices, reasons, strict=True)):
        if choice == "av":
            rows.append((both, i))
            chosen.append(recording)
            continue
        rows.append((encoded_alone(recording, choice), 0))
        if choice == "audio":
            chosen.append(replace(recording, mouth=None, visual=None, reason=reason))
        else:
            chosen.append(replace(recording, waveform=None, reason=UNCLEAR_SOUND))
    return chosen, join_encodings(model, rows, options.language)


def letter_statistics(senses: Senses, both: Encoded, row: int) -> dict[str, float]:
    """Compute the statistics ``LETTERS`` and ``CLARITY`` of one recording, with a CTC head.

    ``agreement``: how much likelier the letters of sound and lips are together than by chance, in
    nats a frame (see ``avsr.recognition.av_agreement``). ``sound_clarity``, ``lips_clarity``: mean
    natural-log probability of the letters that are read from one sense alone. ``sound_letters``:
    that of the sound, less that of the letters that are read from both.
    """
    sound, lips = clarity(_letters(senses.audio)), clarity(_letters(senses.video))
    return {
        "agreement": measure_agreement(*senses.letter_probs()),
        "sound_letters": sound - clarity(_letters(both, row)),
        "sound_clarity": sound,
        "lips_clarity": lips,
    }


def _letters(encoded: Encoded, row: int = 0) -> Tensor:
    """CTC log-probabilities (T, V) of one recording, on the CPU."""
    assert encoded.ctc_log_probs is not None
    return encoded.ctc_log_probs[row, : int(encoded.lengths[row])].float().cpu()


def measure_agreement(sound: np.ndarray, lips: np.ndarray) -> float:
    """Agreement of the letters of sound (T, V) and lips (T', V), in nats a frame."""
    evidence, both = lag_evidence(sound, lips, np.zeros(1, np.int64))
    return float(evidence.sum() / max(1, both.sum()))


def clarity(letters: Tensor) -> float:
    """Mean log-probability of the likeliest letter in the frames whose likeliest is not the blank.

    ``letters`` is (T, V).
    """
    best = letters.max(1)
    spoken = best.values[best.indices != BLANK]
    return float(spoken.mean()) if len(spoken) else NO_LETTERS


def search_rule(
    model: AVSRModel, recordings: Sequence[Recording], options: TranscribeOptions
) -> SenseRule | None:
    """The rule by which recordings are to be judged after the search; None if they are not."""
    if not options.check or any(recording.modality != "av" for recording in recordings):
        return None
    rule = find_rule(model)
    return None if rule is None or (rule.letters is not None and model.has("ctc")) else rule


def compare_scores(
    model: AVSRModel,
    recordings: Sequence[Recording],
    hypotheses: Sequence[Hypothesis],
    languages: Tensor,
) -> tuple[list[Recording], list[dict[str, float]]]:
    """Compute the statistics ``SCORES`` of recordings, and set their ``senses``.

    Lips are encoded only where sound alone does not support the hypothesis; elsewhere there is
    nothing to gain, and the statistics say that nothing differs. The arguments are those of
    ``score_statistics``.
    """
    sounds = [encode(model, [replace(r, mouth=None, visual=None)]) for r in recordings]
    joined = join_encodings(model, [(sound, 0) for sound in sounds])
    scores = score_tokens(model, joined, hypotheses, languages).tolist()
    result, statistics = [], []
    for i, (recording, hypothesis) in enumerate(zip(recordings, hypotheses, strict=True)):
        if not scores[i] - hypothesis.token_score < SUPPORTED:
            result.append(recording)
            statistics.append(dict.fromkeys(SCORES, 0.0))
            continue
        lips = encode(model, [replace(recording, waveform=None)])
        seen = float(score_tokens(model, lips, [hypothesis], languages[i : i + 1]))
        result.append(replace(recording, senses=Senses(sounds[i], lips)))
        differences = (score - hypothesis.token_score for score in (scores[i], seen))
        statistics.append(dict(zip(SCORES, differences, strict=True)))
    return result, statistics


def score_statistics(
    model: AVSRModel,
    recordings: Sequence[Recording],
    hypotheses: Sequence[Hypothesis],
    languages: Tensor,
) -> list[dict[str, float]]:
    """Compute the statistics ``SCORES`` of recordings.

    They are the mean natural-log probabilities of a token of the hypothesis from both senses, by
    the decoder, under sound alone and under lips alone, less the one under both.

    Args:
        model: The network.
        recordings: With ``senses``.
        hypotheses: Their hypotheses from both senses.
        languages: (B,) the model's indices.
    """
    alone = [
        score_tokens(
            model,
            join_encodings(model, [(encoded_alone(r, modality), 0) for r in recordings]),
            hypotheses,
            languages,
        )
        for modality in ALONE
    ]
    statistics = []
    for i, hypothesis in enumerate(hypotheses):
        own = hypothesis.token_score
        sound, lips = (float(scores[i]) - own if np.isfinite(own) else 0.0 for scores in alone)
        statistics.append({"sound_score": sound, "lips_score": lips})
    return statistics


@in_few_threads
@torch.inference_mode()
def score_tokens(
    model: AVSRModel, encoded: Encoded, hypotheses: Sequence[Hypothesis], languages: Tensor
) -> Tensor:
    """Mean natural-log probability (B,) of a token of each hypothesis, ``</s>`` included.

    By the decoder over all tokens at once.
    """
    device = model.device
    rows = [torch.tensor([*hypothesis.tokens, EOS], device=device) for hypothesis in hypotheses]
    targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    inputs = targets.roll(1, 1)
    inputs[:, 0] = EOS
    inputs[targets == PAD] = PAD
    output = encoded.output
    given = languages.to(device) if model.has("classifier") else None
    if isinstance(model.decoder, AttentionDecoder):
        logits = model.decoder(inputs, output.memory, output.memory_padding_mask, given)
        log_probs = logits.float().log_softmax(-1)
    else:  # in ONNX it runs token by token only
        state, steps = model.decoder.start(output.memory, output.memory_padding_mask, given), []
        for tokens in inputs.T:
            step, state = model.decoder.step(tokens, state)
            steps.append(step)
        log_probs = torch.stack(steps, 1)
    scores = log_probs.gather(2, targets[..., None])[..., 0]
    real = targets != PAD
    return ((scores * real).sum(1) / real.sum(1)).cpu()
