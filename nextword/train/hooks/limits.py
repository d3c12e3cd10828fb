"""What ends a run before its last step: the time allowed is over, or somebody pressed Ctrl-C."""

from nextword.train.hook import Hook, Record
from nextword.train.interrupt import Wish
from nextword.train.run import Run


class Limits(Hook):
    """Ends the run for good when its seconds of training are used up; interrupts it when `wish` says so."""

    def __init__(self, max_seconds: float, wish: Wish) -> None:
        self.max_seconds, self.wish = max_seconds, wish

    def step(self, run: Run, record: Record) -> None:
        """Looks at both."""
        stop, over = run.world.total([self.wish.stop, run.at.seconds >= self.max_seconds])  # all do what one wishes
        run.interrupted = stop > 0
        if run.at.ended is None and over:
            run.at.ended = "time"
