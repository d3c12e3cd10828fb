"""Our Gemma is transformers' Gemma: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.count import count, describe

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.GemmaConfig(
        **decoders.sizes(data.draw),
        head_dim=data.draw(st.sampled_from([4, 6])),
        hidden_act=data.draw(st.sampled_from(["gelu_pytorch_tanh", "gelu", "relu"])),
        attention_bias=data.draw(st.booleans()),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
    )
    decoders.check(transformers.GemmaForCausalLM(config), seed)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="gemma", kv_heads=1, head_width=16, norm_eps=1e-3)


def test_bfloat16_is_rounded_where_theirs_is(decoders: Any) -> None:
    """The embedding's scale in bf16, a norm's product in fp32: one number rounded elsewhere would be seen at once."""
    config = transformers.GemmaConfig(
        **{"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 30},
        **{"num_hidden_layers": 1, "intermediate_size": 8},
    )
    theirs = decoders.drawn(transformers.GemmaForCausalLM(config), 0).bfloat16()
    ours, ids_BT = decoders.ours_of(theirs), torch.arange(12).view(2, 6)
    with torch.no_grad():
        x_BTD = theirs.model.embed_tokens(ids_BT)
        assert torch.equal(ours.embedding.read(ids_BT, ids_BT, 6, None), x_BTD)
        assert torch.equal(ours.norm(x_BTD), theirs.model.norm(x_BTD))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"use_bidirectional_attention": True},
            "use_bidirectional_attention = True is not known to model_type 'gemma'",
        ),
        ({"hidden_activation": "silu"}, "hidden_act 'gelu_pytorch_tanh' contradicts hidden_activation 'silu'"),
        ({"final_logit_softcapping": 3.0}, "'final_logit_softcapping' = 3.0, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.GemmaConfig(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.GemmaForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18},
        **{"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 256000},
        **{"hidden_act": "gelu", "hidden_activation": None, "max_position_embeddings": 8192, "rope_scaling": None},
    }
    assert count(describe(config)).parameters == 2_506_172_416  # Gemma 2B
