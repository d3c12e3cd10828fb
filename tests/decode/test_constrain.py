"""Constraints: what is generated is what was asked for, in every vocabulary; the impossible is said at the start."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

TEXT = [
    "Once upon a time there was a cat.",
    'The cat sat, "and" {the} dog: [sat] too. 0123456789 tenure false null - + e',
    "A caramel iced latte.",
]
KINDS: dict[str, dict[str, Any]] = {
    "bpe": {"vocab_size": 300, "min_frequency": 1},
    "unigram": {"vocab_size": 54},
    "character": {},
    "byte": {},
}
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
LIST = 'root ::= "[" item ("," item)* "]"\nitem ::= [0-9]{1,3} | "x"'


@pytest.fixture(scope="module", params=sorted(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(TokenizerSettings(kind=request.param, **KINDS[request.param]), TEXT)


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return train(TokenizerSettings(kind="byte"), TEXT)


def history(tokenizer: Tokenizer, settings: Sampling, extra: int = 3) -> History:
    """extra: scores that the model has beyond its tokenizer."""
    assert tokenizer.eos_id is not None
    size = tokenizer.vocab_size + extra
    return History(settings, (tokenizer.eos_id,), size, 1000, {tokenizer.eos_id}, tokenizer)


def generated(tokenizer: Tokenizer, settings: Sampling, seed: int, most: int = 400) -> tuple[str, bool]:
    """A text drawn by random scores, and whether it ended by itself."""
    generator = torch.Generator().manual_seed(seed)
    text = history(tokenizer, settings)
    for _ in range(most):
        logits_1V = 2 * torch.randn(1, text.vocab_size, generator=generator)
        token = int(chain.process(logits_1V, [text]).argmax())
        if token == tokenizer.eos_id:
            break
        text.push(token)
        if text.finished:
            break
    spelt = b"".join(tokenizer.token_bytes(int(number)) for number in text.new)
    return spelt.decode(errors="replace"), bool(text.complete)


@pytest.mark.parametrize(
    ("settings", "holds"),
    [
        (Sampling(regex="(cat|dog)( sat)?|[0-9]{4}-[0-9]{1,2}"), "(cat|dog)( sat)?|[0-9]{4}-[0-9]{1,2}"),
        (Sampling(regex="[a-c]{2,5}"), "[a-c]{2,5}"),
        (Sampling(grammar=LIST), r"\[(\d{1,3}|x)(,(\d{1,3}|x))*\]"),
        (Sampling(grammar='start: A ("+" A)*\nA: /[ae]/'), r"[ae](\+[ae])*"),
    ],
)
def test_what_is_generated_matches(tokenizer: Tokenizer, settings: Sampling, holds: str) -> None:
    texts = [generated(tokenizer, settings, seed) for seed in range(8)]
    assert all(complete and re.fullmatch(holds, text) for text, complete in texts), texts
    assert len({text for text, _ in texts}) > 1


def test_json_is_valid_in_every_vocabulary(tokenizer: Tokenizer) -> None:
    import jsonschema_rs

    texts = [generated(tokenizer, Sampling(json_schema=PERSON), seed) for seed in range(6)]
    assert all(complete for _, complete in texts), texts
    for text, _ in texts:
        jsonschema_rs.validate(json.loads(PERSON), json.loads(text))


def bounded(text: str) -> float:
    """1e999 is JSON, but infinite in Python."""
    return max(-1e300, min(1e300, float(text)))


def test_real_schemas(letters: Tokenizer, realdata: Path) -> None:
    """Cases of the official suite for draft 7: what is accepted is valid, and what is generated is."""
    import jsonschema_rs

    checked = made = refused = 0
    wrong = []
    for file in sorted((realdata / "serving" / "json_schema_draft7").glob("*.json")):
        for case in json.loads(file.read_text()):
            if "$id" in json.dumps(case["schema"]):  # the base of references is not kept to
                continue
            try:
                begun = history(letters, Sampling(json_schema=json.dumps(case["schema"])))
            except SettingsError:
                refused += 1
                continue
            for test in case["tests"]:
                text = begun.fork()
                for token in json.dumps(test["data"], ensure_ascii=False).encode():
                    text.push(token)
                checked += 1
                assert test["valid"] or not text.complete, (file.stem, case["description"], test["description"])
            found, complete = generated(letters, Sampling(json_schema=json.dumps(case["schema"])), checked, 60)
            made += complete
            if complete and not jsonschema_rs.Draft7Validator(case["schema"]).is_valid(
                json.loads(found, parse_float=bounded)
            ):
                wrong.append((file.stem, case["description"]))
    assert wrong == []
    assert checked > 400 and made > 60 and refused < 110, (checked, made, refused)


def test_the_end_is_allowed_exactly_where_the_text_may_end(letters: Tokenizer) -> None:
    text = history(letters, Sampling(regex="ab+"))
    ends = []
    for letter in b"abb":
        ends.append(bool(text.guide.allowed[letters.eos_id]))  # type: ignore[union-attr]
        text.push(letter)
    assert [*ends, bool(text.guide.allowed[letters.eos_id])] == [False, False, True, True]  # type: ignore[union-attr]
    assert text.complete and not text.finished
    text.push(letters.eos_id)  # type: ignore[arg-type]
    assert text.complete


def test_copies_and_tokens_that_are_taken_back(letters: Tokenizer) -> None:
    def allowed(text: History) -> str:
        return bytes(n for n in np.flatnonzero(text.guide.allowed).tolist() if n < 256).decode()  # type: ignore[union-attr]

    text = history(letters, Sampling(regex="a(b(cd)+|x)"))
    for letter in b"ab":
        text.push(letter)
    other = text.fork()
    other.push(ord("c"))
    assert (allowed(text), allowed(other)) == ("c", "d")
    other.rewind(2)
    assert allowed(other) == "bx" and allowed(text) == "c"
    text.push(ord("z"))  # a guess that is not allowed, and one more: nothing is said until they are taken back
    text.push(ord("c"))
    assert text.guide.allowed.all() and not text.complete  # type: ignore[union-attr]
    text.rewind(2)
    assert allowed(text) == "c"
    for letter in (*b"cd", letters.eos_id):
        text.push(letter)  # type: ignore[arg-type]
    text.rewind(2)
    assert allowed(text) == "d" and not text.complete


def test_rows_with_and_without(letters: Tokenizer) -> None:
    rows = [history(letters, one) for one in (Sampling(), Sampling(regex="ab"), Sampling(json_schema='{"const": 7}'))]
    free = chain.process(torch.zeros(3, rows[0].vocab_size), rows).isfinite()
    assert free.sum(-1).tolist() == [rows[0].vocab_size, 1, 1]
    assert free[1, ord("a")] and free[2, ord("7")]


IMPOSSIBLE = [
    ({"regex": "a("}, "regex: unclosed group"),
    ({"regex": "(?=a)b"}, "look-around"),
    ({"regex": r"[^\s\S]"}, "nothing can be generated"),
    ({"json_schema": "{"}, "json_schema is not JSON"),
    ({"json_schema": "[1]"}, "json_schema must be an object"),
    ({"json_schema": "false"}, "json_schema must be an object"),
    ({"json_schema": '{"properties": {"a": false}, "required": ["a"], "type": "object"}'}, "nsatisfiable"),
    ({"json_schema": '{"type": "string", "minLength": 5, "maxLength": 2}'}, "nsatisfiable"),
    ({"json_schema": '{"not": {}}'}, "not"),
    ({"json_schema": '{"oneOf": [{"type": "integer"}, {"minimum": 2}]}'}, "oneOf"),
    ({"json_schema": '{"$ref": "http://localhost:1/x.json"}'}, "localhost"),
    ({"json_schema": '{"a": ' * 5000 + "1" + "}" * 5000}, "json_schema"),
    ({"grammar": "root = x"}, "grammar: "),
    ({"grammar": "root ::= x"}, "'x' not found"),
    ({"grammar": 'start: "a" b'}, "grammar: "),
]


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE, ids=lambda value: str(value)[:40])
def test_what_is_impossible_is_said_at_the_start(letters: Tokenizer, settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as error:
        history(letters, Sampling(**settings))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_vocabulary_that_cannot_spell_it() -> None:
    characters = train(TokenizerSettings(kind="character"), TEXT)
    for regex in ("é+", "caté"):
        with pytest.raises(SettingsError, match="regex: no text of this model's vocabulary satisfies it"):
            history(characters, Sampling(regex=regex))
    assert {generated(characters, Sampling(regex="caté|ca{2}|[^a-sA-Z]"), seed)[0][:2] for seed in range(20)} >= {"ca"}
    text = history(characters, Sampling(grammar='root ::= "caté"'))  # where only the way shows it
    for token in characters.encode("cat"):
        text.push(token)
    with pytest.raises(SettingsError, match="grammar: .* a place where the vocabulary has no token"):
        chain.process(torch.zeros(1, text.vocab_size), [text])


def test_wordpiece_writes_without_spaces_or_says_that_it_cannot() -> None:
    """Its decoder would put spaces between words; under a constraint the text is the letters of its tokens alone."""
    import jsonschema_rs

    words = train(TokenizerSettings(kind="wordpiece", vocab_size=120, min_frequency=1), TEXT)
    assert " " not in "".join(words.token(number) for number in range(words.vocab_size))
    with pytest.raises(SettingsError, match=r"no text of this model's vocabulary .*WordPiece has no spaces"):
        history(words, Sampling(regex="the cat"))
    assert {generated(words, Sampling(regex="the cat|dog"), seed) for seed in range(9)} == {("dog", True)}
    for seed in range(6):
        text, complete = generated(words, Sampling(regex="(cat|dog)[0-9]{2,4}"), seed)
        assert complete and re.fullmatch("(cat|dog)[0-9]{2,4}", text)
        text, complete = generated(words, Sampling(json_schema=PERSON), seed)
        assert complete and not set(text) & {" ", "\n"}
        jsonschema_rs.validate(json.loads(PERSON), json.loads(text))
    with pytest.raises(SettingsError, match="json_schema: .* WordPiece has no spaces"):
        generated(words, Sampling(json_schema='{"const": "the cat"}'), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regex": "a", "grammar": "b"}, "regex and grammar cannot both"),
        ({"regex": " "}, "regex is empty"),
        ({"regex": "a", "min_tokens": 3}, "min_tokens cannot be kept"),
        ({"json_schema": "{}", "forced": {0: 1}}, "forced cannot be kept"),
    ],
)
def test_contradictions(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Sampling(**settings)


def test_without_a_tokenizer() -> None:
    with pytest.raises(SettingsError, match="regex needs a tokenizer"):
        History(Sampling(regex="a"), (0,), 10, 5)


def test_through_the_engine(tiny: Callable[[str], Path], here: Callable[..., Any], tmp_path: Path) -> None:
    """Python and command line; a complete text, and one that `max_tokens` cuts; alone as in a batch."""
    import nextword as nw

    folder = tiny("llama")
    lm = nw.load(folder)
    settings = Sampling(json_schema=PERSON, max_tokens=50, seed=3)
    texts = lm.continuations(["The cat", "A"], settings)
    for found in texts:
        assert found.reason in {"stop", "length"} and found.complete == (found.reason == "stop")
        assert not found.complete or set(json.loads(found.text)) <= {"name", "age", "tags"}
    assert lm.continuations(["A"], settings)[0].text == texts[1].text
    [cut] = lm.continuations(["A"], Sampling(regex="[ab]{40}", max_tokens=5, seed=3))
    assert (cut.reason, cut.complete) == ("length", False) and re.fullmatch("[ab]+", cut.text)
    assert re.fullmatch("(yes|no)", lm.generate("A", regex="yes|no", seed=1))
    file = tmp_path / "person.json"
    file.write_text(PERSON)
    result = here("generate", folder, "A", "--json-schema", file, "--max-tokens", 50, "--seed", 3)
    assert result.stdout == f"A{texts[1].text}\n"
    assert ("the text is complete" if texts[1].complete else "before the text was complete") in result.stderr
    result = here("generate", folder, "A", "--grammar", 'root ::= "yes" | "no"')
    assert result.stdout.strip() in {"Ayes", "Ano"}
    assert "neither one itself nor a file" in here("generate", folder, "A", "--json-schema", tmp_path / "no").stderr
