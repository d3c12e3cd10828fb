"""Our Qwen 2 and Qwen 3 are transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.count import count, describe

transformers = pytest.importorskip("transformers")

OWN = {  # the flags that one of them has
    "qwen2": st.just({}),
    "qwen3": st.fixed_dictionaries(
        {"head_dim": st.sampled_from([4, 10]), "attention_bias": st.booleans(),
         "rms_norm_eps": st.sampled_from([1e-6, 1e-2])},
    ),
}  # fmt: skip
UNKNOWN = {"qwen2": "attention_bias", "qwen3": "mlp_bias"}  # a flag of other families
families = pytest.mark.parametrize("family", OWN)


def model_of(family: str, **config: Any) -> Any:
    name = family.capitalize()
    return getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**config))


@families
@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, family: str, data: st.DataObject, seed: int) -> None:
    sizes = decoders.sizes(data.draw)
    kind = st.sampled_from(["full_attention", "sliding_attention"])
    layers = sizes["num_hidden_layers"]
    used = data.draw(st.booleans())
    model = model_of(
        family,
        **sizes,
        **data.draw(OWN[family]),
        use_sliding_window=used,
        sliding_window=data.draw(st.sampled_from([2, 3, 5])),
        max_window_layers=data.draw(st.integers(0, 3)),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)) if used else None,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 12},
    )
    decoders.check(model, seed)


@families
@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(
    decoders: Any, family: str, window: int | None, tmp_path: Path
) -> None:
    own = {"head_width": 16} if family == "qwen3" else {}
    theirs = decoders.check_fresh(tmp_path, family=family, kv_heads=2, window=window, **own)
    assert theirs.config.sliding_window == window


@families
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "' = False, which nextword does not know for model_type 'qwen"),
        ({"layer_types": ["sliding_attention"]}, "no sliding_window is in use; give its length, and set use_sliding"),
        ({"layer_types": ["full"]}, "layer_types has 'full'; known: full_attention, sliding_attention"),
        ({"layer_types": []}, "layer_types must list one kind for each of 1 layers"),
    ],
)
def test_what_would_change_numbers_is_refused(
    decoders: Any, family: str, change: Any, said: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = model_of(family, **sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(model, change or {UNKNOWN[family]: False}, said, tmp_path)


QWEN2_5 = {
    **{"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
    **{"num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    **{"max_position_embeddings": 32768, "max_window_layers": 21, "rms_norm_eps": 1e-6, "rope_theta": 1e6},
    **{"sliding_window": 32768, "use_sliding_window": False, "attention_dropout": 0.0, "hidden_act": "silu"},
}
QWEN3 = {
    **{"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
    **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
    **{"max_position_embeddings": 40960, "max_window_layers": 28, "rope_theta": 1e6, "tie_word_embeddings": True},
    **{"sliding_window": None, "use_sliding_window": False, "rope_scaling": None, "attention_bias": False},
}


@pytest.mark.parametrize(("config", "parameters"), [(QWEN2_5, 494_032_768), (QWEN3, 596_049_920)])  # 0.5B and 0.6B
def test_a_published_config_is_read(config: dict[str, Any], parameters: int) -> None:
    assert count(describe(config)).parameters == parameters
