"""Our Falcon is transformers', both generations and the ALiBi variant: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
LENGTH = 16
FORTY = {"new_decoder_architecture": True, "num_kv_heads": 2}
ELEVEN = FORTY | {"num_ln_in_parallel_attn": 1}
RW = {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
KINDS: dict[str, dict[str, Any]] = {"7B": {}, "40B": FORTY, "11B": ELEVEN, "RW": RW}
ROPES = [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.5}, {"rope_type": "dynamic", "factor": 3.0}]


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 30}
    return transformers.FalconConfig(**({"max_position_embeddings": LENGTH} | sizes | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([{}, FORTY, ELEVEN, {"parallel_attn": False}]))
    heads = 2 * draw(st.integers(1, 3))
    return config(
        **{"hidden_size": 4 * heads * draw(st.integers(1, 3)), "num_attention_heads": heads},
        num_hidden_layers=draw(st.integers(1, 2)),
        ffn_hidden_size=draw(st.one_of(st.none(), st.integers(3, 40))),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        activation=draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        multi_query=draw(st.booleans()),
        alibi=draw(st.booleans()),
        bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        rope_parameters={"rope_theta": draw(st.sampled_from([100.0, 10_000.0])), **draw(st.sampled_from(ROPES))},
        **kind,
    )


@given(configs(), st.integers(0, 1000), st.integers(1, 2 * LENGTH))
@settings(max_examples=16, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.FalconForCausalLM(config), seed, time)


def test_alibi_is_rounded_as_theirs_in_long_texts(decoders: Any) -> None:
    theirs = transformers.FalconForCausalLM(config(hidden_size=32, num_attention_heads=16, num_hidden_layers=1, **RW))
    decoders.check(theirs, 1, 300)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_padded_rows_are_the_same(decoders: Any, kind: str) -> None:
    decoders.check(transformers.FalconForCausalLM(config(**KINDS[kind])), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="falcon", depth=2, kv_heads=2, rope_base=500.0)
    decoders.check_fresh(tmp_path, family="falcon", width=36, depth=1, heads=2, tied=False, norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'falcon'"),
        ({"apply_residual_connection_post_layernorm": True}, "nextword computes with False"),
        ({"num_ln_in_parallel_attn": 2}, "only it may have two norms"),
        ({"new_decoder_architecture": True, "parallel_attn": False}, "the new architecture is parallel"),
        ({"multi_query": False, "num_kv_heads": 2}, "num_kv_heads = 2 is not known"),
        ({"new_decoder_architecture": True, "num_kv_heads": 3}, "num_kv_heads 3 must divide num_attention_heads 4"),
        ({"n_embed": 64}, "n_embed = 64, but hidden_size = 32, which is the same"),
        ({"activation": "gelo"}, "did you mean 'gelu'"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.FalconForCausalLM(config()), change, said, tmp_path)
