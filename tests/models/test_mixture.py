"""Mixtures in training, and their published sizes."""

import pytest
import torch

from nextword.data.labelled import Labelled
from nextword.models.count import count, describe
from nextword.models.create import create
from nextword.models.mixture import MixtureTransformer
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train.blocks import recompute

MIXTRAL_8X7B = {
    **{"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": None},
    **{"num_local_experts": 8, "num_experts_per_tok": 2, "rope_theta": 1e6, "max_position_embeddings": 32768},
    **{"output_router_logits": False, "router_aux_loss_coef": 0.02, "tie_word_embeddings": False},
}
OLMOE_1B_7B = {
    **{"model_type": "olmoe", "hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16},
    **{"num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 50304, "clip_qkv": None},
    **{"num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": False, "router_aux_loss_coef": 0.01},
}
QWEN_A2_7B = {
    **{"model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24},
    **{"num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 151936, "decoder_sparse_step": 1},
    **{"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "norm_topk_prob": False},
    **{"shared_expert_intermediate_size": 5632, "use_sliding_window": False, "max_window_layers": 21},
}
QWEN3_30B = {
    **{"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48},
    **{"num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936},
    **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True},
    **{"mlp_only_layers": [], "max_window_layers": 48, "sliding_window": None, "use_sliding_window": False},
}


@pytest.mark.parametrize(
    ("config", "billions", "active"),
    [(MIXTRAL_8X7B, 46.7, 12.9), (OLMOE_1B_7B, 6.9, 1.3), (QWEN_A2_7B, 14.3, 2.7), (QWEN3_30B, 30.5, 3.3)],
)  # fmt: skip
def test_published_sizes(config: dict[str, object], billions: float, active: float) -> None:
    figures = count(describe(config))
    assert figures.parameters / 1e9 == pytest.approx(billions, abs=0.06)  # they are published rounded, or cut off
    assert figures.active / 1e9 == pytest.approx(active, abs=0.06)


def test_mixtral_counted_by_hand() -> None:
    figures = count(describe(MIXTRAL_8X7B), length=1)
    expert, norms = 3 * 4096 * 14336, 65 * 4096
    outside = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 8 * 4096) + 32000 * 4096  # matrices that every token passes
    assert figures.parameters == outside + 32000 * 4096 + norms + 32 * 8 * expert == 46_702_792_704
    assert figures.active == figures.parameters - 32 * 6 * expert
    assert figures.flops_forward == 2 * (outside + 32 * 2 * expert) + 32 * 4 * 4096


def model() -> MixtureTransformer:
    sizes = {"width": 32, "depth": 2, "heads": 2, "ffn_width": 16, "max_length": 16, "experts": 4}
    return create(ModelSettings(family="mixtral", **sizes), 20, seed=3)


def rows(ids_BT: torch.Tensor) -> Labelled:
    return Labelled(ids_BT[:, :-1], ids_BT[:, 1:])


def test_the_balance_is_a_term_of_the_loss_and_not_of_the_validation() -> None:
    made, batch, objective = model(), rows(torch.arange(18).view(2, 9)), NextToken()
    loss = objective(made, batch)
    assert set(loss) == {"next_token", "balance"}
    assert {name: int(term.count) for name, term in loss.items()} == objective.counts(batch)
    assert (loss["balance"].weight, loss["next_token"].weight) == (0.01, 1.0)
    assert set(objective.look(made, batch)[0]) == {"next_token"}


def test_without_weight_there_is_no_balance() -> None:
    made = model()
    made.weight = 0.0
    assert set(NextToken()(made, rows(torch.arange(18).view(2, 9)))) == {"next_token"}


def test_activations_computed_again_tell_the_balance_once() -> None:
    sides = []
    for again in (False, True):
        made = model()
        made.weight = 1.0  # so that it shows
        if again:
            recompute(made)
        loss = NextToken()(made, rows(torch.arange(18).view(2, 9)))
        sum(term.total * term.weight for term in loss.values()).backward()
        sides.append({name: w.grad for name, w in made.named_parameters()})
    assert all(torch.equal(sides[1][name], gradient) for name, gradient in sides[0].items())


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen2_moe", "qwen3_moe"])
def test_a_fresh_model_learns_in_every_part(family: str) -> None:
    sizes = {"width": 32, "depth": 2, "heads": 2, "ffn_width": 16, "max_length": 16, "experts": 4}
    made = create(ModelSettings(family=family, **sizes), 20, seed=3)
    before = {name: w.detach().clone() for name, w in made.named_parameters()}
    batch, objective = rows(torch.arange(85).view(5, 17) % 20), NextToken()
    optimizer, losses = torch.optim.SGD(made.parameters(), lr=0.5), []
    for _ in range(30):
        loss = sum(term.total / term.count * term.weight for term in objective(made, batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert not [name for name, w in made.named_parameters() if torch.equal(w, before[name])]
