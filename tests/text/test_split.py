"""Splitting: everything exactly once, nothing on both sides, the same on every run, and a sentence that says how."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.core.errors import DataError, SettingsError
from nextword.core.records import Document
from nextword.text.read import documents
from nextword.text.settings import SplitSettings, TextSettings
from nextword.text.split import split

Opener = Callable[[], Iterator[Document]]


def opener(*texts: str, source: str = "made") -> Opener:
    return lambda: (Document(f"{source}:{n}", text, source) for n, text in enumerate(texts))


def join(*openers: Opener) -> Opener:
    return lambda: (document for one in openers for document in one())


@given(
    st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=30),
    st.one_of(st.none(), st.floats(0.01, 0.99)),
    st.floats(0, 0.5),
    st.integers(1, 10),
)
def test_everything_is_given_out_exactly_once(
    texts: list[str], split_at: float | None, share: float, fewest: int
) -> None:
    settings = SplitSettings(split_at=split_at, validation=share, min_documents=fewest)
    plan = split(opener(*texts), settings)
    given_out = list(plan)
    assert "".join(document.text for _, document in given_out) == "".join(texts)
    assert all(document.text for _, document in given_out)
    assert len({document.id for _, document in given_out}) == len(given_out)
    validation = [document for side, document in given_out if side == "validation"]
    assert sum(len(document.text) for document in validation) == plan.validation_characters
    assert list(plan) == given_out  # again, from the beginning
    assert list(plan.side("validation")) == validation
    if plan.cuts:
        sides = [side for side, _ in given_out]
        assert sides == sorted(sides), "the train side comes first"
        total = sum(map(len, texts))
        at = max(1, int(total * (split_at if split_at is not None else 1 - share)))
        assert "".join(document.text for side, document in given_out if side == "train") == "".join(texts)[:at]
    else:
        sides_of: dict[str, set[str]] = {}
        for side, document in given_out:
            sides_of.setdefault(document.text, set()).add(side)
        assert all(len(sides) == 1 for sides in sides_of.values()), "equal documents lie on one side"


def test_many_documents_are_split_by_document() -> None:
    texts = [f"document number {number}" for number in range(2000)]
    plan = split(opener(*texts), SplitSettings())
    validation = {document.text for document in plan.side("validation")}
    assert 60 < len(validation) < 140  # 5 % of 2,000 and four standard deviations
    assert plan.sentence == f"{len(validation)} of 2,000 documents validate (5 % by a hash of their text: made)"
    more = split(opener(*texts, *(f"another {number}" for number in range(500))), SplitSettings())
    assert {document.text for document in more.side("validation")} >= validation, "new documents move no old one"
    other = split(opener(*reversed(texts), source="elsewhere"), SplitSettings())
    assert {document.text for document in other.side("validation")} == validation, "order and source do not matter"
    # The hash is the same on every machine and in every version.
    assert sorted(validation)[:3] == KNOWN


KNOWN = ["document number 1042", "document number 1088", "document number 1089"]


def test_few_documents_are_cut_by_position_and_each_source_has_validation_text() -> None:
    many = opener(*(f"text {number}" for number in range(1000)), source="many")
    plan = split(join(opener("a" * 60, "b" * 40, source="few"), many), SplitSettings(validation=0.1))
    few = [(side, document.text) for side, document in plan if document.source == "few"]
    assert few == [("train", "a" * 60), ("train", "b" * 30), ("validation", "b" * 10)]
    assert plan.sentence.endswith(
        "of 1,000 documents validate (10 % by a hash of their text: many); "
        "the last 10 characters of few validate (10 %: it has only 2 documents)"
    )


def test_split_at_cuts_the_stream_at_one_character() -> None:
    plan = split(join(opener("abcd", source="x"), opener("éfgh", "ij", source="y")), SplitSettings(split_at=0.5))
    found = [(side, document.id, document.text) for side, document in plan]
    assert found == [
        ("train", "x:0", "abcd"),
        ("train", "y:0[:1]", "é"),
        ("validation", "y:0[1:]", "fgh"),
        ("validation", "y:1", "ij"),
    ]
    assert plan.sentence == "split by position: the first 5 of 10 characters train, the last 5 validate"


def test_one_character_trains() -> None:
    for settings in (SplitSettings(), SplitSettings(split_at=0.3)):
        plan = split(opener("x"), settings)
        assert [(side, document.text) for side, document in plan] == [("train", "x")]
        assert plan.validation_characters == 0
    assert split(opener("xy"), SplitSettings(validation=0)).sentence == "all 2 characters train, none validate"


def test_identical_documents_are_cut_by_position_when_the_hash_cannot_part_them() -> None:
    plan = split(opener(*["same"] * 1000), SplitSettings())
    assert plan.validation_characters == 200


def test_text_that_is_empty_or_changes_is_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        split(opener(), SplitSettings())
    texts = ["one", "two"]
    plan = split(lambda: (Document(text, text, "made") for text in texts), SplitSettings())
    texts.append("three")
    with pytest.raises(DataError, match="changed"):
        list(plan)


def test_shares_out_of_range_are_refused() -> None:
    for value in (0.0, 1.0, 90.0, -0.1):
        with pytest.raises(SettingsError, match="between 0 and 1"):
            SplitSettings(split_at=value)
    with pytest.raises(SettingsError, match="validation"):
        SplitSettings(validation=0.6)


def test_tinyshakespeare_is_split_as_nanogpt_splits_it(realdata: Path) -> None:
    path = realdata / "text" / "tinyshakespeare.txt"
    plan = split(lambda: documents(TextSettings(sources=(str(path),)), {}), SplitSettings(split_at=0.9))
    text = path.read_text()
    (train,), (validation,) = plan.side("train"), plan.side("validation")
    assert train.text == text[: int(len(text) * 0.9)]
    assert validation.text == text[int(len(text) * 0.9) :]
    assert (len(train.text), len(validation.text)) == (1_003_854, 111_540)  # nanoGPT's prepare.py prints these
