"""Our Qwen 3 with experts is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    sizes = decoders.sizes(data.draw)
    layers = sizes["num_hidden_layers"]
    config = transformers.Qwen3MoeConfig(
        **sizes,
        **data.draw(st.sampled_from([{}, {"head_dim": 6}])),
        attention_bias=data.draw(st.booleans()),
        use_sliding_window=data.draw(st.booleans()),
        sliding_window=data.draw(st.sampled_from([2, 5])),
        moe_intermediate_size=data.draw(st.integers(3, 9)),
        num_experts=4,
        num_experts_per_tok=data.draw(st.integers(1, 4)),
        norm_topk_prob=data.draw(st.booleans()),
        decoder_sparse_step=data.draw(st.integers(1, 2)),
        mlp_only_layers=data.draw(st.lists(st.integers(0, layers - 1), max_size=1)),
    )
    model = transformers.Qwen3MoeForCausalLM(config)
    decoders.check(model, seed)
    decoders.check_balance(model)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="qwen3_moe", kv_heads=2, window=window, experts=4, head_width=10)
    assert theirs.config.sliding_window == window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shared_expert_intermediate_size": 8}, "'shared_expert_intermediate_size' = 8, which nextword does not know"),
        ({"use_sliding_window": True, "max_window_layers": 1}, "'max_window_layers' = 1, which nextword does not know"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok 5 must be at most num_experts 4"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"moe_intermediate_size": 4, "num_experts": 4, "num_experts_per_tok": 2}
    config = transformers.Qwen3MoeConfig(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Qwen3MoeForCausalLM(config), change, said, tmp_path)
