"""Beam search: the B best beginnings are followed at once, by the sum of their log-probabilities.

    candidates = { beginning + token },   kept: the B best that have not ended
    score of a text of L new tokens = Σ log p / L^α                        α: the length penalty

A text of T tokens over a vocabulary V has |V|^T rivals; B beams look at B·|V| a step (Lowerre, "The HARPY speech
recognition system", 1976; for translation Sutskever et al., 2014). Longer sums are lower, so scores are divided by
L^α: α 0 compares sums, 1 means, above 1 prefers longer texts. This is transformers' form; Wu et al., "Google's Neural
Machine Translation System" (2016), equation 14, has ((5 + L) / 6)^α in its place. L counts the end token.

A candidate ends by an end token, a stop text, a constraint that nothing can follow, or the most tokens. It counts as a
result if it is among the B best of its step. The search ends, as in transformers,

    early_stopping true     when B texts have ended
    false                   when the best beam, divided by its own L^α, is not above the worst of B ended texts
    never                   when it could not get above it even at the most tokens (α > 0)

or when no beam goes on. A single beam is greedy: it ends with its first text. Nothing is said before the end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.history import History
from nextword.decode.row import Hypothesis, Row, Step, Top
from nextword.decode.scores import logprobs, top
from nextword.decode.strategy import Choice, Reading, Search, Tools, Turn
from nextword.decode.strategy_settings import StrategySettings
from nextword.decode.trace import Candidate, Fate, Level

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS = frozenset({"n", "beams", "length_penalty", "early_stopping"})
DRAWS, HIDDEN = False, False
BEAMS = 4


def width(settings: StrategySettings) -> int:
    """The rows that a request needs."""
    return settings.beams or BEAMS


class Beam(NamedTuple):
    """A beginning: its history, log p of its new tokens under the model, its score, and alternatives if asked for."""

    history: History
    logprobs: tuple[float, ...] = ()
    score: float = 0.0
    tops: tuple[Top, ...] = ()

    def extended(self, token: int, score: float, logprobs_V: Tensor) -> "Beam":
        """With one token more."""
        history = self.history.fork()
        history.push(token)
        count = history.settings.top_logprobs
        tops = (*self.tops, top(logprobs_V, count)) if count else ()
        return Beam(history, (*self.logprobs, float(logprobs_V[token])), score, tops)


class Ended(NamedTuple):
    """A text that has ended, with its new tokens and its score after the length penalty."""

    beam: Beam
    score: float

    @property
    def rank(self) -> tuple[bool, float]:
        """Low for the best: by score, but behind all others what was cut before its constraint was satisfied."""
        return self.beam.history.cut, -self.score


class Group:
    """Beams that compete with each other, `size` at most, and the texts that came of them."""

    def __init__(self, row: Row, size: int, number: int = 0) -> None:
        self.row, self.size, self.number = row, size, number
        self.beams = [Beam(row.history.fork())]
        self.ended: list[Ended] = []
        self.length = 0  # new tokens
        self.chosen: list[int] = []  # the tokens of the last step, of beams and of texts that ended
        settings = row.strategy
        self.penalty = 1.0 if settings.length_penalty is None else settings.length_penalty
        self.early = settings.early_stopping or False
        self.candidates = size * max(2, 1 + len(row.asked.eos_ids))  # so that `size` are left where some end

    def grow(self, logprobs_RV: Tensor, scores_RV: Tensor, less_V: Tensor | None, tools: Tools) -> list[Choice]:
        """One step; the choices count rows from the first of this group.

        logprobs_RV: the model's own, of each beam. scores_RV: the same after the processors. less_V: what is taken off
        each token's score when candidates are compared, and only then.
        """
        totals_RV = scores_RV + torch.tensor([beam.score for beam in self.beams], device=scores_RV.device)[:, None]
        ranked_RV = totals_RV if less_V is None else totals_RV - less_V
        best = ranked_RV.flatten().topk(min(self.candidates, ranked_RV.numel())).indices.tolist()
        places = [divmod(index, totals_RV.shape[-1]) for index in best]
        beams, choices, seen = [], [], []
        self.chosen = []
        for rank, (parent, token) in enumerate(places):
            total = float(totals_RV[parent, token])
            if total == float("-inf"):  # forbidden
                continue
            beam = self.beams[parent].extended(token, total, logprobs_RV[parent])
            fate: Fate = "pruned"
            if self.ends(beam):
                total /= len(beam.logprobs) ** self.penalty
                if rank < self.size:
                    self.ended.append(Ended(beam, total))
                    fate = "ended"
                    self.chosen.append(token)
            elif len(beams) < self.size:
                beams.append(beam)
                choices.append(Choice(parent, (token,)))
                fate = "kept"
                self.chosen.append(token)
            seen.append(Candidate(parent, token, float(scores_RV[parent, token]), total, fate))
        self.beams = beams
        self.ended = sorted(self.ended, key=lambda text: text.rank)[: self.size]
        if tools.trace is not None:
            tools.trace.append(Level(self.row.index, self.length, tuple(seen), self.number))
        self.length += 1
        if self.done():
            self.beams = []
        return choices if self.beams else []

    def ends(self, beam: Beam) -> str | None:
        """Why a text ends with its last token, if it does."""
        new = beam.history.new
        if int(new[-1]) in self.row.asked.eos_ids:
            return "eos"
        if beam.history.finished:
            return "stop"
        if self.row.settings.stop and self.row.again().replay(new.tolist(), beam.logprobs)[-1].stop:
            return "stop"
        return None if beam.history.left else "length"

    def done(self) -> bool:
        """Whether no better text can, or is likely to, come."""
        if not self.beams or len(self.ended) < self.size:
            return not self.beams
        if self.early is True or self.size == 1:
            return True
        length = self.length
        if self.early == "never" and self.penalty > 0:
            length = self.row.asked.limit
        return self.beams[0].score / length**self.penalty <= self.ended[-1].score


class Beams:
    """The groups of all rows side by side. groups: those of a row; off: what later groups take off tokens' scores."""

    def __init__(self, groups: Sequence[Sequence[Group]], off: Sequence[float], tools: Tools) -> None:
        self.groups, self.off, self.tools = [list(several) for several in groups], list(off), tools
        self.prompts = True  # the first reading has one row for all groups of a row

    def next(self, reading: Reading) -> Turn:
        """One step of every group; a row whose groups are all done says its best text."""
        raw_NV, at = logprobs(reading.logits_NV), 0
        steps: list[Step] = []
        choices: list[Choice] = []
        going = []
        for groups, off in zip(self.groups, self.off, strict=True):
            counts_V = torch.zeros(raw_NV.shape[-1], device=raw_NV.device)
            for group in (group for group in groups if group.beams):
                rows = slice(at, at + len(group.beams))
                scores_RV = chain.leave(raw_NV[rows], [beam.history for beam in group.beams])
                grown = group.grow(raw_NV[rows], scores_RV, off * counts_V if off else None, self.tools)
                choices += [Choice(at + choice.row, choice.tokens) for choice in grown]
                for token in group.chosen:
                    counts_V[token] += 1
                at += 0 if self.prompts else rows.stop - rows.start
            at += 1 if self.prompts else 0
            if not any(group.beams for group in groups):
                steps += say(groups)
            else:
                going.append((groups, off))
        self.prompts = False
        self.groups, self.off = [groups for groups, _ in going], [off for _, off in going]
        return Turn(steps, choices)


