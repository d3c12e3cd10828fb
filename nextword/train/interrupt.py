"""Ctrl-C as a wish, not an accident: the step under way ends, the run is saved, then the process stops.

A second Ctrl-C stops at once. The request of a job scheduler to end (SIGTERM) is treated in the same way.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """Whether somebody has asked the run to stop."""

    def __init__(self) -> None:
        self.stop = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: notes the first wish, obeys the second at once."""
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True


@contextmanager
def listening() -> Iterator[Wish]:
    """Listens for signals while the block runs (only the main thread can; elsewhere nobody asks)."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish.ask) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
