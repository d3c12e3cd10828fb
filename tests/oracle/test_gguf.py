"""Models through GGUF and back, and transformers' own reading of the files that we write."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.assembly import gguf as assembly
from nextword.core.errors import CheckpointError
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.gguf import container
from nextword.models.gguf import model as gguf_model
from nextword.models.settings import ModelSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
theirs_gguf = pytest.importorskip("gguf")

SIZES: dict[str, Any] = {
    **{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96},
    **{"num_hidden_layers": 2, "vocab_size": 300, "max_position_embeddings": 64, "head_dim": 16},
    **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8192,
}
GPT2: dict[str, Any] = {
    **{"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 64, "vocab_size": 300},
    **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
GEMMA: dict[str, Any] = {"tie_word_embeddings": True, "query_pre_attn_scalar": 16}
NEAR_FAR = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama tied, biases": ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama 3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "llama linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "gemma": ("Gemma", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2", GEMMA | {"sliding_window": 6, "final_logit_softcapping": 20.0}),
    "gemma3": ("Gemma3", GEMMA | {"sliding_window": 6}),
    "gemma3 linear, untied": (
        "Gemma3",
        GEMMA
        | {"sliding_window": 6, "tie_word_embeddings": False, "num_hidden_layers": 7, "rope_parameters": NEAR_FAR},
    ),
    "gpt2": ("GPT2", {}),
    "gpt2 untied, another width": ("GPT2", {"n_inner": 96, "tie_word_embeddings": False}),
    "phi3": ("Phi3", {"original_max_position_embeddings": 64}),
    "mixtral": ("Mixtral", {"num_local_experts": 3, "num_experts_per_tok": 2}),
}


OURS = {"w1": "gate", "w3": "up", "w2": "down"}
UNREAD = ("query_pre_attn_scalar", "final_logit_softcapping", "attn_logit_softcapping")  # by transformers
TEXT = ["Once upon a time there was a cat.", "The cat sat on the mat, and the dog sat too.", "I'll go"]


def tokenizer() -> Any:
    return train(TokenizerSettings(vocab_size=280, min_frequency=1), iter(TEXT))


@torch.no_grad()
def drawn(name: str, folder: Path) -> Any:
    kind, more = CASES[name]
    torch.manual_seed(0)
    if kind == "GPT2":
        config = transformers.GPT2Config(**GPT2 | more)
    else:
        config = getattr(transformers, kind + ("TextConfig" if kind == "Gemma3" else "Config"))(**SIZES | more)
    theirs = getattr(transformers, kind + ("LMHeadModel" if kind == "GPT2" else "ForCausalLM"))(config).eval()
    for weight in theirs.parameters():
        weight.normal_(0, 0.2)
    theirs.save_pretrained(folder)
    return theirs


IDS_BT = torch.arange(40).view(2, 20)


@torch.no_grad()
def logits_BTV(model: Any) -> torch.Tensor:
    hidden_BTD = model.hidden(Batch(IDS_BT)).hidden_BTD
    return model.logits(hidden_BTD.flatten(0, 1)).unflatten(0, hidden_BTD.shape[:2])


@pytest.mark.parametrize("name", CASES)
def test_a_model_through_gguf_is_the_same(name: str, tmp_path: Path) -> None:
    theirs = drawn(name, tmp_path / "hf")
    assembly.save(tmp_path / "m.gguf", load_model(tmp_path / "hf"), tokenizer(), "f32", "{{ messages }}")
    model, words, template = assembly.load(tmp_path / "m.gguf")
    with torch.no_grad():
        wanted_BTV = theirs(IDS_BT).logits
    assert (logits_BTV(model) - wanted_BTV).abs().max() <= 1e-5 * wanted_BTV.abs().max()
    assert words.encode("The cat") == tokenizer().encode("The cat") and template == "{{ messages }}"
    if not name.startswith("gemma"):  # whose norms are kept as 1 + w, rounded
        for key, tensor in load_model(tmp_path / "hf").state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key]), key


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2", "phi3"])
def test_transformers_reads_what_we_write(name: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="transformers reads GGUF through accelerate")
    theirs = drawn(name, tmp_path / "hf")
    assembly.save(tmp_path / "m.gguf", load_model(tmp_path / "hf"), tokenizer(), "f32")
    try:
        config = transformers.AutoConfig.from_pretrained(tmp_path, gguf_file="m.gguf")
        for key in UNREAD:
            if hasattr(config, key):
                setattr(config, key, getattr(theirs.config, key))
        read = type(theirs).from_pretrained(tmp_path, gguf_file="m.gguf", config=config, dtype=torch.float32)
    except ValueError as error:
        if "not supported" not in str(error):
            raise
        pytest.skip(f"transformers does not read this: {error}")
    with torch.no_grad():
        found, wanted = read(IDS_BT).logits, theirs(IDS_BT).logits
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(("kind", "stored"), [("f32", "F32"), ("q8_0", "Q8_0")])
def test_experts_are_stacked_under_the_names_of_ggufs_own_package(kind: str, stored: str, tmp_path: Path) -> None:
    drawn("mixtral", tmp_path / "hf")
    assembly.save(tmp_path / "m.gguf", load_model(tmp_path / "hf"), tokenizer(), kind)
    file = theirs_gguf.GGUFReader(tmp_path / "m.gguf")
    keys, names = theirs_gguf.Keys.LLM, theirs_gguf.get_tensor_name_map(theirs_gguf.MODEL_ARCH.LLAMA, 2)
    assert file.fields[keys.EXPERT_COUNT.format(arch="llama")].contents() == 3
    assert file.fields[keys.EXPERT_USED_COUNT.format(arch="llama")].contents() == 2
    found = {tensor.name: tensor for tensor in file.tensors}
    router = found[names.get_name("model.layers.1.block_sparse_moe.gate") + ".weight"]
    assert router.tensor_type.name == "F32" and router.data.shape == (3, 64)
    for part, shape in {"w1": (3, 96, 64), "w3": (3, 96, 64), "w2": (3, 64, 96)}.items():
        tensor = found[names.get_name(f"layers.1.feed_forward.experts.{part}") + ".weight"]
        assert tensor.tensor_type.name == stored and tuple(tensor.shape[::-1]) == shape
        each = [load_model(tmp_path / "hf").get_parameter(f"blocks.1.feedforward.experts.{n}.{OURS[part]}.weight")
                for n in range(3)]  # fmt: skip
        read = torch.from_numpy(theirs_gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        torch.testing.assert_close(read, torch.stack(each).detach(), rtol=0, atol=0 if kind == "f32" else 0.004)


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0"])
def test_each_format_is_as_near_as_it_promises(kind: str, tmp_path: Path) -> None:
    drawn("llama", tmp_path / "hf")
    whole = load_model(tmp_path / "hf")
    assembly.save(tmp_path / "m.gguf", whole, tokenizer(), kind)
    content = container.read(tmp_path / "m.gguf")
    kinds = {name: info.kind.name for name, info in content.infos.items()}
    assert kinds["blk.0.attn_q.weight"] == kind and kinds["output_norm.weight"] == "f32"
    assert kinds["output.weight"] == {"q4_0": "q8_0"}.get(kind, kind)
    read = gguf_model.load(content)
    wanted = logits_BTV(whole)
    error = (logits_BTV(read) - wanted).std() / wanted.std()
    assert 0 < error < {"f16": 0.002, "bf16": 0.02, "q8_0": 0.03, "q4_0": 0.5}[kind]


def test_what_gguf_has_no_words_for_is_refused(tmp_path: Path) -> None:
    words = tokenizer()
    with pytest.raises(CheckpointError, match="model_type 'lstm' are not written"):
        assembly.save(tmp_path / "m.gguf", create(ModelSettings(family="lstm", width=32), 300, 0), words, "f32")
    windowed = create(ModelSettings(family="mistral", width=32, depth=1, heads=2, window=8), 300, 0)
    with pytest.raises(CheckpointError, match="window"):
        assembly.save(tmp_path / "m.gguf", windowed, words, "f32")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba'"),
        ({"llama.expert_count": 8}, "llama.expert_used_count must be a whole number"),
        ({"llama.expert_count": (1 << 31) - 1, "llama.expert_used_count": 2}, "0 numbers of experts, too few for"),
        ({"llama.expert_used_count": 2}, "llama.expert_used_count = 2 is not known"),
        ({"llama.attention.head_count": "x"}, "head_count must be a whole number"),
        ({"llama.attention.head_count": 3}, "head"),
        ({"llama.block_count": 5}, "lacks 'blk.2"),
        ({"llama.block_count": (1 << 31) - 1}, "too few for"),
        ({"llama.block_count": 1}, "holds 'blk.1"),
        ({"llama.embedding_length": 32}, "shape"),
        ({"llama.rope.scaling.type": "su"}, "'su' is not read"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, "above 0"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    whole = create(ModelSettings(width=64, depth=2, heads=4), 300, 0)
    assembly.save(tmp_path / "m.gguf", whole, tokenizer(), "f32")
    content = container.read(tmp_path / "m.gguf")
    tensors = [(name, tensor, "f32") for name, tensor in content.tensors()]
    container.write(tmp_path / "wrong.gguf", content.values | change, tensors)
    with pytest.raises(CheckpointError, match=message):
        gguf_model.load(container.read(tmp_path / "wrong.gguf"))
