"""Files from anywhere, valid ones changed at random: each is read, or refused by one of our errors, in bounded time.

What is read must also be usable: a tokenizer encodes and decodes, a model scores, or says by one of our errors why not.
"""

import json
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, DataError, NextwordError
from nextword.core.records import Conversation, Message
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.models.count import describe
from nextword.models.create import create
from nextword.models.gguf import container
from nextword.models.mapped import map_tensors
from nextword.models.settings import ModelSettings
from nextword.tokenizers import gguf
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.conversations import Chat
from nextword.tokenizers.formats import ranks, sentence_pieces, word_pieces

SECONDS, BYTES = 20.0, 64 << 20  # that any of these tiny files may take, on a machine that does other work
FUZZED = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = [0, 1, 8, 255, 1 << 20, 1 << 31, (1 << 53) + 1, 1 << 63, (1 << 64) - 1]
NONSENSE = st.sampled_from(
    [
        *(None, True, -1, 0, 1, 3, 7, 1 << 31, 1 << 62, 10**30, -0.0, 0.5, 1e308, float("nan"), float("inf")),
        *("", "x", "gelu", [], [1], ["x"], [[]], {}, {"type": "x"}, {"rope_type": "linear"}, "\ud800", 10_000, 1e-300),
    ]
)


@contextmanager
def bounded() -> Iterator[None]:
    """Only our own errors, little memory, and an end."""
    began = time.monotonic()
    tracemalloc.start()
    try:
        yield
    except NextwordError as error:
        assert str(error).strip()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BYTES and time.monotonic() - began < SECONDS


def bytes_changed(data: st.DataObject, raw: bytes) -> bytes:
    """Bytes, words of eight, ends and pieces changed in a few places, most often near the beginning."""
    found = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(found) - 1, 400)) | st.integers(0, len(found) - 1))
        change = data.draw(st.sampled_from(["byte", "word", "cut", "insert", "remove"]))
        if change == "byte":
            found[place] = data.draw(st.integers(0, 255))
        elif change == "word":
            found[place : place + 8] = struct.pack("<Q", data.draw(st.sampled_from(WORDS)))
        elif change == "cut":
            del found[max(1, place) :]
        elif change == "insert":
            found[place:place] = data.draw(st.binary(max_size=9))
        else:
            del found[place : place + data.draw(st.integers(1, 9))]
        found = found or bytearray(b"\0")
    return bytes(found)


def tree_changed(data: st.DataObject, tree: Any, deep: int = 6) -> Any:
    """One value somewhere in a tree of JSON replaced, removed, or doubled under another name."""
    if deep and isinstance(tree, dict) and tree and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(tree)))
        change = data.draw(st.sampled_from(["go on", "go on", "remove", "rename"]))
        if change == "go on":
            return {**tree, key: tree_changed(data, tree[key], deep - 1)}
        rest = {name: value for name, value in tree.items() if name != key}
        return rest if change == "remove" else {**rest, key + "x": tree[key]}
    if deep and isinstance(tree, list) and tree and data.draw(st.integers(0, 5)):
        place = data.draw(st.integers(0, len(tree) - 1))
        change = data.draw(st.sampled_from(["go on", "go on", "remove", "double"]))
        if change == "go on":
            return [*tree[:place], tree_changed(data, tree[place], deep - 1), *tree[place + 1 :]]
        return tree[:place] + tree[place + 1 :] if change == "remove" else [*tree, tree[place]]
    return data.draw(NONSENSE)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "llama"
    save_model(create(ModelSettings(width=16, depth=2, heads=2), 20, seed=0), folder)
    return folder


def scored(folder: Path) -> None:
    model = load_model(folder)
    batch = Batch(torch.zeros(1, 3, dtype=torch.int64))
    with torch.no_grad():
        model.score(batch, batch.ids_BT)


