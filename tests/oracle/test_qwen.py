"""Our Qwen 1 is the published one: a transcription of its code, random tiny configs, every tensor drawn anew."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.count import count, describe
from nextword.models.create import create
from nextword.models.settings import ModelSettings

QWEN_7B = {
    **{"model_type": "qwen", "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "kv_channels": 128, "vocab_size": 151936, "layer_norm_epsilon": 1e-6},
    **{"attn_dropout_prob": 0.0, "emb_dropout_prob": 0.0, "bf16": False, "fp16": False, "fp32": False},
    **{"max_position_embeddings": 8192, "seq_length": 8192, "no_bias": True, "onnx_safe": None},
    **{"rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": True, "tie_word_embeddings": False},
    **{"use_dynamic_ntk": True, "use_flash_attn": "auto", "use_logn_attn": True, "dtype": "float32"},
}


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Block(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        width, inner = c.hidden_size, c.intermediate_size // 2
        self.config, self.ln_1, self.ln_2 = c, *(RMSNorm(width, c.layer_norm_epsilon) for _ in range(2))
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn = nn.Linear(width, 3 * width)
        self.attn.c_proj = nn.Linear(width, width, bias=not c.no_bias)
        self.mlp.w1, self.mlp.w2 = (nn.Linear(width, inner, bias=not c.no_bias) for _ in range(2))
        self.mlp.c_proj = nn.Linear(inner, width, bias=not c.no_bias)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        c, time = self.config, x_BTD.shape[1]
        heads = self.attn.c_attn(self.ln_1(x_BTD)).split(c.hidden_size, dim=2)
        query, key, value = (part.unflatten(2, (c.num_attention_heads, c.kv_channels)) for part in heads)
        turned = int(c.kv_channels * c.rotary_pct)
        frequencies = 1.0 / (c.rotary_emb_base ** (torch.arange(0, turned, 2).float() / turned))
        angles = torch.outer(torch.arange(time).float(), frequencies)
        angles = torch.cat((angles, angles), -1)[None, :, None]
        query, key = (self.rotated(part, angles, turned) for part in (query, key))
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) / c.kv_channels**0.5
        scores = scores.masked_fill(~torch.ones(time, time, dtype=torch.bool).tril(), float("-inf"))
        taken = (scores.softmax(-1) @ value.transpose(1, 2)).transpose(1, 2).flatten(2)
        x_BTD = x_BTD + self.attn.c_proj(taken)
        n_BTD = self.ln_2(x_BTD)
        return x_BTD + self.mlp.c_proj(self.mlp.w1(n_BTD) * functional.silu(self.mlp.w2(n_BTD)))

    def rotated(self, x: torch.Tensor, angles: torch.Tensor, turned: int) -> torch.Tensor:
        first, passed = x[..., :turned], x[..., turned:]
        half = torch.cat((-first[..., turned // 2 :], first[..., : turned // 2]), -1)
        return torch.cat((first * angles.cos() + half * angles.sin(), passed), -1)


class QWen(nn.Module):
    """The published model, with the little of transformers' classes that the tests ask for."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.tree, self.config, self.generation_config = config, SimpleNamespace(**config), SimpleNamespace()
        c = self.config
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(c.vocab_size, c.hidden_size)
        self.transformer.h = nn.ModuleList(Block(c) for _ in range(c.num_hidden_layers))
        self.transformer.ln_f = RMSNorm(c.hidden_size, c.layer_norm_epsilon)
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        if c.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, ids_BT: torch.Tensor) -> Any:
        x_BTD = self.transformer.wte(ids_BT)
        for block in self.transformer.h:
            x_BTD = block(x_BTD)
        return SimpleNamespace(logits=self.lm_head(self.transformer.ln_f(x_BTD)))

    def generate(self, ids_BT: torch.Tensor, max_new_tokens: int, **_: Any) -> torch.Tensor:
        for _ in range(max_new_tokens):
            ids_BT = torch.cat([ids_BT, self(ids_BT).logits[:, -1:].argmax(-1)], 1)
        return ids_BT

    def save_pretrained(self, folder: Path) -> None:
        Path(folder).mkdir(exist_ok=True)
        tensors = dict(self.named_parameters())  # the tied one once
        save_file({name: x.detach().contiguous() for name, x in tensors.items()}, Path(folder) / "model.safetensors",
                  {"format": "pt"})  # fmt: skip
        (Path(folder) / "config.json").write_text(json.dumps(self.tree, indent=2, sort_keys=True) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> "QWen":
        model = cls(json.loads((folder / "config.json").read_text()))
        missing, extra = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        assert not extra and set(missing) <= ({"lm_head.weight"} if model.config.tie_word_embeddings else set())
        return model


def tiny(**changed: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "kv_channels": 8, "intermediate_size": 20}
    return QWEN_7B | sizes | {"num_hidden_layers": 2, "vocab_size": 30, "seq_length": 16} | changed


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    heads, head_width = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([8, 12]))
    changed = {
        **{"num_attention_heads": heads, "kv_channels": head_width, "hidden_size": heads * head_width},
        "intermediate_size": data.draw(st.integers(2, 30)),
        "num_hidden_layers": data.draw(st.integers(1, 3)),
        "layer_norm_epsilon": data.draw(st.sampled_from([1e-6, 1e-2])),
        "no_bias": data.draw(st.booleans()),
        "rotary_emb_base": data.draw(st.sampled_from([10000, 500])),
        "rotary_pct": data.draw(st.sampled_from([1.0, 0.5])),
        "tie_word_embeddings": data.draw(st.booleans()),
        **{"use_dynamic_ntk": data.draw(st.booleans()), "use_logn_attn": data.draw(st.booleans())},
    }
    decoders.check(QWen(tiny(**changed)), seed)


