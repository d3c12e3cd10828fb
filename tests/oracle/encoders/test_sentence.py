"""A folder of sentence-transformers gives the vectors that its steps give, worked out by hand with transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

import nextword as nw
from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.checkpoint import save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
TEXTS = ["the cat sat on the mat", "a dog", "my red hat is on the bed by the red house and the cat"]
READ = 9  # tokens of the longest text that is read
TRANSFORMER, POOLING = "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"
MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "root": "pooling_mode_mean_sqrt_len_tokens",
    "last": "pooling_mode_lasttoken",
}


@pytest.fixture(scope="module")
def body(encoders: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    place = tmp_path_factory.mktemp("sentence")
    made = train(TokenizerSettings(kind="wordpiece", vocab_size=50, min_frequency=1, purpose="bert"), TEXTS)
    sizes = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20}
    config = transformers.BertConfig(**sizes, vocab_size=made.vocab_size, max_position_embeddings=40)
    theirs = encoders.drawn("Bert", "Model", config, 3)
    theirs.save_pretrained(place)
    made.save(place)
    return place, theirs


def steps(place: Path, modes: list[str], normalise: bool, extra: str | None = None) -> None:
    kinds = [TRANSFORMER, POOLING] + ["sentence_transformers.models.Normalize"] * normalise + ([extra] if extra else [])
    paths = ["", "1_Pooling", "2_Normalize", "3_More"]
    modules = [{"idx": n, "name": str(n), "path": paths[n], "type": kind} for n, kind in enumerate(kinds)]
    (place / "modules.json").write_text(json.dumps(modules))
    (place / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 12, **{key: name in modes for name, key in MODES.items()}}
    (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": READ, "do_lower_case": False}))


def by_hand(theirs: Any, ids: list[int], mode: str) -> torch.Tensor:
    with torch.no_grad():
        hidden_TD = theirs(torch.tensor([ids])).last_hidden_state[0]
    pooled = {"cls": hidden_TD[0], "max": hidden_TD.max(0).values, "mean": hidden_TD.mean(0), "last": hidden_TD[-1]}
    return (pooled | {"root": hidden_TD.sum(0) / len(ids) ** 0.5})[mode]


@pytest.mark.parametrize(
    ("modes", "normalise"),
    [(["mean"], True), (["cls"], False), (["max"], True), (["cls", "mean", "root", "last"], True)],
)
def test_as_the_folder_says(body: Any, modes: list[str], normalise: bool, tmp_path: Path) -> None:
    place, theirs = body
    steps(place, modes, normalise)
    lm = nw.load(place)
    rows = [lm.tokenizer.encode(text)[: READ - 2] for text in TEXTS]
    rows = [[lm.tokenizer.cls_id, *row, lm.tokenizer.sep_id] for row in rows]
    assert min(map(len, rows)) < max(map(len, rows)) == READ  # one is short, one is cut
    wanted = torch.stack([torch.cat([by_hand(theirs, row, mode) for mode in modes]) for row in rows])
    wanted = wanted / wanted.norm(dim=1, keepdim=True) if normalise else wanted
    torch.testing.assert_close(lm.embed(TEXTS), wanted, rtol=1e-4, atol=1e-5)
    other = torch.stack([by_hand(theirs, row, "last") for row in rows])
    torch.testing.assert_close(lm.embed(TEXTS, pooling="last", normalise=False), other, rtol=1e-4, atol=1e-5)
    lm.save(tmp_path / "again")
    for file in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        assert (tmp_path / "again" / file).read_text() == (place / file).read_text()
    assert torch.equal(nw.load(tmp_path / "again").embed(TEXTS), lm.embed(TEXTS))


def test_steps_that_are_not_known_are_refused(body: Any) -> None:
    place, _ = body
    steps(place, ["mean"], True, "sentence_transformers.models.Dense")
    with pytest.raises(CheckpointError, match="asks for Transformer, Pooling, Normalize, Dense; nextword knows"):
        nw.load(place)
    steps(place, ["mean"], False, "sentence_transformers.models.CNN")
    with pytest.raises(CheckpointError, match="asks for Transformer, Pooling, CNN; nextword knows"):
        nw.load(place)
    steps(place, [], True)
    with pytest.raises(CheckpointError, match="asks for no pooling"):
        nw.load(place)


def test_without_steps_it_is_the_mean_of_the_whole_text(tmp_path: Path) -> None:
    made = train(TokenizerSettings(kind="wordpiece", vocab_size=50, min_frequency=1, purpose="bert"), TEXTS)
    save_model(create(ModelSettings(family="bert", width=12, depth=1, heads=3), made.vocab_size, 1), tmp_path)
    made.save(tmp_path)
    lm = nw.load(tmp_path)
    assert lm.sentence is None
    assert torch.equal(lm.embed(TEXTS), lm.embed(TEXTS, pooling="mean", normalise=False))


QUERY = "Instruct: find the cat\nQuery:"
ENDING = "<|endoftext|>"


@pytest.fixture
def decoder(encoders: Any, tmp_path: Path) -> tuple[Path, Any]:
    """A decoder for embeddings as Qwen 3's are published: bare names, an end token by the template, prompts."""
    made = train(TokenizerSettings(vocab_size=280, min_frequency=1), TEXTS)
    ids = [(ENDING, made.eos_id)]
    made.inner.post_processor = TemplateProcessing(single=f"$A {ENDING}", special_tokens=ids)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = transformers.Qwen3Config(
        **sizes, num_hidden_layers=2, intermediate_size=20, vocab_size=made.vocab_size, pad_token_id=made.eos_id
    )
    theirs = encoders.drawn("Qwen3", "Model", config, 3)
    theirs.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["Qwen3ForCausalLM"]}))
    made.save(tmp_path)
    steps(tmp_path, ["last"], True)
    (tmp_path / "sentence_bert_config.json").unlink()
    prompts(tmp_path, {"query": QUERY, "document": ""})
    return tmp_path, theirs


