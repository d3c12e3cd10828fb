"""Requests one after the other, by the loop of `generate`."""

from collections import deque
from collections.abc import Generator

from nextword.core.errors import NextwordError
from nextword.engine.generate import stream
from nextword.engine.request import Request, Step
from nextword.engine.step import Stepper
from nextword.models.base import LanguageModel


class Sequential:
    """An engine for models that many requests cannot share."""

    def __init__(self, model: LanguageModel, steps: Stepper) -> None:
        self.model, self.steps = model, steps
        self.waiting: deque[tuple[int, Request]] = deque()
        self.running: tuple[int, Generator[Step, None, None]] | None = None
        self.last = 0

    def add(self, request: Request) -> int:
        """Takes a request; its number."""
        self.last += 1
        self.waiting.append((self.last, request))
        return self.last

    def cancel(self, number: int) -> None:
        """Forgets a request."""
        self.waiting = deque(one for one in self.waiting if one[0] != number)
        if self.running and self.running[0] == number:
            self.running[1].close()
            self.running = None

<<<<<<< Updated upstream
    def figures(self) -> dict[str, float]:
        """How many run and wait."""
        return {"running": int(self.running is not None), "waiting": len(self.waiting)}

=======
>>>>>>> Stashed changes
    def step(self) -> list[tuple[int, Step | NextwordError]]:
        """The next token of the first."""
        if self.running is None and self.waiting:
            number, request = self.waiting.popleft()
            self.running = number, stream(self.model, [request], [], self.steps)
        if self.running is None:
            return []
        number, steps = self.running
        try:
            found: Step | NextwordError = next(steps)
        except NextwordError as error:
            found = error
        if isinstance(found, NextwordError) or found.stop is not None:
            self.running = None
        return [(number, found)]