def test_a_fresh_model_is_read_by_the_published_code(decoders: Any, tmp_path: Path) -> None:
    sizes = {"width": 48, "depth": 2, "heads": 4, "ffn_width": 50, "max_length": 32, "rope_base": 500.0}
    model = decoders.drawn(create(ModelSettings(family="qwen", **sizes), 70, seed=5, eos_id=3), 5)
    save_model(model, tmp_path / "fresh")
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        wanted_BTV = QWen.from_pretrained(tmp_path / "fresh")(ids_BT).logits
    decoders.same(decoders.logits_BTV(model, Batch(ids_BT)), wanted_BTV)


@torch.no_grad()
def test_beyond_its_length_a_text_is_refused_where_numbers_would_change(decoders: Any) -> None:
    rows = [list(range(20)), list(range(16))]
    for on in ({"use_logn_attn": False}, {"use_dynamic_ntk": False}, {}):
        ours = decoders.ours_of(QWen(tiny(**on)))
        assert ours.max_length == 16
        with pytest.raises(SettingsError, match=r"a text of 20 tokens is longer than the 16 within which"):
            ours.hidden(pad(rows))
        state = ours.hidden(pad(rows[1:]), ours.start(1, 20)).state
        with pytest.raises(SettingsError, match="17 tokens"):
            ours.hidden(Batch(torch.tensor([[1]])), state)
    theirs = decoders.drawn(QWen(tiny(use_logn_attn=False, use_dynamic_ntk=False)), 3)
    longer_BTV = decoders.logits_BTV(decoders.ours_of(theirs), Batch(torch.tensor(rows[:1])))
    decoders.same(longer_BTV, theirs(torch.tensor(rows[:1])).logits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kv_channels": 6}, "kv_channels 6 times 2 heads must be hidden_size 16"),
        ({"scale_attn_weights": False}, "scale_attn_weights = False is not known to model_type 'qwen'"),
        ({"use_cache_quantization": True}, "use_cache_quantization = True is not known to model_type 'qwen'"),
        ({"rotary_pct": 0.4}, "turns 3 of the 8 coordinates"),
        ({"num_key_value_heads": 1}, "'num_key_value_heads' = 1, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    QWen(tiny()).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny(**change)))
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_model(tmp_path)


def test_the_published_config_is_read() -> None:
    assert count(describe(QWEN_7B)).parameters == 7_721_324_544
