"""Stop texts are found wherever tokens cut them, and no part of one is ever shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.decode.stop import StopTexts


def run(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    stop = StopTexts(stops)
    shown = "".join(stop.push(piece) for piece in pieces)
    return shown + stop.flush(), stop.found


@pytest.mark.parametrize("pieces", [["one END two"], ["one E", "N", "D two"], ["one ", "END"], list("one END two")])
def test_found_across_pieces(pieces: list[str]) -> None:
    assert run(pieces, ["END"]) == ("one ", True)


def test_a_beginning_that_goes_on_otherwise_is_given_back() -> None:
    stop = StopTexts(["abc"])
    assert [stop.push(piece) for piece in ("xa", "b", "ab", "d")] == ["x", "", "ab", "abd"]
    assert not stop.found


def test_the_first_of_several_wins() -> None:
    assert run(["a b c"], ["c", "b"]) == ("a ", True)


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.integers(1, 5))
def test_equals_a_search_in_the_whole_text(text: str, stops: list[str], size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    shown, found = run(pieces, stops)
    if not any(stop in text for stop in stops):
        assert (shown, found) == (text, False)
        return
    # the text up to the end of the piece that completes a stop text is what could be seen when it was found
    end = next(e for e in range(0, len(text) + size, size) if any(s in text[:e] for s in stops))
    seen = text[:end]
    assert (shown, found) == (seen[: min(seen.find(s) for s in stops if s in seen)], True)
