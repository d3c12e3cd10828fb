"""Chat templates: transformers' text, a mask from structure, and nothing that a foreign program could do."""

import json
from pathlib import Path

import pytest

from nextword.core.errors import DataError
from nextword.core.records import Conversation, Message
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.conversations import CHATML, Chat
from nextword.tokenizers.sandbox import compiled
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + "
    "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "mistral": MISTRAL}
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "mistral": "<|endoftext|>"}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>",
           "<end_of_turn>", "[INST]", "[/INST]")  # fmt: skip
TALK = Conversation(
    (
        Message("user", "What is <|im_end|> naïve 🙂?"),
        Message("assistant", "A cat.\n\nAnd a mat."),
        Message("user", "Why?"),
        Message("assistant", "Because the cat sat."),
    )
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(
        TokenizerSettings(vocab_size=278, special=SPECIAL, min_frequency=1), ["What is a cat? the cat sat."] * 3
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_that_of_transformers(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATES[name])
    chat, theirs = Chat.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": message.role, "content": message.content} for message in TALK.messages]
    for prompt in (False, True):
        wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        assert chat.render(TALK, prompt) == wanted
    plain = Conversation((Message("user", "Hello cat"), *TALK.messages[1:]))  # no sign in a content
    messages[0]["content"] = "Hello cat"
    wanted = theirs.apply_chat_template(messages, tokenize=False)
    assert chat.encode(plain).ids == theirs(wanted, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_answers_and_the_ends_of_their_turns_are_trained(tokenizer: Tokenizer, name: str) -> None:
    found = Chat(tokenizer, TEMPLATES[name]).encode(TALK)
    end = tokenizer.special_id(ENDS[name])
    wanted: list[int] = []
    for message in (TALK.messages[1], TALK.messages[3]):
        wanted += [*tokenizer.encode(message.content), end]
    assert [number for number, learnt in zip(found.ids, found.trained, strict=True) if learnt] == wanted
    user = [number for number, role in zip(found.ids, found.roles, strict=True) if role == "user"]
    assert tokenizer.decode(user) == "What is <|im_end|> naïve 🙂?Why?"  # letters, not the control token
    assert found.ids.count(tokenizer.special_id("<|im_end|>")) == (4 if name == "chatml" else 0)


def test_what_is_trained_can_be_said_for_each_message(tokenizer: Tokenizer) -> None:
    first, second = Message("user", "Hello", trained=True), Message("assistant", "the cat", trained=False)
    found = Chat(tokenizer).encode(Conversation((first, second)))
    learnt = [number for number, yes in zip(found.ids, found.trained, strict=True) if yes]
    assert learnt == [*tokenizer.encode("Hello"), tokenizer.special_id("<|im_end|>")]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] }}", "writes message 2 .assistant. 0 times"),
        ("{% for m in messages %}{{ m.content + m.content }}{% endfor %}", "2 times"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "changes the messages"),
        ("{% for m in messages %}", "not a template"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages.nothing.more }}", "fails|refuses"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|refuses"),
        ("{% import 'os' as os %}", "refuses|fails|not a template"),
        ("{% for i in range(1000000) %}a{% endfor %}", "fails"),
        ("{{ 'a' * 100000000 }}", "refuses"),
        (
            "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "text of more",
        ),
        (
            "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "text of more",
        ),
        ("{{ '%999999999d' % 1 }}", "refuses"),
        ("{{ 'a'.ljust(999999999) }}", "refuses"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "refuses"),
        ("{{ messages.append(1) }}", "refuses|fails"),
    ],
)
def test_templates_that_cannot_or_may_not(tokenizer: Tokenizer, template: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        Chat(tokenizer, template).encode(TALK)
    assert "\n" not in str(raised.value)


def test_a_template_that_loops_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.tokenizers.sandbox.LONGEST_SECONDS", 0.2)
    loop = "{% for a in range(90000) %}{% for b in range(90000) %}{% set c = b %}{% endfor %}{% endfor %}"
    with pytest.raises(DataError, match="not come to an end"):
        compiled(loop, "it")(messages=[])


def test_nothing_to_train_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        Chat(tokenizer).encode(Conversation((Message("user", "Hello"),)))


def test_a_template_in_the_config(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"chat_template": [{"name": "default", "template": MISTRAL}]}))
    assert Chat.load(tmp_path).render(TALK).startswith("<|endoftext|>[INST] What")
    path.write_text(json.dumps(config | {"chat_template": 5}))
    with pytest.raises(DataError, match="chat_template is neither"):
        Chat.load(tmp_path)


def test_show_chat_marks_what_is_trained(tokenizer: Tokenizer, tmp_path: Path, here, refused) -> None:  # type: ignore[no-untyped-def]
    tokenizer.save(tmp_path / "tok")
    file = tmp_path / "talk.json"
    file.write_text(json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "the cat"}]))
    lines = here("tokenizer", "show", tmp_path / "tok", "--chat", file).stdout.splitlines()
    assert any(line.startswith("assistant") and "+" in line for line in lines)
    facts = json.loads(here("tokenizer", "show", tmp_path / "tok", "--chat", file, "--json").stdout)
    learnt = [token["text"] for token in facts["tokens"] if token["trained"]]
    assert "".join(learnt) == "the cat<|im_end|>"
    assert {token["role"] for token in facts["tokens"]} == {"template", "user", "assistant"}
    assert "not both" in refused("tokenizer", "show", tmp_path / "tok", "text", "--chat", file)
    for broken, message in (("[]", "no message"), ('[{"role": 1}]', "role and content"), ("{", "not valid JSON")):
        file.write_text(broken)
        assert message in refused("tokenizer", "show", tmp_path / "tok", "--chat", file)
