"""gigatoken is used where it gives the library's ids, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.tokenizers import gigatoken as ours
from nextword.tokenizers.base import Tokenizer

theirs = pytest.importorskip("gigatoken")

TRICKY = st.text(
    st.sampled_from("aZé \n\t\r'sll0٣▁Ġ#<|endoftext|>\u00a0\u3000漢\u0301🙂👩\u200d")
    | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TRICKY, max_size=4))
def test_byte_pairs_have_the_ids_of_the_library(tokenizers_by_kind: dict[str, Tokenizer], texts: list[str]) -> None:
    tokenizer = tokenizers_by_kind["bpe"]
    assert tokenizer.faster is not None
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_other_kinds_stay_with_the_library(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    for kind, tokenizer in tokenizers_by_kind.items():
        texts = [*ours.PROBES, "the cat"]
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts], kind
    assert tokenizers_by_kind["word"].faster is None


def test_half_a_character_is_refused_as_ever(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    with pytest.raises(DataError, match="half of a surrogate pair"):
        tokenizers_by_kind["bpe"].encode_batch(["fine", "\ud83d"])


class Wrong:
    """Forgets the last id of a batch."""

    @staticmethod
    def from_json(text: str) -> Any:
        class Loaded:
            encode_batch_list = staticmethod(lambda texts: [[0] for _ in texts])

        return Loaded()


def test_one_wrong_id_and_it_is_not_used(
    tokenizers_by_kind: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tokenizers_by_kind["bpe"].inner
    assert ours.same_encoder(inner) is not None
    with monkeypatch.context() as patch:
        patch.setattr(theirs, "Tokenizer", Wrong)
        assert ours.same_encoder(inner) is None
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    assert ours.same_encoder(inner) is None
