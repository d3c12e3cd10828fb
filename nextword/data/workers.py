"""Work spread over processes: results come back in the order of the work, whichever process was faster.

Each process has one pipe to it and one from it, and both ends that are not its own are closed. So a process that dies
is noticed at once, even in the middle of a message, and a parent that dies ends its processes. Processes are spawned,
not forked: a fork would copy the locks of threads that it does not copy.
"""

import multiprocessing
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from nextword.core.errors import NextwordError, ResourceError

W = TypeVar("W")  # work
R = TypeVar("R")  # result
Pipe: TypeAlias = "Connection[Any, Any]"  # (the class takes no brackets while the program runs)

IN_FLIGHT = 2  # pieces of work a process has at a time: one at work, one waiting
AHEAD = 4  # results per process that may wait for an earlier one
PATIENCE = 5.0  # seconds for a process to end by itself


def start_deaf(process: BaseProcess) -> None:
    """Starts a process that ignores Ctrl-C from its first instruction: it is the parent that ends it.

    A disposition of "ignore" is inherited; one set by the process itself would come after seconds of imports.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may change it
        process.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)


class _Process:
    """One worker process and its two pipes."""

    def __init__(self, make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], number: int) -> None:
        context = multiprocessing.get_context("spawn")
        theirs_in, ours_out = context.Pipe(duplex=False)
        ours_in, theirs_out = context.Pipe(duplex=False)
        target = (theirs_in, theirs_out, make, arguments)
        self.process = context.Process(target=serve, args=target, name=f"nextword-{number}", daemon=True)
        start_deaf(self.process)
        theirs_in.close()
        theirs_out.close()
        self.results: Pipe = ours_in
        self.out: Pipe = ours_out
        self.numbers: deque[int] = deque()  # of the work that it has, in order
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.feeder = threading.Thread(target=self._feed, daemon=True)
        self.feeder.start()

    def _feed(self) -> None:
        """Sends from a thread of its own: a pipe takes little, and its reader may itself be waiting to be read."""
        try:
            while (work := self.inbox.get()) is not None:
                self.out.send(work)
        except OSError:
            pass  # it has died; whoever reads its results says so
        finally:
            self.out.close()

    def end(self, kill: bool) -> None:
        """Ends the process: at once, or after the work that it has."""
        self.inbox.put(None)
        if kill:
            self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.feeder.join(PATIENCE)
        self.results.close()


def serve(work: Pipe, results: Pipe, make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """What a worker process does until its pipe is closed. An error of the user's goes back; any other ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends the others
    function = make(*arguments)
    while True:
        try:
            item = work.recv()
        except EOFError:
            return
        try:
            answer = (True, function(item))
        except NextwordError as error:
            answer = (False, error)
        try:
            results.send(answer)
        except BrokenPipeError:
            return


class Workers(Generic[W, R]):
    """`count` processes that each call `make(*arguments)` once and its result for every piece of work.

    Use as a context manager; `map` gives the results in the order of the work.
    """

    def __init__(self, count: int, make: Callable[..., Callable[[W], R]], arguments: tuple[Any, ...]) -> None:
        self.processes = [_Process(make, arguments, number) for number in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.end(kill=kind is not None)

    def map(self, work: Iterable[W]) -> Iterator[R]:
        """The result of each piece of work, in order. At most a few pieces a process are read ahead.

        Raises what the function raised for the user, and ResourceError when a process died.
        """
        done: dict[int, R] = {}
        given = out = 0
        for item in work:
            while self._full(given - out):
                self._receive(done)
                while out in done:
                    yield done.pop(out)
                    out += 1
            process = min(self.processes, key=lambda process: len(process.numbers))
            process.numbers.append(given)
            process.inbox.put(item)
            given += 1
        while out < given:
            if out in done:
                yield done.pop(out)
                out += 1
            else:
                self._receive(done)

    def _full(self, ahead: int) -> bool:
        busy = all(len(process.numbers) >= IN_FLIGHT for process in self.processes)
        return busy or ahead >= AHEAD * len(self.processes)

    def _receive(self, done: dict[int, R]) -> None:
        """Waits until at least one result is there and notes all that are."""
        by_pipe = {process.results: process for process in self.processes if process.numbers}
        for pipe in wait(list(by_pipe)):
            process = by_pipe[pipe]  # type: ignore[index]
            try:
                good, answer = process.results.recv()
            except (EOFError, OSError):
                raise _died(process) from None
            if not good:
                raise answer
            done[process.numbers.popleft()] = answer


def _died(process: _Process) -> ResourceError:
    process.process.join(PATIENCE)
    code = process.process.exitcode
    if code is not None and code < 0:
        how = f"was ended by signal {-code} ({signal.Signals(-code).name}), as happens when memory runs out"
    else:
        how = f"ended with status {code}; its own message stands above"
    return ResourceError(
        f"a worker process {how}; run again with --workers 1, and in a script of your own put the call "
        'under `if __name__ == "__main__":`'
    )
