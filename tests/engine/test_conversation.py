"""Conversations: what was read is not read again, turns that no longer fit are left out, an answer may be stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.core.records import Message
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.engine.conversation import PLAIN, Talk, ends_of
from nextword.engine.generate import generate
from nextword.engine.request import Request
from nextword.models.base import LanguageModel
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.chat_prompt import prompt_ids
from nextword.tokenizers.conversations import Chat
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

TEXT = ["Once upon a time there was a cat.", "The cat sat on the mat, and the dog sat too.", "User: Assistant: latte"]
SIZES = {
    "llama": ModelSettings(width=32, depth=2, heads=4, kv_heads=2, max_length=200),
    "lstm": ModelSettings(family="lstm", width=32, depth=2),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(TokenizerSettings(vocab_size=300, min_frequency=1), TEXT)


@pytest.fixture(scope="module", params=sorted(SIZES))
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> LanguageModel:
    made = create(SIZES[request.param], tokenizer.vocab_size, seed=0, eos_id=tokenizer.eos_id)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.dim() == 1))
    return made.eval()


def talk(model: LanguageModel, tokenizer: Tokenizer, **settings: object) -> Talk:
    return Talk(model, Chat(tokenizer, PLAIN, "plain"), Sampling(**{"max_tokens": 12, "temperature": 0, **settings}))  # type: ignore[arg-type]


def say(one: Talk, text: str) -> str:
    one.messages.append(Message("user", text))
    return "".join(one.answer())


def test_answers_are_those_of_the_whole_conversation_read_anew(model: LanguageModel, tokenizer: Tokenizer) -> None:
    one = talk(model, tokenizer)
    earlier = 0
    for text in ("The cat sat.", "And the dog?", "Once more."):
        before = list(one.messages)
        answer = say(one, text)
        spoken = [{"role": m.role, "content": m.content} for m in [*before, Message("user", text)]]
        ids = prompt_ids(one.chat, spoken)
        [fresh] = generate(model, [Request(tuple(ids), one.settings, ends_of(one.chat), tokenizer)])
        assert one.result is not None and one.result.ids == fresh.ids
        assert answer == fresh.text.lstrip()
        if model.max_length:  # a recurrence cannot be taken back and may have to read anew
            assert one.read <= len(ids) - max(0, earlier - 2)  # the last token may join what follows
        earlier = len(ids)
    assert [message.role for message in one.messages] == ["user", "assistant"] * 3


def test_an_answer_again_reads_one_token(tokenizer: Tokenizer) -> None:
    llama = create(SIZES["llama"], tokenizer.vocab_size, seed=0, eos_id=tokenizer.eos_id).eval()
    one = talk(llama, tokenizer)
    first = say(one, "The cat sat.")
    one.forget_answer()
    assert "".join(one.answer()) == first
    assert one.read == 1
    assert len(one.messages) == 2


def test_the_oldest_turns_are_left_out_but_never_the_system_message(tokenizer: Tokenizer) -> None:
    llama = create(SIZES["llama"], tokenizer.vocab_size, seed=0, eos_id=tokenizer.eos_id).eval()
    one = talk(llama, tokenizer)
    one.messages = [Message("system", "The dog.")]
    for turn in range(8):
        say(one, f"The cat sat {turn}.")
    assert one.dropped > 0 and one.dropped % 2 == 0
    ids, _ = one.prompt()
    text = tokenizer.decode(ids)
    assert text.startswith("System: The dog.\nUser: The cat sat") and "sat 7" in text and "sat 0" not in text
    assert len(ids) + 12 <= 200
    one.messages = [Message("system", "cat " * 300), Message("user", "The cat")]
    with pytest.raises(SettingsError, match="exceed the model's 200: shorten it"):
        next(iter(one.answer()))


def test_what_was_said_stays_when_the_caller_stops(tokenizer: Tokenizer) -> None:
    llama = create(SIZES["llama"], tokenizer.vocab_size, seed=0, eos_id=tokenizer.eos_id).eval()
    one = talk(llama, tokenizer, temperature=1.0, seed=3, max_tokens=60)
    one.messages.append(Message("user", "The cat"))
    pieces = one.answer()
    said = next(pieces) + next(pieces)
    pieces.close()
    assert one.messages[-1] == Message("assistant", said)
    assert say(one, "Go on.")


def test_ends_of_an_answer(tokenizer: Tokenizer) -> None:
    assert ends_of(Chat(tokenizer, PLAIN, "plain")) == {tokenizer.eos_id}
    inner = train(TokenizerSettings(vocab_size=300, min_frequency=1), TEXT)
    inner.inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    again = Tokenizer(inner.inner, "bpe", True, {"eos": inner.eos_id})
    assert ends_of(Chat(again)) == {inner.eos_id, again.special_id("<|im_end|>")}


def test_face(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    from shutil import copytree

    import nextword as nw

    folder = tiny("llama")
    with pytest.raises(SettingsError, match="no conversation template"):
        nw.load(folder).chat("The cat")
    copytree(folder, tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text(PLAIN)
    lm = nw.load(tmp_path / "chat")
    messages = [{"role": "user", "content": "The cat"}]
    found = lm.chat(messages, max_tokens=8, seed=1)
    assert found and found == lm.chat("The cat", max_tokens=8, seed=1)
    with pytest.raises(SettingsError, match="a chat is sampled"):
        lm.chat("The cat", beams=3)
