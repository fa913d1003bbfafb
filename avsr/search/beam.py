"""Next-token log-probabilities -> n-best hypotheses: batched joint CTC/attention beam search."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from avsr.errors import ConfigError
from avsr.runtime.progress import check_cancelled
from avsr.search.constraints import NEG_INF, Constraints
from avsr.search.ctc_prefix import CtcPrefixes
from avsr.search.ngram import NgramModel, NgramPrefixes
from avsr.search.options import SearchOptions


class State(Protocol):
    """What a decoder remembers of N hypotheses."""

    def select(self, rows: Tensor) -> Self:
        """The state of hypotheses ``rows`` (N',), in that order; rows may repeat or vanish."""


StateT = TypeVar("StateT", bound=State)
Step = Callable[[Tensor, StateT], tuple[Tensor, StateT]]
"""(last tokens (N,), state) -> (natural-log probabilities of the next token (N, V), state)."""


@dataclass(frozen=True)
class Hypothesis:
    """A finished hypothesis. All scores are natural-log probabilities."""

    tokens: tuple[int, ...]
    """Token ids without sos and eos."""
    score: float
    """What hypotheses are ranked by, see SearchOptions; -inf if nothing could be finished."""
    attention_score: float
    """Sum of ``token_scores``."""
    ctc_score: float | None
    """CTC score of exactly these tokens; None where CTC took no part."""
    lm_score: float | None
    """Language model's score of these tokens and eos; None where it took no part."""
    token_scores: tuple[float, ...]
    """Attention score of each token and, last, of eos."""


@dataclass(frozen=True)
class _Beams:
    """R unfinished hypotheses of each of the U utterances in the batch, the best one first."""

    utterance: Tensor
    """(U,) number of the utterance."""
    tokens: Tensor
    """(U, R, L) without sos."""
    token_scores: Tensor
    """(U, R, L) float64, by attention; -inf in the last place of a dead hypothesis."""


@dataclass(frozen=True)
class _Candidates:
    """The K best extensions of each utterance's beams, best first; every tensor is (U, K)."""

    scores: Tensor
    """float64, what unfinished hypotheses are ranked by."""
    parents: Tensor
    """The beam that is extended, in 0 .. R - 1."""
    tokens: Tensor
    token_scores: Tensor
    ctc_scores: Tensor | None
    lm_scores: Tensor | None
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
    unk: int | None = None,
    beginnings: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """The ``options.nbest`` best hypotheses of B utterances, best first; at least one each.

    ``state`` starts with one row per utterance; later the rows of an utterance stay together, and
    an utterance that is done leaves the batch at some time. ``max_lengths`` (B,), on the decoder's
    device: most tokens, after which eos is forced. ``ctc_log_probs`` (B, T, C) with ``ctc_lengths``
    (B,) frames (None: all T) are needed if ``options.ctc_weight`` is above 0: column v is token v,
    column ``blank`` the blank, which no hypothesis contains; C may exceed V. ``language_models``,
    one or None for each utterance, take part if ``options.lm_weight`` is above 0. ``unk`` is the
    unknown token, for ``options.unk_penalty``. ``beginnings`` are tokens, for each utterance, that
    its hypotheses begin with.

    The beams of an utterance are extended by every token; of the best 2 * beam extensions those
    that are eos and among the first ``beam`` finish, the first ``beam`` others go on. An utterance
    is done when ``beam`` hypotheses have finished or nothing unfinished can enter the n-best.
    """
    limits = [int(limit) for limit in max_lengths.tolist()]
    finished: list[list[Hypothesis]] = [[] for _ in limits]
    if not limits:
        return finished
    prefixes, ngrams, device = None, None, max_lengths.device
    if options.ctc_weight > 0:
        if ctc_log_probs is None:
            raise ConfigError("search: ctc_weight above 0 needs CTC scores; set ctc_weight to 0")
        prefixes, device = (
            CtcPrefixes.start(ctc_log_probs, ctc_lengths, blank),
            ctc_log_probs.device,
        )
    beams = _Beams(
        utterance=torch.arange(len(limits), device=device),
        tokens=torch.empty(len(limits), 1, 0, dtype=torch.int64, device=device),
        token_scores=torch.empty(len(limits), 1, 0, dtype=torch.float64, device=device),
    )
    last_tokens = torch.full((len(limits),), sos, device=device)
    never = [eos, pad] if prefixes is None else [eos, pad, blank]
    constraints = Constraints.start(options, unk, beginnings, limits, never, last_tokens.device)
    max_lengths = max_lengths.to(device)
    done = [False] * len(limits)
    for length in range(max(limits) + 1):
        check_cancelled()
        log_probs, state = step(last_tokens, state)
        if constraints is not None:
            log_probs = constraints.apply(log_probs, beams.tokens, beams.utterance)
        if length == 0 and language_models is not None and options.lm_weight > 0:
            ngrams = NgramPrefixes.start(language_models, log_probs.shape[1], device)
        beam = min(options.beam_size, log_probs.shape[1] - 1)
        forced = max_lengths[beams.utterance] <= length
        candidates = _extend(beams, prefixes, ngrams, log_probs, forced, beam, eos, pad, options)
        order, scores = _continuing(candidates, beam)

        utterances = beams.utterance.tolist()
        _finish(beams, candidates, beam, utterances, options, finished)
        for utterance, best in zip(utterances, scores[:, 0].tolist(), strict=True):
            done[utterance] = done[utterance] or _is_done(
                finished[utterance], best, length, limits[utterance], beam, options
            )
        active = [i for i, utterance in enumerate(utterances) if not done[utterance]]
        if not active:
            break
        # Leaving the batch costs copies of what stays, so it waits until half of it is idle.
        kept = torch.tensor(
            active if 2 * len(active) <= len(utterances) else range(len(utterances)), device=device
        )
        num_beams = beams.tokens.shape[1]
        order, scores = order[kept], scores[kept]
        parents = candidates.parents[kept].gather(1, order)
        tokens = candidates.tokens[kept].gather(1, order)
        token_scores = candidates.token_scores[kept].gather(1, order)
        token_scores = token_scores.masked_fill(scores == NEG_INF, NEG_INF)
        beams = _Beams(
            utterance=beams.utterance[kept],
            tokens=torch.cat([beams.tokens[kept[:, None], parents], tokens[..., None]], 2),
            token_scores=torch.cat(
                [beams.token_scores[kept[:, None], parents], token_scores[..., None]], 2
            ),
        )
        rows, last_tokens = (kept[:, None] * num_beams + parents).flatten(), tokens.flatten()
        state = state.select(rows)
        if prefixes is not None:
            prefixes = prefixes.extend(rows, last_tokens)
        if ngrams is not None:
            ngrams = ngrams.extend(rows, last_tokens)

    nothing = Hypothesis(
        tokens=(),
        score=NEG_INF,
        attention_score=NEG_INF,
        ctc_score=None if prefixes is None else NEG_INF,
        lm_score=None if ngrams is None else NEG_INF,
        token_scores=(NEG_INF,),
    )
    return [
        sorted(hypotheses or [nothing], key=lambda h: h.score, reverse=True)[: options.nbest]
        for hypotheses in finished
    ]


def _extend(
    beams: _Beams,
    prefixes: CtcPrefixes | None,
    ngrams: NgramPrefixes | None,
    log_probs: Tensor,
    forced: Tensor,
    beam: int,
    eos: int,
    pad: int,
    options: SearchOptions,
) -> _Candidates:
    """The best extensions; ``log_probs`` (U * R, V), ``forced`` (U,): only eos may come."""
    num_utterances, num_beams, length = beams.tokens.shape
    banned = torch.tensor([pad, eos], device=log_probs.device)
    width = max(2 * beam, options.ctc_candidates if prefixes is not None else 0)
    top, tokens = log_probs.index_fill(1, banned, NEG_INF).topk(min(width, log_probs.shape[1] - 1))
    tokens = torch.cat([tokens, torch.full_like(tokens[:, :1], eos)], 1)
    token_scores = torch.cat([top, log_probs[:, eos, None]], 1).double()
    token_scores = token_scores.view(num_utterances, num_beams, -1)
    num_tokens = tokens.shape[1]
    last = torch.arange(num_tokens, device=tokens.device) == num_tokens - 1
    forbidden = forced[:, None] & ~last
    if length < options.min_len:
        forbidden = forbidden | (~forced[:, None] & last)
    token_scores = token_scores.masked_fill(forbidden[:, None], NEG_INF)

    scores = beams.token_scores.sum(2, keepdim=True) + token_scores
    ctc_scores = lm_scores = None
    if prefixes is not None:
        ctc_scores = torch.cat([prefixes.scores(tokens[:, :-1]), prefixes.ends()[:, None]], 1)
        joint = (1 - options.ctc_weight) * scores.clamp(min=torch.finfo(scores.dtype).min)
        joint = joint + options.ctc_weight * ctc_scores.view_as(scores)
        scores = joint.masked_fill(scores == NEG_INF, NEG_INF)  # even where its weight is 0
    if ngrams is not None:
        lm_scores = ngrams.scores(tokens)
        scores = scores + options.lm_weight * lm_scores.view_as(scores)

    num_best = min(2 * beam, num_beams * num_tokens)
    scores, flat = scores.flatten(1).topk(num_best)
    by_utterance = (num_utterances, num_beams * num_tokens)
    return _Candidates(
        scores=scores,
        parents=flat // num_tokens,
        tokens=tokens.view(by_utterance).gather(1, flat),
        token_scores=token_scores.view(by_utterance).gather(1, flat),
        ctc_scores=None if ctc_scores is None else ctc_scores.view(by_utterance).gather(1, flat),
        lm_scores=None if lm_scores is None else lm_scores.view(by_utterance).gather(1, flat),
        ends=flat % num_tokens == num_tokens - 1,
    )


def _continuing(candidates: _Candidates, beam: int) -> tuple[Tensor, Tensor]:
    """Columns (U, beam) of the first candidates other than eos, and their scores.

    Where there are too few, eos fills up with a score of -inf.
    """
    rank = torch.arange(candidates.ends.shape[1], device=candidates.ends.device)
    order = (candidates.ends * len(rank) + rank).argsort(1)[:, :beam]
    scores = candidates.scores.gather(1, order)
    return order, scores.masked_fill(candidates.ends.gather(1, order), NEG_INF)


def _finish(
    beams: _Beams,
    candidates: _Candidates,
    beam: int,
    utterances: list[int],
    options: SearchOptions,
    finished: list[list[Hypothesis]],
) -> None:
    """Add to ``finished`` the candidates that end, as long as there are less than ``beam``."""
    ended = (candidates.ends & (candidates.scores > NEG_INF))[:, :beam].nonzero(as_tuple=True)
    parents = (ended[0], candidates.parents[ended])
    length = beams.tokens.shape[2] + 1
    ctc_scores = None if candidates.ctc_scores is None else candidates.ctc_scores[ended].tolist()
    lm_scores = None if candidates.lm_scores is None else candidates.lm_scores[ended].tolist()
    token_scores = torch.cat(
        [beams.token_scores[parents], candidates.token_scores[ended][:, None]], 1
    )
    for i, (row, score, tokens, by_token) in enumerate(
        zip(
            ended[0].tolist(),
            candidates.scores[ended].tolist(),
            beams.tokens[parents].tolist(),
            token_scores.tolist(),
            strict=True,
        )
    ):
        if len(finished[utterances[row]]) < beam:
            finished[utterances[row]].append(
                Hypothesis(
                    tokens=tuple(tokens),
                    score=score / length**options.length_penalty + options.length_bonus * length,
                    attention_score=sum(by_token),
                    ctc_score=None if ctc_scores is None else ctc_scores[i],
                    lm_score=None if lm_scores is None else lm_scores[i],
                    token_scores=tuple(by_token),
                )
            )


def _is_done(
    finished: list[Hypothesis],
    best: float,
    length: int,
    limit: int,
    beam: int,
    options: SearchOptions,
) -> bool:
    """Whether an utterance needs no further step after its step ``length``, counted from 0.

    ``best`` is the score of the best unfinished hypothesis. Log-probabilities only fall, so what
    it can still become is bounded, and stopping here leaves the n-best unchanged.
    """
    if length >= limit or len(finished) >= beam or best == NEG_INF:
        return True
    if len(finished) < options.nbest:
        return False
    shortest, longest = length + 2, limit + 1  # tokens of a hypothesis to come, with eos
    bonus = options.length_bonus * (longest if options.length_bonus > 0 else shortest)
    bound = best / longest**options.length_penalty + bonus
    return heapq.nlargest(options.nbest, (h.score for h in finished))[-1] >= bound
