"""Rules carry fused, transposed and interleaved layouts as well as plain names, and can be undone."""

import pytest
import torch

from nextword.core.errors import CheckpointError
from nextword.models.fused import grouped, grouped_rules
from nextword.models.weights import Rule, Transform, same, to_ours, to_theirs

HEADS, WIDTH = 2, 6


def interleave(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Neighbouring rotary pairs (2k, 2k + 1) of each head become pairs half a head apart."""
    return tuple(x.unflatten(0, (HEADS, -1, 2)).transpose(1, 2).flatten(0, 2) for x in tensors)


def undo(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(x.unflatten(0, (HEADS, 2, -1)).transpose(1, 2).flatten(0, 2) for x in tensors)


RULES = [
    same("wte", "embedding"),
    Rule(("c_attn",), ("q", "k", "v"), Transform(lambda x: x[0].T.chunk(3), lambda x: (torch.cat(x).T,))),
    Rule(("rotary",), ("query",), Transform(interleave, undo)),
]


def test_fused_transposed_and_interleaved_matrices_go_there_and_back() -> None:
    theirs = {"wte": torch.randn(5, 4), "c_attn": torch.randn(4, 12), "rotary": torch.randn(HEADS * WIDTH, 3)}
    ours = dict(to_ours(RULES, dict(theirs), "file"))
    assert torch.equal(ours["k"], theirs["c_attn"][:, 4:8].T)
    assert torch.equal(ours["query"][[0, 3]], theirs["rotary"][[0, 1]])  # the first pair: 0 and half a head on
    back = to_theirs(RULES, ours)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_the_nearest_name_is_offered_and_nothing_is_forgotten() -> None:
    with pytest.raises(CheckpointError, match="lacks 'wte'.*did you mean 'wpe'"):
        dict(to_ours([same("wte", "embedding")], {"wpe": torch.ones(1)}, "file"))
    with pytest.raises(CheckpointError, match="no rule says how 'head' are written"):
        to_theirs([same("wte", "embedding")], {"embedding": torch.ones(1), "head": torch.ones(1)})


def test_groups_of_queries_with_their_key_and_value_are_taken_apart_and_joined() -> None:
    """Four heads on two key-value heads, each one row: q0 q1 k0 v0 q2 q3 k1 v1."""
    fused = torch.arange(8.0)[:, None]
    rules = grouped_rules("qkv", "a", grouped(4, 2), ("weight",))
    ours = dict(to_ours(rules, {"qkv.weight": fused}, "file"))
    found = [ours[f"a.{part}.weight"].flatten().tolist() for part in ("query", "key", "value")]
    assert found == [[0, 1, 4, 5], [2, 6], [3, 7]]
    assert torch.equal(to_theirs(rules, ours)["qkv.weight"], fused)
    with pytest.raises(CheckpointError, match="have 7 rows together, which are not 8 heads"):
        dict(to_ours(rules, {"qkv.weight": fused[1:]}, "file"))
