"""Speculation: tokens are guessed cheaply, the model reads all guesses at once, and those that it agrees with stay.

Reading k + 1 tokens costs little more than reading one, where the time goes into fetching weights. With p the model's
distribution in a place and q the one that the guess x was drawn from (after temperature, top-p and all processors):

    accept x       with probability min(1, p(x) / q(x))
    else           draw from (p − q)₊ renormalised, and drop the guesses behind it
    all accepted   draw one more from p

What comes out is distributed as p, whatever q is: a token x comes by being guessed and accepted, min(p, q)(x), or in
place of a rejected one, (p − q)₊(x), together p(x). At temperature 0 it is the greedy text (Leviathan et al., "Fast
Inference from Transformers via Speculative Decoding", 2023; Chen et al., "Accelerating Large Language Model Decoding
with Speculative Sampling", 2023). A guess that was not drawn (prompt lookup) has q(x) = 1.

How many to guess: where each guess is right with probability α, and making it costs c and reading it e, as shares of a
step, k guesses yield (1 − α^(k+1)) / (1 − α) tokens at the price of 1 + k (c + e) steps. α is learnt as the text goes,
from every guess whether it was read or not, and k maximises the ratio: where guesses are mostly wrong none is read. No
clock is asked, so that a seed gives the same text again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nextword.decode import chain
from nextword.decode.row import Row, Step
from nextword.decode.scores import drawn, likeliest, logprobs, top
from nextword.decode.strategy import Choice, Reading, Turn
from nextword.decode.trace import Guessed

GUESSES = 16  # at once, if nothing is said
# What another token costs in a call that reads several, as a share of a step. On a CPU (two Zen 4 cores, 2 to 17)
# 0.06 to 0.17 at 125M in bf16, 0.03 to 0.17 in 8 bits and 0.26 to 0.38 in 4, 0.16 to 0.38 at 15M; a GPU waits for its
# memory. From half of PRIOR on, a draft's own cost added, nothing would ever be guessed.
READING = {"cpu": 0.3, "cuda": 0.03}
MEMORY = 0.98  # what an observation weighs beside the next one
PRIOR = (0.5, 1.0)  # right guesses and guesses that are taken as seen at first


class Guess(NamedTuple):
    """Tokens, and the distributions that they were drawn from (k, V); None where they are certain guesses."""

    tokens: tuple[int, ...] = ()
    q_KV: Tensor | None = None


class Guesser(Protocol):
    """Says what may come next."""

    def guess(self, rows: Sequence[Row], places: Sequence[int], price: float) -> list[Guess]:
        """For rows whose last token has not been read; `places` are their places among the rows at the last guess.

        price: of reading a guess, as a share of a step.
        """
        ...


@dataclass
class Odds:
    """α, how likely a guess is right, and so how many to make."""

    right: float = PRIOR[0]
    seen: float = PRIOR[1]

    def learn(self, right: int, wrong: int) -> None:
        """Right guesses in a row, and whether one was wrong after them (1, or 0 where they only ended)."""
        self.right = MEMORY * self.right + right
        self.seen = MEMORY * self.seen + right + wrong

    def count(self, most: int, cost: float) -> int:
        """k, from 0 to `most`, for guesses at `cost` (c + e) each."""
        alpha, best, gain = self.right / self.seen, 0, 1.0
        tokens, power = 1.0, 1.0
        for k in range(1, most + 1):
            power *= alpha
            tokens += power
            if tokens / (1 + k * cost) > gain:
                best, gain = k, tokens / (1 + k * cost)
        return best


class Speculation:
    """Reads guesses behind every row's last token, and takes what the model agrees with."""

    def __init__(self, rows: Sequence[Row], guesser: Guesser, trace: list[object] | None) -> None:
        self.rows, self.guesser, self.trace = list(rows), guesser, trace
        self.guesses = [Guess() for _ in rows]

    def next(self, reading: Reading) -> Turn:
        """One token or more of every row."""
        raw_NV = logprobs(reading.logits_NV)
        logits_NV = reading.logits_NV.float()
        steps: list[Step] = []
        going, kept, at = [], [], 0
        for place, (row, guess, count) in enumerate(zip(self.rows, self.guesses, reading.counts, strict=True)):
            span = slice(at, at + count)
            at += count
            tokens = accept(logits_NV[span], guess, row)
            said = take(row, tokens, raw_NV[span])
            if self.trace is not None and guess.tokens:
                before = len(row.new) - len(said)
                self.trace.append(Guessed(row.index, before, guess.tokens, agreeing(guess.tokens, tokens), tokens[-1]))
            steps += said
            if said[-1].stop is None:
                going.append(place)
                kept.append(len(tokens) if guess.tokens else None)  # the first was certain, the last is not read yet
        self.rows = [self.rows[place] for place in going]
        price = READING.get(raw_NV.device.type, READING["cuda"])
        self.guesses = self.guesser.guess(self.rows, going, price) if going else []
        choices = [
            Choice(place, (row.ids[-1], *guess.tokens), stay)
            for place, row, guess, stay in zip(going, self.rows, self.guesses, kept, strict=True)
        ]
        return Turn(steps, choices)


