"""Counts against published sizes, and against the parameters of models that exist."""

import pytest

from nextword.models.count import count, describe
from nextword.models.create import create
from nextword.models.family import Special, fresh_config
from nextword.models.settings import ModelSettings
from nextword.nn.mask import SLACK

LLAMA_2_7B = {
    **{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096},
}
LLAMA_3_70B = {
    **{"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80},
    **{"num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192},
}


YI_6B = {
    **{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 64000, "max_position_embeddings": 4096},
    **{"rope_theta": 5000000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False},
}
DEEPSEEK_LLM_7B = {
    **{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 30},
    **{"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 102400, "max_position_embeddings": 4096},
    **{"rope_scaling": None, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "pretraining_tp": 1},
}
SMOLLM_135M = {
    **{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
    **{"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048},
    **{"rope_interleaved": False, "is_llama_config": True, "attention_bias": False, "tie_word_embeddings": True},
}
LLAMA_3_1_405B = {
    **{"model_type": "llama", "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126},
    **{"num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072},
    **{"rope_theta": 500000.0, "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1},
    "rope_scaling": {
        **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 8192,
    },
}
MISTRAL_7B = {
    **{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": 4096},
}
PYTHIA_1B = {
    **{"model_type": "gpt_neox", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 8},
    **{"intermediate_size": 8192, "vocab_size": 50304},
}
GPTJ_6B = {"model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64, "vocab_size": 50400}
BLOOM_176B = {"model_type": "bloom", "hidden_size": 14336, "n_layer": 70, "n_head": 112, "vocab_size": 250880}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
BERT_BASE = {
    **{"model_type": "bert", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    **{"num_attention_heads": 12, "vocab_size": 30522, "architectures": ["BertForPreTraining"]},
}
T5_BASE = {
    **{"model_type": "t5", "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    **{"vocab_size": 32128, "is_encoder_decoder": True},
}


def gpt3(width: int, depth: int, heads: int) -> dict[str, object]:
    sizes = ModelSettings(family="gpt2", width=width, depth=depth, heads=heads, max_length=2048)
    return fresh_config(sizes, 50257, Special())


def test_gpt3_has_12_layers_width_squared_in_its_matrices() -> None:
    figures = count(describe(gpt3(12288, 96, 96)))
    biases_and_norms = (9 + 4) * 96 * 12288 + 2 * 12288
    assert figures.without_embeddings == 173_946_175_488 + biases_and_norms
    assert 12 * 96 * 12288**2 == 173_946_175_488
    assert figures.parameters == figures.without_embeddings + (50257 + 2048) * 12288
    assert figures.parameters == pytest.approx(174.6e9, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        *[(GPT2, 124_439_808), (BERT_BASE, 110_106_428), (T5_BASE, 222_903_552), (YI_6B, 6_061_035_520)],
        *[(DEEPSEEK_LLM_7B, 6_910_365_696), (SMOLLM_135M, 134_515_008), (LLAMA_3_1_405B, 405_853_388_800)],
        (MISTRAL_7B, 7_241_732_096),
        *[(PYTHIA_1B, 1_011_781_632), (GPTJ_6B, 6_050_882_784), (BLOOM_176B, 176_247_271_424)],
    ],
)
def test_published_sizes(config: dict[str, object], parameters: int) -> None:
    assert count(describe(config)).parameters == parameters


def test_an_encoder_sees_every_key_and_keeps_no_state() -> None:
    figures = count(describe(BERT_BASE), 128)
    matrices = 12 * 12 * 768**2 + 768**2 + 30522 * 768
    assert figures.flops_forward == 2 * matrices + 4 * 12 * 768 * 128
    assert figures.state_bytes(1, "fp32") == figures.fixed_state_bytes("fp32") == 0


def test_a_source_is_kept_and_asked_beside_the_text() -> None:
    figures = count(describe(T5_BASE), 100)
    matrices = 12 * 12 * 768**2 + 12 * 16 * 768**2 + 32128 * 768
    seen = 12 * 4 * 768 * (100 + 100 + 50.5)  # the source by the encoder and by the decoder, the text by the decoder
    assert figures.flops_forward == 2 * matrices + seen
    assert figures.state_bytes(1, "fp32") == 2 * 2 * 12 * 768 * 4


def test_gpt3_s_bands_are_windows_in_every_second_layer_and_weigh_nothing() -> None:
    """GPT-Neo has GPT-3's blocks but for the biases of queries, keys and values."""
    sizes = ModelSettings(family="gpt_neo", width=12288, depth=96, heads=96, max_length=2048, window=256)
    model = describe(fresh_config(sizes, 50257, Special()))
    assert [block.attention.reach.window for block in model.settings.blocks] == [None, 256] * 48
    assert count(model).parameters == count(describe(gpt3(12288, 96, 96))).parameters - 96 * 3 * 12288


@pytest.mark.parametrize(
    ("width", "depth", "heads", "millions"),
    [
        *[(768, 12, 12, 125), (1024, 24, 16, 350), (1536, 24, 16, 760), (2048, 24, 16, 1300)],
        *[(2560, 32, 32, 2700), (4096, 32, 32, 6700), (5120, 40, 40, 13000), (12288, 96, 96, 175000)],
    ],
)
def test_the_eight_sizes_of_gpt3(width: int, depth: int, heads: int, millions: int) -> None:
    """13B: the paper's width 5140 is no 40 heads of 128; 5120 is. Attention's bands weigh nothing."""
    figures = count(describe(gpt3(width, depth, heads)))
    assert figures.parameters == pytest.approx(millions * 1e6, rel=0.04)
    biases_and_norms = 13 * depth * width + 2 * width
    assert figures.without_embeddings == 12 * depth * width**2 + biases_and_norms
    assert figures.parameters == figures.without_embeddings + (50257 + 2048) * width


def test_llama_2_7b() -> None:
    figures = count(describe(LLAMA_2_7B))
    assert figures.parameters == 6_738_415_616
    assert figures.state_bytes(1, "bf16") == 512 * 1024  # 2 · 32 layers · 32 heads · 128 · 2 bytes = 0.5 MiB a token
    matrices = figures.parameters - 32000 * 4096 - figures.by_part["norms"]
    assert count(describe(LLAMA_2_7B), 1).flops_forward == 2 * matrices + 4 * 32 * 4096
    assert figures.flops_training == 3 * figures.flops_forward
    assert figures.weight_bytes("bf16") == 2 * 6_738_415_616


def test_llama_3_70b_needs_no_memory() -> None:
    figures = count(describe(LLAMA_3_70B))
    assert figures.parameters == 70_553_706_496
    assert figures.state_bytes(8192, "bf16") == 2 * 80 * 8 * 128 * 2 * 8192


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "lstm", "gpt2", "bert", "t5"])
def test_the_description_weighs_what_the_model_weighs(family: str, tied: bool) -> None:
    model = create(ModelSettings(family=family, width=32, depth=3, tied=tied), 100, seed=0, eos_id=1)
    figures = count(model)
    assert figures == count(describe(model.config))
    assert figures.parameters == sum(weight.numel() for weight in model.parameters())
    if family in {"llama", "lstm", "t5"}:
        assert figures.without_embeddings == figures.parameters - 100 * 32 * (1 if tied else 2)
    assert figures.weight_bytes("fp32") == 4 * figures.parameters


def test_a_window_bounds_what_is_seen_and_kept() -> None:
    sizes = {"family": "mistral", "width": 64, "depth": 3, "heads": 4, "kv_heads": 2}
    dense, windowed = (count(create(ModelSettings(**sizes, window=window), 100, seed=0), 1000) for window in (1000, 10))
    seen = (10 * 11 / 2 + 990 * 10) / 1000  # 1, 2, ... 10, and 10 for each of the others
    assert dense.flops_forward - windowed.flops_forward == pytest.approx(4 * 3 * 64 * (1001 / 2 - seen))
    kept = 10 + SLACK
    assert windowed.state_bytes(1000, "fp32") == windowed.state_bytes(kept, "fp32") == kept * 2 * 3 * 2 * 16 * 4
    assert windowed.state_bytes(1, "fp32") == dense.state_bytes(1, "fp32")
    both = count(create(ModelSettings(family="modernbert", width=32, depth=3, heads=2), 100, seed=0), 100).costs.near[0]
    pairs = sum(abs(query - key) < both.window for query in range(100) for key in range(100))
    assert both.keys(100) == pytest.approx(pairs / 100) and both.kept == 0


def test_lstm_state_does_not_grow() -> None:
    figures = count(create(ModelSettings(family="lstm", width=32, depth=3), 100, seed=0))
    assert figures.state_bytes(1000, "fp32") == 0
    assert figures.fixed_state_bytes("fp32") == 2 * 3 * 32 * 4  # h and c of each layer
    assert figures.flops_forward == 2 * (3 * 8 * 32 * 32 + 100 * 32)
