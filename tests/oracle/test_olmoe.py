"""Our OLMoE is transformers' OLMoE: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.OlmoeConfig(
        **decoders.sizes(data.draw),
        attention_bias=data.draw(st.booleans()),
        clip_qkv=data.draw(st.sampled_from([None, 0.4])),
        num_experts=5,
        num_experts_per_tok=data.draw(st.integers(1, 5)),
        norm_topk_prob=data.draw(st.booleans()),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
    )
    model = transformers.OlmoeForCausalLM(config)
    decoders.check(model, seed)
    decoders.check_balance(model)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="olmoe", kv_heads=2, experts=5, experts_per_token=3)
    assert (theirs.config.num_experts, theirs.config.num_experts_per_tok) == (5, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clip_qkv": 0}, "'clip_qkv' must be above 0"),
        ({"moe_intermediate_size": 8}, "'moe_intermediate_size' = 8, which nextword does not know"),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0, 2.0]}},
         "rope_type 'longrope' is not known for mixtures"),
    ],
)  # fmt: skip
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.OlmoeConfig(**sizes, vocab_size=12, pad_token_id=0, num_experts=3, num_experts_per_tok=2)
    decoders.refused(transformers.OlmoeForCausalLM(config), change, said, tmp_path)
