"""What ends a run before its last step: the time allowed is over, `stop_at` is reached, or somebody pressed Ctrl-C."""

from nextword.train.hook import Hook, Record
from nextword.train.interrupt import Wish
from nextword.train.run import Run


class Limits(Hook):
    """Ends the run when its seconds of training or its steps are used up; interrupts it when `wish` says so.

    A run that ended so goes on when more of them are given.
    """

    def __init__(self, max_seconds: float, last_step: int, wish: Wish) -> None:
        self.max_seconds, self.last_step, self.wish = max_seconds, last_step, wish

    def step(self, run: Run, record: Record) -> None:
        """Looks at all three."""
        stop, over = run.world.total([self.wish.stop, run.at.seconds >= self.max_seconds])  # all do what one wishes
        run.interrupted = stop > 0
        if run.at.ended is None and over:
            run.at.ended = "time"
        if run.at.ended is None and run.at.step >= self.last_step:
            run.at.ended = "stop"
