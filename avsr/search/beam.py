"""Next-token log-probabilities -> n-best hypotheses: batched joint CTC/attention beam search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avsr.errors import ConfigError
from avsr.search.attention_scorer import AttentionScorer, StateT, Step
from avsr.search.constraints import Constraints
from avsr.search.ctc_prefix import CtcPrefixes
from avsr.search.ngram import NgramModel, NgramPrefixes
from avsr.search.options import SearchOptions
from avsr.search.scorer import NEG_INF, WeightedScorer
from avsr.search.stopping import should_stop

CTC, LM = "ctc", "lm"  # names of the scorers that the search starts itself


@dataclass(frozen=True)
class Hypothesis:
    """A finished hypothesis. All scores are natural-log probabilities."""

    tokens: tuple[int, ...]
    """Token ids without sos and eos."""
    score: float
    """What hypotheses are ranked by, see SearchOptions; -inf if nothing could be finished."""
    attention_score: float
    """Sum of ``token_scores``."""
    token_scores: tuple[float, ...]
    """Attention score of each token and, last, of eos."""
    scores: Mapping[str, float]
    """Score of these tokens by every other scorer, by its name."""

    @property
    def token_score(self) -> float:
        """Mean of ``token_scores``."""
        return self.attention_score / max(1, len(self.token_scores))

    @property
    def ctc_score(self) -> float | None:
        """CTC score of exactly these tokens; None if the search used no CTC."""
        return self.scores.get(CTC)

    @property
    def lm_score(self) -> float | None:
        """Language model's score of these tokens and eos; None if the search used none."""
        return self.scores.get(LM)


@dataclass(frozen=True)
class _Beams:
    """R unfinished hypotheses of each of the U utterances in the batch, the best one first.

    Hypothesis r of utterance u is row ``u * R + r`` of every scorer.
    """

    utterance: Tensor
    """(U,) index of the utterance."""
    tokens: Tensor
    """(U, R, L) without sos."""
    alive: Tensor
    """(U, R) bool; False for a hypothesis that only fills the beam."""
    decoder: AttentionScorer[Any]
    scorers: tuple[WeightedScorer, ...]
    """All scorers but the decoder."""


@dataclass(frozen=True)
class _Candidates:
    """The K best extensions of each utterance's beams, best first; every tensor is (U, K)."""

    scores: Tensor
    """float64 weighted sums, which unfinished hypotheses are ranked by."""
    parents: Tensor
    """Index of the beam that is extended, 0 to R - 1."""
    tokens: Tensor
    ends: Tensor
    """bool, whether the token is eos."""