def say(groups: Sequence[Group]) -> list[Step]:
    """The steps of the best text of all groups; the row gets as many as were asked for.

    SettingsError where every beginning came to a place in which no token may follow.
    """
    row = groups[0].row
    ended = sorted((text for group in groups for text in group.ended), key=lambda text: text.rank)
    if not ended:
        raise chain.no_choice(row.history)
    row.best = tuple(hypothesis(row, text) for text in ended[: row.strategy.n or 1])
    beam = ended[0].beam
    return row.replay(beam.history.new.tolist(), beam.logprobs, beam.tops)


def hypothesis(row: Row, text: Ended) -> Hypothesis:
    """A text that has ended, as a result."""
    return Hypothesis.of(row.again().replay(text.beam.history.new.tolist(), text.beam.logprobs), text.score)


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins a search for each row."""
    for row in rows:
        check_count(row.strategy)
    return Beams([[Group(row, width(row.strategy))] for row in rows], [0.0] * len(rows), tools)


def check_count(settings: StrategySettings) -> None:
    """SettingsError where more texts are asked for than are followed."""
    if (settings.n or 1) > width(settings):
        raise SettingsError(
            f"n ({settings.n}) is more than the {width(settings)} beams that are followed: set beams to at least "
            f"{settings.n}"
        )