def accept(logits_TV: Tensor, guess: Guess, row: Row) -> list[int]:
    """The guesses that stay, and the token after them; logits_TV behind each token that was read.

    Where the guesses that stay complete what a constraint asks for, none comes after them.
    """
    history = row.history.fork() if guess.tokens else row.history
    for place, token in enumerate(guess.tokens):
        if history.finished:
            return list(guess.tokens[:place])
        scores_V = chain.process(logits_TV[place : place + 1], [history])[0]
        came = judge(scores_V, token, None if guess.q_KV is None else guess.q_KV[place], row)
        if came != token:
            return [*guess.tokens[:place], came]
        history.push(token)
    if history.finished:
        return list(guess.tokens)
    scores_V = chain.process(logits_TV[-1:], [history])[0]
    if row.settings.temperature == 0:
        return [*guess.tokens, *likeliest(scores_V[None])]
    return [*guess.tokens, draw(scores_V.softmax(-1), row)]


def judge(scores_V: Tensor, guess: int, q_V: Tensor | None, row: Row) -> int:
    """The guess where it is accepted, else the token in its place, which is another one."""
    if row.settings.temperature == 0:
        return likeliest(scores_V[None])[0]
    p_V = scores_V.double().softmax(-1)
    if uniform(row) * (1.0 if q_V is None else float(q_V[guess])) < float(p_V[guess]):
        return guess
    rest_V = p_V.index_fill(0, torch.tensor([guess], device=p_V.device), 0.0) if q_V is None else p_V - q_V
    rest_V = rest_V.clamp(min=0)
    return draw(rest_V if bool(rest_V.any()) else p_V, row)  # rounding alone told p from q


def draw(weights_V: Tensor, row: Row) -> int:
    """A token with probability proportional to its weight, by inversion with the row's own generator."""
    return drawn(weights_V[None], torch.tensor([uniform(row)], dtype=torch.float64, device=weights_V.device))[0]


def uniform(row: Row) -> float:
    """A number in [0, 1)."""
    return float(torch.rand((), generator=row.generator, dtype=torch.float64))


def agreeing(guesses: Sequence[int], tokens: Sequence[int]) -> int:
    """How many of the first guesses are the tokens that came."""
    for place, (guess, token) in enumerate(zip(guesses, tokens, strict=False)):
        if guess != token:
            return place
    return min(len(guesses), len(tokens))


def take(row: Row, tokens: Sequence[int], logprobs_TV: Tensor) -> list[Step]:
    """The row takes tokens up to one that ends it."""
    count = row.settings.top_logprobs
    chosen = logprobs_TV[torch.arange(len(tokens)), torch.tensor(tokens)].tolist()
    tops = [top(logprobs_V, count) for logprobs_V in logprobs_TV[: len(tokens)]] if count else ()
    return row.replay(tokens, chosen, tops)
