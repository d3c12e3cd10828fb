"""Our Mixtral is transformers' Mixtral: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    experts = data.draw(st.integers(1, 5))
    config = transformers.MixtralConfig(
        **decoders.sizes(data.draw),
        head_dim=data.draw(st.sampled_from([None, 6])),
        hidden_act=data.draw(st.sampled_from(["silu", "gelu"])),
        sliding_window=data.draw(st.sampled_from([None, 2, 5])),
        num_local_experts=experts,
        num_experts_per_tok=data.draw(st.integers(1, experts)),
        rope_parameters={"rope_type": "default", "rope_theta": data.draw(st.sampled_from([1e4, 1e6]))},
    )
    model = transformers.MixtralForCausalLM(config)
    decoders.check(model, seed)
    decoders.check_balance(model)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="mixtral", kv_heads=2, window=window, experts=4)
    assert theirs.config.sliding_window == window
    assert (theirs.config.num_local_experts, theirs.config.num_experts_per_tok) == (4, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"router_jitter_noise": 0.1}, "router_jitter_noise = 0.1 is not known to model_type 'mixtral'"),
        ({"norm_topk_prob": False}, "norm_topk_prob = False is not known to model_type 'mixtral'"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok 9 must be at most num_local_experts 2"),
        ({"num_experts": 3}, "num_experts = 3 is not known to model_type 'mixtral'; nextword computes with 2"),
        ({"n_shared_experts": 1}, "'n_shared_experts' = 1, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.MixtralConfig(**sizes, num_key_value_heads=1, vocab_size=12, num_local_experts=2)
    decoders.refused(transformers.MixtralForCausalLM(config), change, said, tmp_path)