@FUZZED
@given(data=st.data())
def test_safetensors(llama: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes_changed(data, (llama / "model.safetensors").read_bytes()))
    shutil.copy(llama / "config.json", tmp_path)
    with bounded():
        for tensor in map_tensors(path).values():
            tensor.sum()
    with bounded():
        scored(tmp_path)


def header(entries: str, size: int = 64) -> bytes:
    return struct.pack("<Q", len(entries)) + entries.encode() + b"\0" * size


ONE = '"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
HOSTILE = {
    "nothing": b"",
    "a length alone": struct.pack("<Q", 2),
    "a length that overflows": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "a length beyond the end": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": header("not json"),
    "a list": header("[1, 2]"),
    "deep JSON": header('{"a":' * 5000 + "1" + "}" * 5000),
    "a place outside": header('{"w":{"dtype":"F32","shape":[400],"data_offsets":[0,1600]}}'),
    "a place that overflows": header('{"w":{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,16]}}'),
    "a negative place": header('{"w":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}'),
    "sizes that overflow": header('{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}'),
    "another size": header('{"w":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}', 16),
    "overlapping places": header("{" + ONE + "," + ONE.replace('"w"', '"v"') + "}", 16),
    "a hole": header("{" + ONE + "," + ONE.replace('"w"', '"v"').replace("[0,16]", "[32,48]") + "}", 48),
    "the same name": header("{" + ONE + "," + ONE.replace("[0,16]", "[16,32]") + "}", 32),
    "more behind the end": header("{" + ONE + "}", 99),
    "no shape": header('{"w":{"dtype":"F32","data_offsets":[0,16]}}', 16),
    "an unknown type": header('{"w":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}', 16),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_one_clear_error(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[case])
    with bounded(), pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        map_tensors(path)


FAMILIES = ["llama", "gpt2", "bert", "gemma3_text", "t5", "nextword", "lstm"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for family in FAMILIES:
        sizes = {"family": family, "width": 16} | ({} if family == "lstm" else {"depth": 2, "heads": 2})
        found[family] = tmp_path_factory.mktemp("families") / family
        save_model(create(ModelSettings(**sizes), 20, seed=0, eos_id=0, pad_id=0), found[family])  # type: ignore[arg-type]
    return found


@FUZZED
@given(data=st.data(), family=st.sampled_from(FAMILIES))
def test_configs(folders: dict[str, Path], tmp_path: Path, data: st.DataObject, family: str) -> None:
    config = tree_changed(data, json.loads((folders[family] / "config.json").read_text()))
    shutil.copy(folders[family] / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with bounded():
        load_model(tmp_path)
    if isinstance(config, dict):
        with bounded():
            describe(config)


@pytest.mark.parametrize("layers", [3, 9_999, 1 << 31, 10**18])
def test_more_layers_than_there_are(llama: Path, tmp_path: Path, layers: int) -> None:
    shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    with bounded(), pytest.raises(CheckpointError, match="num_hidden_layers|lacks 'model.layers.2"):
        load_model(tmp_path)


def used(tokenizer: Tokenizer) -> None:
    for text in ("The cat sat. ß 🙂", "", "x" * 50):
        ids = tokenizer.encode_batch([text])[0]
        tokenizer.decode(tokenizer.framed(ids))


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "word"])
@FUZZED
@given(data=st.data())
def test_tokenizer_json(
    tokenizers_small: dict[str, dict[str, Any]], tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    trees = tokenizers_small[kind]
    name = data.draw(st.sampled_from(sorted(trees)))
    for other, tree in trees.items():
        (tmp_path / other).write_text(json.dumps(tree_changed(data, tree) if other == name else tree))
    with bounded():
        used(Tokenizer.load(tmp_path))


@pytest.fixture(scope="module")
def tokenizers_small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the files of small tokenizers hold."""
    from nextword.tokenizers.settings import TokenizerSettings
    from nextword.tokenizers.train import train

    found = {}
    text = [topics.topics["while"], topics.topics["if"], topics.topics["pass"], topics.topics["lambda"]]
    for kind in ("bpe", "unigram", "wordpiece", "word"):
        folder = tmp_path_factory.mktemp("tokenizers") / kind
        train(TokenizerSettings(kind=kind, vocab_size={"bpe": 280}.get(kind, 120)), text).save(folder)
        used(Tokenizer.load(folder))  # what is imported at first takes its time only once
        found[kind] = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    return found


def write_ranks() -> bytes:
    import base64

    tokens = [bytes([i]) for i in range(256)] + [b"th", b"the", b" the", b"at"]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


def write_pieces(kind_of_model: int = sentence_pieces.BPE) -> bytes:
    """A small SentencePiece model: pieces with scores and kinds, then what kind of model it is."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -1.0, 1), ("a", -2.0, 1), ("▁a", -1.5, 1)]
    found = b""
    for piece, score, kind in pieces:
        raw = piece.encode()
        body = b"\x0a" + bytes([len(raw)]) + raw + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
        found += b"\x0a" + bytes([len(body)]) + body
    return found + b"\x12\x02\x18" + bytes([kind_of_model])  # trainer_spec.model_type


def write_units() -> bytes:
    return write_pieces(sentence_pieces.UNIGRAM)


def write_words() -> bytes:
    return "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##e", "ß", "x", "##x", ""]).encode()