@torch.no_grad()
def beam_search(
    step: Step[StateT],
    state: StateT,
    *,
    sos: int,
    eos: int,
    pad: int,
    max_lengths: Tensor,
    options: SearchOptions,
    ctc_log_probs: Tensor | None = None,
    ctc_lengths: Tensor | None = None,
    blank: int = 0,
    language_models: Sequence[NgramModel | None] | None = None,
    scorers: Sequence[WeightedScorer] = (),
    unk: int | None = None,
    prefix_tokens: Sequence[Sequence[int]] | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[list[Hypothesis]]:
    """Search for the most likely token sequences of B utterances.

    In every step the beams of an utterance are extended by every token. Of the best 2 * beam
    extensions, those that are eos and among the first ``beam`` finish, and the first ``beam``
    others go on, until ``should_stop``. Utterances that are done leave the batch from time to time.

    Args:
        step: Decoder: (last tokens (N,), state) -> (log-probabilities (N, V), state).
        state: The decoder's state before the first token, one row per utterance. Later the rows of
            an utterance are always neighbours.
        sos: Id of the token that the decoder starts with.
        eos: Id of the token that ends a hypothesis.
        pad: Id of the padding token, which no hypothesis contains.
        max_lengths: (B,) most tokens, eos not counted, on the decoder's device.
        options: Beam size, weights, constraints.
        ctc_log_probs: (B, T, C) natural-log probabilities, needed if ``options.ctc_weight`` is
            above 0. Column v is token v; C may exceed V.
        ctc_lengths: (B,) frames of each utterance; None: all T.
        blank: Column of the CTC blank, which no hypothesis contains.
        language_models: One for each utterance, or None; used if ``options.lm_weight`` is above 0.
        scorers: More scorers, each with one empty hypothesis per utterance.
        unk: Id of the unknown token, needed for ``options.unk_penalty``.
        prefix_tokens: Tokens that the hypotheses of each utterance start with, cut to its most
            tokens.
        on_step: Called once per step; what it raises ends the search.

    Returns:
        The ``options.nbest`` best hypotheses of each utterance, best first. There is at least one:
        an empty hypothesis of score -inf where nothing could be finished.

    Raises:
        ConfigError: Something that an option needs is missing, or a prefix contains eos, pad or the
            blank, or two scorers have one name.
    """
    limits = [int(limit) for limit in max_lengths.tolist()]
    if not limits:
        return []
    started, device = list[WeightedScorer](), max_lengths.device
    if options.ctc_weight > 0:
        if ctc_log_probs is None:
            raise ConfigError("search: ctc_weight above 0 needs CTC scores; set ctc_weight to 0")
        prefixes = CtcPrefixes.start(ctc_log_probs, ctc_lengths, blank)
        candidates = options.ctc_candidates
        started.append(WeightedScorer(CTC, prefixes, options.ctc_weight, candidates))
        device = ctc_log_probs.device
    forbidden_tokens = {eos, pad} if options.ctc_weight == 0 else {eos, pad, blank}
    constraints = Constraints.create(options, unk, prefix_tokens, limits, forbidden_tokens, device)
    first_tokens = torch.full((len(limits),), sos, device=device)
    decoder = _start_decoder(step, state, first_tokens, constraints, eos, pad)
    if language_models is not None and options.lm_weight > 0:
        ngrams = NgramPrefixes.start(language_models, decoder.vocabulary_size, eos, device)
        started.append(WeightedScorer(LM, ngrams, options.lm_weight))
    beams = _Beams(
        utterance=torch.arange(len(limits), device=device),
        tokens=torch.empty(len(limits), 1, 0, dtype=torch.int64, device=device),
        alive=torch.ones(len(limits), 1, dtype=torch.bool, device=device),
        decoder=decoder,
        scorers=(*started, *scorers),
    )
    names = [weighted.name for weighted in beams.scorers]
    if len(set(names)) < len(names):
        raise ConfigError(f"search: the scorers {', '.join(names)} need different names")
    finished = _run(beams, limits, options, on_step)
    empty = Hypothesis((), NEG_INF, NEG_INF, (NEG_INF,), dict.fromkeys(names, NEG_INF))
    return [
        sorted(hypotheses or [empty], key=lambda h: h.score, reverse=True)[: options.nbest]
        for hypotheses in finished
    ]


def _start_decoder(
    step: Step[StateT],
    state: StateT,
    first_tokens: Tensor,
    constraints: Constraints | None,
    eos: int,
    pad: int,
) -> AttentionScorer[Any]:
    """Run the decoder's first step, under the constraints."""
    if constraints is None:
        return AttentionScorer.start(step, state, first_tokens, eos, pad)
    constrained = constraints.constrain(step)
    return AttentionScorer.start(constrained, constraints.start(state), first_tokens, eos, pad)


def _run(
    beams: _Beams,
    limits: Sequence[int],
    options: SearchOptions,
    on_step: Callable[[], None] | None,
) -> list[list[Hypothesis]]:
    """Extend the beams until every utterance stops; its finished hypotheses in no order."""
    finished: list[list[Hypothesis]] = [[] for _ in limits]
    done = [False] * len(limits)
    device = beams.utterance.device
    max_lengths = torch.tensor(limits, device=device)
    beam = min(options.beam_size, beams.decoder.vocabulary_size - 1)
    for length in range(max(limits) + 1):
        if on_step is not None:
            on_step()
        at_limit = max_lengths[beams.utterance] <= length
        candidates = _extend(beams, at_limit, beam, options)
        order, scores = _select_unfinished(candidates, beam)
        utterances = beams.utterance.tolist()
        for row, hypothesis in _finish(beams, candidates, beam, options):
            hypotheses = finished[utterances[row]]
            if options.patient or len(hypotheses) < beam:
                hypotheses.append(hypothesis)
            if len(hypotheses) > beam:
                hypotheses.remove(min(hypotheses, key=lambda h: h.score))
        best_scores = torch.stack([scores[:, 0], candidates.scores[:, 0]], 1).tolist()
        for utterance, (best, extension) in zip(utterances, best_scores, strict=True):
            final = [hypothesis.score for hypothesis in finished[utterance]]
            stops = should_stop(final, best, extension, length, limits[utterance], beam, options)
            done[utterance] = done[utterance] or stops
        active = [i for i, utterance in enumerate(utterances) if not done[utterance]]
        if not active:
            break
        # To leave the batch costs copies of what stays, so it waits until half of it is idle.
        stays = active if 2 * len(active) <= len(utterances) else range(len(utterances))
        beams = _advance(beams, candidates, order, scores, torch.tensor(stays, device=device))
    return finished


def _extend(beams: _Beams, at_limit: Tensor, beam: int, options: SearchOptions) -> _Candidates:
    """The best extensions; ``at_limit`` (U,): only eos may follow."""
    num_utterances, num_beams, length = beams.tokens.shape
    tokens = beams.decoder.propose(max([2 * beam, *(w.num_candidates for w in beams.scorers)]))
    scores = _sum_scores(beams, tokens, options)
    tokens = torch.cat([tokens, torch.full_like(tokens[:, :1], beams.decoder.eos)], 1)
    num_tokens = tokens.shape[1]

    last = torch.arange(num_tokens, device=tokens.device) == num_tokens - 1
    forbidden = at_limit[:, None] & ~last
    if length < options.min_len:
        forbidden = forbidden | (~at_limit[:, None] & last)
    scores = scores.view(num_utterances, num_beams, num_tokens)
    scores = scores.masked_fill(forbidden[:, None] | ~beams.alive[..., None], NEG_INF)

    scores, flat = scores.flatten(1).topk(min(2 * beam, num_beams * num_tokens))
    return _Candidates(
        scores=scores,
        parents=flat // num_tokens,
        tokens=tokens.view(num_utterances, -1).gather(1, flat),
        ends=flat % num_tokens == num_tokens - 1,
    )


def _sum_scores(beams: _Beams, tokens: Tensor, options: SearchOptions) -> Tensor:
    """Weighted sums of all scorers: ``tokens`` (N, K) -> (N, K + 1), the last column with eos.

    -inf where any scorer says so, even one of weight 0.
    """
    decoder = WeightedScorer("attention", beams.decoder, 1 - options.ctc_weight)
    total = torch.zeros((), dtype=torch.float64, device=tokens.device)
    ruled_out = torch.zeros((), dtype=torch.bool, device=tokens.device)
    for weighted in (decoder, *beams.scorers):
        scorer = weighted.scorer
        scores = torch.cat([scorer.scores(tokens), scorer.ends()[:, None]], 1)
        ruled_out = ruled_out | (scores == NEG_INF)
        # Clamped, because 0 * -inf would be NaN.
        total = total + weighted.weight * scores.clamp(min=torch.finfo(scores.dtype).min)
    return total.masked_fill(ruled_out, NEG_INF)


def _select_unfinished(candidates: _Candidates, beam: int) -> tuple[Tensor, Tensor]:
    """Columns (U, beam) of the first candidates other than eos, and their scores.

    Where there are too few, eos fills up with a score of -inf.
    """
    rank = torch.arange(candidates.ends.shape[1], device=candidates.ends.device)
    order = (candidates.ends * len(rank) + rank).argsort(1)[:, :beam]
    scores = candidates.scores.gather(1, order)
    return order, scores.masked_fill(candidates.ends.gather(1, order), NEG_INF)


def _finish(
    beams: _Beams, candidates: _Candidates, beam: int, options: SearchOptions
) -> list[tuple[int, Hypothesis]]:
    """The candidates that end, best first, each with the row of its utterance in the batch."""
    ended = (candidates.ends & (candidates.scores > NEG_INF))[:, :beam].nonzero(as_tuple=True)
    if not len(ended[0]):
        return []
    parents = candidates.parents[ended]
    rows = ended[0] * beams.tokens.shape[1] + parents
    length = beams.tokens.shape[2] + 1
    names = [weighted.name for weighted in beams.scorers]
    by_scorer = [weighted.scorer.ends()[rows].tolist() for weighted in beams.scorers]
    hypotheses = []
    for i, (tokens, token_scores, score) in enumerate(
        zip(
            beams.tokens[ended[0], parents].tolist(),
            beams.decoder.finished_token_scores(rows).tolist(),
            candidates.scores[ended].tolist(),
            strict=True,
        )
    ):
        hypotheses.append(
            Hypothesis(
                tokens=tuple(tokens),
                score=score / length**options.length_penalty + options.length_bonus * length,
                attention_score=sum(token_scores),
                token_scores=tuple(token_scores),
                scores={name: scores[i] for name, scores in zip(names, by_scorer, strict=True)},
            )
        )
    return list(zip(ended[0].tolist(), hypotheses, strict=True))


def _advance(
    beams: _Beams, candidates: _Candidates, order: Tensor, scores: Tensor, stays: Tensor
) -> _Beams:
    """Make the candidates ``order`` (U, beam) of the utterances ``stays`` (U',) the next beams."""
    num_beams = beams.tokens.shape[1]
    parents = candidates.parents[stays].gather(1, order[stays])
    tokens = candidates.tokens[stays].gather(1, order[stays])
    rows, last_tokens = (stays[:, None] * num_beams + parents).flatten(), tokens.flatten()
    return _Beams(
        utterance=beams.utterance[stays],
        tokens=torch.cat([beams.tokens[stays[:, None], parents], tokens[..., None]], 2),
        alive=scores[stays] > NEG_INF,
        decoder=beams.decoder.extend(rows, last_tokens),
        scorers=tuple(weighted.extend(rows, last_tokens) for weighted in beams.scorers),
    )