def prompts(place: Path, texts: Any, default: str | None = None) -> None:
    tree = {"prompts": texts, "default_prompt_name": default, "similarity_fn_name": "cosine"}
    (place / "config_sentence_transformers.json").write_text(json.dumps(tree))


@torch.no_grad()
@pytest.mark.parametrize(("named", "before"), [(None, ""), ("document", ""), ("query", QUERY)])
def test_a_decoder_with_prompts(decoder: tuple[Path, Any], named: str | None, before: str, tmp_path: Path) -> None:
    place, theirs = decoder
    lm = nw.load(place)
    rows = [[*lm.tokenizer.encode(before + text), lm.tokenizer.eos_id] for text in TEXTS]
    wanted = torch.stack([theirs(torch.tensor([row])).last_hidden_state[0, -1] for row in rows])
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(lm.embed(TEXTS, prompt=named), wanted, rtol=1e-4, atol=1e-5)
    prompts(place, {"query": QUERY, "document": ""}, named)
    usual = nw.load(place)
    torch.testing.assert_close(usual.embed(TEXTS), wanted, rtol=1e-4, atol=1e-5)
    usual.save(tmp_path / "again")
    assert torch.equal(nw.load(tmp_path / "again").embed(TEXTS), usual.embed(TEXTS))


@torch.no_grad()
@pytest.mark.parametrize("mode", ["mean", "last"])
def test_a_prompt_may_be_left_out_of_the_pool(decoder: tuple[Path, Any], mode: str) -> None:
    place, theirs = decoder
    file = place / "1_Pooling" / "config.json"
    file.write_text(json.dumps({"pooling_mode": {"last": "lasttoken"}.get(mode, mode), "include_prompt": False}))
    lm = nw.load(place)
    head, wanted = len(lm.tokenizer.encode(QUERY)), []
    for text in TEXTS:
        row = [*lm.tokenizer.encode(QUERY + text), lm.tokenizer.eos_id]
        assert row[:head] == lm.tokenizer.encode(QUERY)
        hidden_TD = theirs(torch.tensor([row])).last_hidden_state[0, head:]
        wanted.append(hidden_TD.mean(0) if mode == "mean" else hidden_TD[-1])
    found = lm.embed(TEXTS, prompt="query", normalise=False)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-5)
    without = lm.embed(TEXTS, normalise=False)
    assert not torch.allclose(found, without)


def test_prompts_that_are_not_there_are_refused(decoder: tuple[Path, Any]) -> None:
    place, _ = decoder
    with pytest.raises(SettingsError, match="no prompt 'quest'; it has 'query', 'document'"):
        nw.load(place).embed(TEXTS, prompt="quest")
    prompts(place, {"query": QUERY}, "document")
    with pytest.raises(CheckpointError, match="default_prompt_name one of them"):
        nw.load(place)
    prompts(place, {"query": 3})
    with pytest.raises(CheckpointError, match="prompts must be texts by name"):
        nw.load(place)


def dense(place: Path, name: str, width: int, activation: str, bias: bool) -> torch.nn.Linear:
    """A dense layer as sentence-transformers saves it."""
    layer = torch.nn.Linear(12, width, bias=bias)
    (place / name).mkdir(exist_ok=True)
    tree = {"in_features": 12, "out_features": width, "bias": bias}
    tree |= {"activation_function": f"torch.nn.modules.activation.{activation}"}
    (place / name / "config.json").write_text(json.dumps(tree))
    save_file({f"linear.{key}": x for key, x in layer.state_dict().items()}, place / name / "model.safetensors")
    return layer


@torch.no_grad()
@pytest.mark.parametrize(("activation", "bias"), [("Tanh", True), ("Identity", False)])
def test_dense_layers_behind_the_pooling(body: Any, tmp_path: Path, activation: str, bias: bool) -> None:
    """As LaBSE (tanh) and the sentence encoders made of T5 (a matrix alone); then scaled to length 1."""
    place = tmp_path / "dense"
    shutil.copytree(body[0], place)
    steps(place, ["cls"], False)
    plain = nw.load(place).embed(TEXTS)
    modules = json.loads((place / "modules.json").read_text())
    for path, kind in (("2_Dense", "Dense"), ("3_Normalize", "Normalize")):
        modules.append({"idx": len(modules), "path": path, "type": f"sentence_transformers.models.{kind}"})
    (place / "modules.json").write_text(json.dumps(modules))
    layer = dense(place, "2_Dense", 7, activation, bias)
    wanted = layer(plain).tanh() if activation == "Tanh" else layer(plain)
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    lm = nw.load(place)
    torch.testing.assert_close(lm.embed(TEXTS), wanted, rtol=1e-4, atol=1e-5)
    lm.save(tmp_path / "again")
    assert torch.equal(nw.load(tmp_path / "again").embed(TEXTS), lm.embed(TEXTS))
    for change, said in (
        ({"activation_function": "x.Mish"}, "with Mish is not known"),
        ({"out_features": 8}, "not those"),
    ):
        file = place / "2_Dense" / "config.json"
        kept = file.read_text()
        file.write_text(json.dumps(json.loads(kept) | change))
        with pytest.raises(CheckpointError, match=said):
            nw.load(place)
        file.write_text(kept)