@pytest.mark.parametrize(
    ("name", "write", "form", "config"),
    [
        ("tokenizer.model", write_pieces, sentence_pieces, {"tokenizer_class": "LlamaTokenizer"}),
        ("spiece.model", write_units, sentence_pieces, {"tokenizer_class": "T5Tokenizer"}),
        ("sentencepiece.bpe.model", write_units, sentence_pieces, {"tokenizer_class": "XLMRobertaTokenizer"}),
        ("vocab.txt", write_words, word_pieces, {"tokenizer_class": "BertTokenizer"}),
        ("cl100k_base.tiktoken", write_ranks, ranks, {}),
    ],
)
@FUZZED
@given(data=st.data())
def test_older_vocabularies(
    tmp_path: Path, data: st.DataObject, name: str, write: Callable[[], bytes], form: Any, config: dict[str, str]
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / name).write_bytes(write())
    assert form.find(tmp_path)
    used(Tokenizer.load(tmp_path))
    (tmp_path / name).write_bytes(bytes_changed(data, write()))
    with bounded():
        used(Tokenizer.load(tmp_path))


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "RobertaTokenizer", "Qwen2Tokenizer", "CLIPTokenizer"])
@FUZZED
@given(data=st.data())
def test_vocabulary_and_merges(
    tokenizers_small: dict[str, dict[str, Any]], tmp_path: Path, data: st.DataObject, name: str
) -> None:
    model = tokenizers_small["bpe"]["tokenizer.json"]["model"]
    vocabulary = dict(model["vocab"])
    for token in ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|startoftext|>"):
        vocabulary.setdefault(token, len(vocabulary))
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]).encode()
    config, raw = {"tokenizer_class": name}, json.dumps(vocabulary).encode()
    match data.draw(st.sampled_from(["vocabulary", "bytes", "merges", "config"])):
        case "vocabulary":
            raw = json.dumps(tree_changed(data, vocabulary)).encode()
        case "bytes":
            raw = bytes_changed(data, raw)
        case "merges":
            merges = bytes_changed(data, merges)
        case "config":
            more = {"added_tokens_decoder": {"300": {"content": "<x>", "special": True}}, "bos_token": "<s>"}
            config = tree_changed(data, config | more)
    for file, content in (("vocab.json", raw), ("merges.txt", merges)):
        (tmp_path / file).write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with bounded():
        used(Tokenizer.load(tmp_path))


GGUF_VALUES = st.sampled_from(
    [
        *(True, -1, 0, 3, 1 << 62, 0.5, float("nan"), "", "x", "gpt-2", "llama", [], ["x"], ["x", "x"], ["a b", "b c"]),
        *(np.zeros(0), np.full(7, -1, np.int64), np.full(7, np.nan, np.float32), np.ones(3, bool)),
    ]
)


