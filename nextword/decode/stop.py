"""Where a text ends: at an end token, or at a stop text, which may begin in one token and end in another.

While the end of the text could be the beginning of a stop text it is held back, so that a stream never shows a part of
one.
"""

from collections.abc import Sequence


class StopTexts:
    """Looks for stop texts in a text that comes in pieces.

    >>> stop = StopTexts(["END"])
    >>> stop.push("one E"), stop.push("N"), stop.push("T two"), stop.found
    ('one ', '', 'ENT two', False)
    >>> stop.push(" thEEND!"), stop.found
    (' thE', True)
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self.held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Takes the next piece; gives what can be shown. After `found` nothing more is given."""
        if self.found:
            return ""
        if not self.texts:
            return piece
        self.held += piece
        places = [place for text in self.texts if (place := self.held.find(text)) >= 0]
        if places:
            self.found = True
            return self._give(min(places))
        return self._give(len(self.held) - self._suspicious())

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        return "" if self.found else self._give(len(self.held))

    def _give(self, length: int) -> str:
        shown, self.held = self.held[:length], self.held[length:]
        return shown

    def _suspicious(self) -> int:
        """The length of the longest end of the held text that begins some stop text."""
        longest = 0
        for text in self.texts:
            for length in range(min(len(text) - 1, len(self.held)), longest, -1):
                if text.startswith(self.held[-length:]):
                    longest = length
                    break
        return longest
