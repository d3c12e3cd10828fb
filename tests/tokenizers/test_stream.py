"""Streaming gives what decoding at once gives, and never a part of a character."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from nextword.tokenizers.base import Tokenizer


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    decoder = tokenizer.decoder()
    return [*(decoder.push(number) for number in ids), decoder.flush()]


@settings(deadline=None)
@given(data=st.data())
def test_streaming_equals_decoding(tokenizers_by_kind: dict[str, Tokenizer], data: st.DataObject) -> None:
    for tokenizer in tokenizers_by_kind.values():
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
        assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


@settings(deadline=None)
@given(text=st.text(max_size=40))
def test_streamed_text_is_the_text(tokenizers_by_kind: dict[str, Tokenizer], text: str) -> None:
    for tokenizer in tokenizers_by_kind.values():
        assert "".join(stream(tokenizer, tokenizer.encode(text))) == tokenizer.decode(tokenizer.encode(text))


def test_a_character_comes_out_whole(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    assert stream(tokenizers_by_kind["byte"], list("é🙂".encode())) == ["", "é", "", "", "", "🙂", ""]
    assert stream(tokenizers_by_kind["byte"], [0xF0, 0x9F]) == ["", "", "\ufffd"]


def llama_like() -> Tokenizer:
    """SentencePiece's way as Llama 2 has it: metaspace, and bytes for characters without a piece."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁a", "b"]
    inner = tokenizers.Tokenizer(models.BPE({piece: rank for rank, piece in enumerate(pieces)}, [], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    inner.add_special_tokens(pieces[1:3])
    return Tokenizer(inner, "bpe", False, {"bos": 1, "eos": 2, "unk": 0})


@settings(deadline=None)
@given(
    ids=st.lists(st.one_of(st.integers(0, 261), st.sampled_from([3 + byte for byte in "é🙂".encode()])), max_size=12)
)
def test_byte_fallback_streams_too(ids: list[int]) -> None:
    tokenizer = llama_like()
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


def test_bytes_of_fallback_tokens() -> None:
    tokenizer = llama_like()
    assert [tokenizer.token_bytes(number) for number in (3 + 0xC3, 260, 261, 2)] == [b"\xc3", b" a", b"b", b"</s>"]
    ids = [260, 3 + 0xC3, 3 + 0xA9, 261]
    assert stream(tokenizer, ids) == ["a", "", "", "éb", ""]


@pytest.mark.parametrize(
    ("kind", "token", "data"), [("wordpiece", "##e", b"e"), ("bpe", "Ġ", b" "), ("word", "the", b"the")]
)
def test_bytes_of_a_token(tokenizers_by_kind: dict[str, Tokenizer], kind: str, token: str, data: bytes) -> None:
    tokenizer = tokenizers_by_kind[kind]
    assert tokenizer.token_bytes(tokenizer.inner.token_to_id(token)) == data
