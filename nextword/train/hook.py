"""What happens around the steps of a run, without the loop knowing of it; each hook is a small file in `train/hooks/`.

The loop calls every hook in order: `start` once, `step` after each update, `end` when the sitting ends without error.
A hook reads and changes the run (`run.at.ended`, `run.interrupted`), and adds figures to the step's record, which the
hooks after it see; so the order is: what ends a run, what measures, what logs, what saves, what shows.
"""

from typing import Any

from nextword.train.run import Run

Record = dict[str, Any]


class Hook:
    """Does nothing; a hook overrides what it needs."""

    def start(self, run: Run) -> None:
        """Before the first step of a sitting."""

    def step(self, run: Run, record: Record) -> None:
        """After an update; `record` becomes a line of the log."""

    def end(self, run: Run) -> None:
        """After the last step of a sitting."""
