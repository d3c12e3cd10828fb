"""Who reads how many tokens in the next step: texts join and leave at every step (continuous batching).

(Yu et al., "Orca", 2022.) A step has room for some tokens. First every text that runs gets its next one; what is left
goes to those that still read their prompts, in the order in which they came: a long prompt is read in chunks and
holds up nobody (Agrawal et al., "Sarathi-Serve", 2024); what is then left lets in who waits. Where blocks run out, the
text that came last gives up its own and waits again: what it has said is not lost, it reads it again (recomputation).
"""

from collections import deque
from dataclasses import dataclass, field

from nextword.decode.row import Row
from nextword.engine.blocks import Blocks, names
from nextword.nn.paged import Part


@dataclass(eq=False)
class Text:
    """A text that is continued. read: how many of its tokens are in the cache; names: of its full blocks so far.

    source: what an encoder-decoder reads.
    """

    number: int
    row: Row
    source: tuple[int, ...] | None = None
    blocks: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    read: int = 0
    began: bool = False  # a token was generated

    @property
    def ids(self) -> list[int]:
        """Prompt and new tokens."""
        return self.row.ids

    @property
    def unread(self) -> int:
        """Tokens to be read before the next can be chosen."""
        return len(self.row.ids) - self.read


@dataclass(frozen=True)
class Work:
    """The next `count` tokens of a text."""

    text: Text
    count: int

    @property
    def part(self) -> Part:
        """As the cache sees it."""
        return Part(self.count, self.text.read, self.text.blocks)

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        return self.text.ids[self.text.read : self.text.read + self.count]

    @property
    def last(self) -> bool:
        """Whether the text's next token can be chosen then."""
        return self.count == self.text.unread


class Scheduler:
    """Texts that run and texts that wait. rows: how many may run; tokens: how many are read in a step."""

    def __init__(self, blocks: Blocks, rows: int, tokens: int) -> None:
        self.blocks, self.rows, self.tokens = blocks, rows, tokens
        self.preempted = self.hits = 0  # texts that gave way; tokens of prompts that were found
        self.waiting: deque[Text] = deque()
        self.running: list[Text] = []  # in the order in which they came

    def add(self, text: Text) -> None:
        """Lets a text wait."""
        self.waiting.append(text)

    def remove(self, text: Text) -> None:
        """Forgets a text, and frees its blocks."""
        if text in self.running:
            self.running.remove(text)
        elif text in self.waiting:
            self.waiting.remove(text)
        self.release(text)

    def release(self, text: Text) -> None:
        """Gives up a text's blocks: it has to be read again."""
        self.blocks.leave(text.blocks)
        text.blocks, text.read = [], 0

    def next(self) -> list[Work]:
        """The work of the next step, single tokens first; what it needs is taken."""
        left, found, before = self.tokens, [], self.preempted
        for text in [text for text in self.running if text.unread == 1]:
            if left and text in self.running and self.room(text, 1):
                found.append(Work(text, 1))
                left -= 1
        for text in [text for text in self.running if text.unread > 1]:
            if left and text in self.running:
                left -= self.chunk(text, left, found)
        while left and self.preempted == before and self.admits():
            text = self.waiting.popleft()
            self.running.append(text)
            left -= self.chunk(text, left, found)
        found = [work for work in found if work.text in self.running]  # some may have given up their blocks since
        return sorted(found, key=lambda work: work.count > 1)

    def chunk(self, text: Text, left: int, found: list[Work]) -> int:
        """Adds as much of a text's prompt as there is room for; how many tokens that is."""
        self.look_up(text)
        count = min(text.unread, left)
        if not self.room(text, count):
            return 0
        found.append(Work(text, count))
        return count

    def look_up(self, text: Text) -> None:
        """Shares what others have read of the same beginning; the last token is left, its scores are wanted."""
        size = self.blocks.size
        if text.read % size:
            return
        self.name(text)
        begin = text.read
        while text.read + size < len(text.ids) and text.read == len(text.blocks) * size:
            shared = self.blocks.share(text.names[text.read // size])
            if shared is None:
                break
            text.blocks.append(shared)
            text.read += size
        if not text.began:
            self.hits += text.read - begin

    def name(self, text: Text) -> None:
        """Names the full blocks of a text's tokens."""
        size, known = self.blocks.size, len(text.names)
        text.names += names(text.ids[known * size :], size, text.names[-1] if known else b"")

    def admits(self) -> bool:
        """Whether the first that waits may run: there is room for all of it, or nobody else who could make some."""
        if not self.waiting or len(self.running) >= self.rows:
            return False
        text = self.waiting[0]
        self.name(text)
        shared = self.blocks.used(text.names)
        return not self.running or self.blocks.free >= self.needed(len(text.ids)) - shared

    def needed(self, tokens: int) -> int:
        """Blocks for so many tokens."""
        return -(-tokens // self.blocks.size)

    def room(self, text: Text, count: int) -> bool:
        """Takes the blocks for `count` more tokens, if need be from who came later; False where that was itself."""
        wanted = self.needed(text.read + count) - len(text.blocks)
        while self.blocks.free < wanted:
            last = self.running[-1]
            self.running.remove(last)
            self.release(last)
            self.waiting.appendleft(last)
            self.preempted += 1
            if last is text:
                return False
        text.blocks += [self.blocks.take() for _ in range(wanted)]
        return True

    def done(self, works: list[Work]) -> None:
        """The tokens of a step are in the cache: full blocks can be shared from now on."""
        for work in works:
            text, size = work.text, self.blocks.size
            before, text.read = text.read // size, text.read + work.count
            if text.read // size > before:
                self.name(text)
            for place in range(before, text.read // size):
                self.blocks.keep(text.blocks[place], text.names[place])


class Apart:
    """For texts with states of their own, which share nothing: whoever runs reads all that it has to."""

    def __init__(self, rows: int) -> None:
        self.rows, self.preempted = rows, 0
        self.waiting: deque[Text] = deque()
        self.running: list[Text] = []

    def add(self, text: Text) -> None:
        """Lets a text wait."""
        self.waiting.append(text)

    def remove(self, text: Text) -> None:
        """Forgets a text."""
        (self.running if text in self.running else self.waiting).remove(text)

    def next(self) -> list[Work]:
        """The work of the next step."""
        while self.waiting and len(self.running) < self.rows:
            self.running.append(self.waiting.popleft())
        return [Work(text, text.unread) for text in self.running]

    def done(self, works: list[Work]) -> None:
        """The tokens of a step are in the states."""
        for work in works:
            work.text.read += work.count
