"""Our Qwen 2 with experts is transformers': random tiny configs, every tensor drawn anew."""

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
    kind = st.sampled_from(["full_attention", "sliding_attention"])
    layers = sizes["num_hidden_layers"]
    used = data.draw(st.booleans())
    config = transformers.Qwen2MoeConfig(
        **sizes,
        qkv_bias=data.draw(st.booleans()),
        use_sliding_window=used,
        sliding_window=data.draw(st.sampled_from([2, 5])),
        max_window_layers=data.draw(st.integers(0, 3)),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)) if used else None,
        moe_intermediate_size=data.draw(st.integers(3, 9)),
        shared_expert_intermediate_size=data.draw(st.integers(3, 9)),
        num_experts=4,
        num_experts_per_tok=data.draw(st.integers(1, 4)),
        norm_topk_prob=data.draw(st.booleans()),
        decoder_sparse_step=data.draw(st.integers(1, 2)),
        mlp_only_layers=data.draw(st.lists(st.integers(0, layers - 1), max_size=1)),
    )
    model = transformers.Qwen2MoeForCausalLM(config)
    decoders.check(model, seed)
    decoders.check_balance(model)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="qwen2_moe", kv_heads=2, window=window, experts=4)
    assert (theirs.config.moe_intermediate_size, theirs.config.shared_expert_intermediate_size) == (50, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": False}, "'attention_bias' = False, which nextword does not know"),
        ({"layer_types": ["sliding_attention"]}, "no sliding_window is in use; give its length, and set use_sliding"),
        ({"mlp_only_layers": [1]}, "mlp_only_layers must list layers from 0 to 0, received [1]"),
        ({"num_experts": 0}, "'num_experts' must be at least 1, received 0"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"moe_intermediate_size": 4, "shared_expert_intermediate_size": 4, "num_experts": 4}
    config = transformers.Qwen2MoeConfig(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Qwen2MoeForCausalLM(config), change, said, tmp_path)
