"""One calm line of progress: how far, how fast, how long still.

On a terminal the line is redrawn in place; elsewhere (a log file, CI) a plain line is printed at most every ten
seconds, so that a long run leaves a readable trace. Everything goes to stderr: stdout belongs to results.
"""

import sys
import time
from types import TracebackType
from typing import Self

PLAIN_SECONDS = 10.0  # between two lines when the output is not a terminal
REDRAW_SECONDS = 0.1


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(75), duration(3.2), duration(7300)
    ('1m15s', '3.2s', '2h01m')
    """
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    if seconds < 3600:
        return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"
    return f"{int(seconds) // 3600}h{int(seconds) % 3600 // 60:02d}m"


def quantity(number: float) -> str:
    """A count with a thousands unit.

    >>> quantity(950), quantity(12_345), quantity(3_400_000), quantity(5e15)
    ('950', '12.3k', '3.4M', '5.0P')
    """
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


class Progress:
    """A progress line for `total` units of work (None: unknown), shown while the `with` block lasts.

    `update(done, loss="2.31")` says how far the work is and which figures stand beside it.
    """

    def __init__(self, title: str, total: float | None, unit: str, *, start: float = 0, quiet: bool = False) -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.first = self.done = start
        self.figures: dict[str, str] = {}
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.shown = 0.0 if self.terminal else self.began  # in a log file, short work says only how it ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show(last=True)

    def update(self, done: float, **figures: str) -> None:
        """Notes that `done` units of work are finished; redraws when it is time."""
        self.done = done
        self.figures.update(figures)
        if time.monotonic() - self.shown >= (REDRAW_SECONDS if self.terminal else PLAIN_SECONDS):
            self.show()

    def line(self) -> str:
        """The line as it stands now."""
        passed = time.monotonic() - self.began
        rate = (self.done - self.first) / passed if passed > 0 else 0.0
        parts = [f"{quantity(self.done)}/{quantity(self.total)}" if self.total else quantity(self.done)]
        parts[0] += f" {self.unit}"
        parts += [f"{name.replace('_', ' ')} {value}" for name, value in self.figures.items()]
        if self.total and rate > 0 and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        else:
            parts.append(duration(passed))
        percent = f"{100 * self.done / self.total:3.0f}% " if self.total else ""
        return f"{self.title}  {percent}" + " · ".join(parts)

    def show(self, last: bool = False) -> None:
        """Draws the line; `last` leaves it standing."""
        if self.quiet:
            return
        self.shown = time.monotonic()
        if self.terminal:
            sys.stderr.write("\r\x1b[2K" + self.line() + ("\n" if last else ""))
        else:
            sys.stderr.write(self.line() + "\n")
        sys.stderr.flush()
