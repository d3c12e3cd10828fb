"""What a probe sees is what transformers says of itself: attention maps, and the stream behind every layer."""

from typing import Any

import pytest
import torch

from nextword.probe.attention import attention_maps
from nextword.probe.lens import lens

transformers = pytest.importorskip("transformers")
VOCABULARY, IDS, SOURCE = 30, [1, 2, 3, 4, 5, 6, 7, 2], [9, 8, 7, 6, 5, 4]


def eager(model: str, config: Any) -> Any:
    config._attn_implementation = "eager"  # the only one that gives attention maps
    return getattr(transformers, model)(config)


def llama_like(**more: Any) -> dict[str, Any]:
    return {
        **{"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 16, "pad_token_id": 0},
    } | more


def bert_like(**more: Any) -> dict[str, Any]:
    return {
        **{"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 14},
        **{"vocab_size": VOCABULARY, "max_position_embeddings": 16},
    } | more


def models() -> dict[str, Any]:
    """One of each way to attend: plain, grouped, with a window and capped, by distance, from both sides, shared."""
    gpt2 = {"n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 16, "vocab_size": VOCABULARY}
    gemma2 = llama_like(head_dim=8, sliding_window=3, attn_logit_softcapping=2.0, final_logit_softcapping=5.0)
    bloom = {"hidden_size": 12, "n_head": 3, "n_layer": 2, "vocab_size": VOCABULARY}
    albert = bert_like(embedding_size=6, num_hidden_groups=1)
    return {
        "llama": eager("LlamaForCausalLM", transformers.LlamaConfig(**llama_like())),
        "gpt2": eager("GPT2LMHeadModel", transformers.GPT2Config(**gpt2)),
        "gemma2": eager("Gemma2ForCausalLM", transformers.Gemma2Config(**gemma2)),
        "bloom": eager("BloomForCausalLM", transformers.BloomConfig(**bloom)),
        "bert": eager("BertForMaskedLM", transformers.BertConfig(**bert_like())),
        "albert": eager("AlbertForMaskedLM", transformers.AlbertConfig(**albert)),
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bloom", "bert", "albert"])
def test_maps_and_lens_of_one_stack(parity: Any, name: str) -> None:
    theirs = parity.drawn(models()[name], 3, 0.3)
    with torch.no_grad():
        said = theirs(torch.tensor([IDS]), output_attentions=True, output_hidden_states=True)
    ours = parity.ours_of(theirs)
    parity.same(attention_maps(ours, IDS).own_LHTT, torch.stack([layer[0] for layer in said.attentions]))
    found = list(lens(ours, IDS))
    assert len(found) == len(said.hidden_states)
    body = theirs.base_model
    norm = getattr(body, "norm", None) or getattr(body, "ln_f", None) or torch.nn.Identity()
    head = {"bert": "cls", "albert": "predictions"}.get(name, "lm_head")
    cap = theirs.config.to_dict().get("final_logit_softcapping")
    with torch.no_grad():
        for logits_TV, x_BTD in zip(found[:-1], said.hidden_states[:-1], strict=True):
            wanted_TV = getattr(theirs, head)(norm(x_BTD))[0]
            parity.same(logits_TV, wanted_TV if cap is None else cap * torch.tanh(wanted_TV / cap))
    parity.same(found[-1], said.logits[0])


def test_maps_and_lens_of_an_encoder_decoder(parity: Any) -> None:
    sizes = {"d_model": 12, "d_kv": 4, "d_ff": 10, "num_layers": 2, "num_heads": 3, "vocab_size": VOCABULARY}
    theirs = parity.drawn(eager("T5ForConditionalGeneration", transformers.T5Config(**sizes)), 3, 0.3)
    with torch.no_grad():
        said = theirs(
            input_ids=torch.tensor([SOURCE]), decoder_input_ids=torch.tensor([IDS]), output_attentions=True
        )  # fmt: skip
    ours = parity.ours_of(theirs)
    maps = attention_maps(ours, IDS, SOURCE)
    for found, wanted in (
        (maps.own_LHTT, said.decoder_attentions),
        (maps.source_LHSS, said.encoder_attentions),
        (maps.cross_LHTS, said.cross_attentions),
    ):
        parity.same(found, torch.stack([layer[0] for layer in wanted]))
    found = list(lens(ours, IDS, SOURCE))
    assert len(found) == 3
    parity.same(found[-1], said.logits[0])