def gguf_values(trees: dict[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    """What a GGUF file says of a small vocabulary of one of the kinds that there are."""
    if kind == "gpt2":
        model = trees["bpe"]["tokenizer.json"]["model"]
        tokens, more = sorted(model["vocab"], key=model["vocab"].get), {"pre": "qwen2"}
        more |= {"merges": [" ".join(pair) for pair in model["merges"]]}
        types = [1] * len(tokens)
    elif kind == "llama":
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "e", "ae", "▁ae"]
        types = [2, 3, 3, *[6] * 256, *[1] * 6]
        more = {"scores": np.linspace(0, -9, len(tokens), dtype=np.float32), "unknown_token_id": 0, "bos_token_id": 1}
    else:
        tokens, types = ["[UNK]", "[CLS]", "[SEP]", "▁the", "e", "▁x", "x"], [2, 3, 3, 1, 1, 1, 1]
        more = {"unknown_token_id": 0, "cls_token_id": 1, "seperator_token_id": 2}
    more |= {"add_bos_token": True, "add_space_prefix": True, "eos_token_id": 2, "eot_token_id": 2}
    values = {"model": kind, "tokens": tokens, "token_type": np.array(types, np.int32), **more}
    return {gguf.KEY + key: value for key, value in values.items()}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
@FUZZED
@given(data=st.data())
def test_gguf_vocabularies(
    tokenizers_small: dict[str, dict[str, Any]], tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    values, path = gguf_values(tokenizers_small, kind), tmp_path / "vocabulary.gguf"
    used(gguf.read(values, "here"))
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(values)))
        inside = isinstance(values[key], list) and data.draw(st.booleans())
        other = tree_changed(data, values[key]) if inside else data.draw(GGUF_VALUES)
        values[key] = [str(one) for one in other] if isinstance(other, list) else other
        with bounded():
            used(gguf.read(values, "here"))
        return
    container.write(path, values, [])
    path.write_bytes(bytes_changed(data, path.read_bytes()))
    with bounded():
        used(gguf.read(container.read(path).values, "here"))


BODIES = st.lists(
    st.sampled_from(
        [
            *("{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{% if loop.first %}"),
            *("{% endif %}", "{% set x = x * 2 %}", "{{ x }}", "{% macro f() %}", "{% endmacro %}", "{{ f() }}"),
            *("{{ ''.__class__.__mro__ }}", "{% import 'os' as o %}", "{% include 'x' %}", "{{ range(10**9) | list }}"),
            *("{{ 'x' * 10**9 }}", "{% for i in range(10**6) %}", "{{ messages | tojson }}", "{% set x = [1] %}"),
            *("{{ cycler.__init__.__globals__ }}", "{{ [1,2].append(3) }}", "{{ namespace(x=1).x }}", "{{ 1/0 }}"),
            *("<|im_end|>", "{%"),
            *("{{ '%s' % x }}", "{{ 'a'.format() }}", "{% call f() %}{% endcall %}", "{{ self }}", "{% raw %}", "}}"),
        ]
    ),
    max_size=9,
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(parts=BODIES)
def test_templates(tokenizers_small: dict[str, dict[str, Any]], tmp_path: Path, parts: list[str]) -> None:
    for name, tree in tokenizers_small["bpe"].items():
        (tmp_path / name).write_text(json.dumps(tree))
    with pytest.MonkeyPatch.context() as patch, bounded():
        patch.setattr("nextword.tokenizers.sandbox.LONGEST_SECONDS", 0.5)
        try:
            talk = Conversation((Message("user", "Hello"), Message("assistant", "Hi")))
            Chat(Tokenizer.load(tmp_path), "".join(parts)).encode(talk)
        except DataError as error:
            assert str(error).strip()
