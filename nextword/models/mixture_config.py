"""Mixtures of experts in configs and files: what the families that are Llamas with experts have in common.

In a file every expert has matrices of its own (`experts.N.gate_proj.weight`), as it has in our models; transformers 5
stacks them in memory alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models import llama_like
from nextword.models.family import Special, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.moe import MixtureSettings
from nextword.nn.position.rope import LongRope

# `output_router_logits` says what transformers returns, and whether it adds the balance; here training always does
KEYS = ("num_experts", "num_experts_per_tok", "norm_topk_prob", "output_router_logits", "router_aux_loss_coef")
SPARSE_KEYS = ("decoder_sparse_step", "mlp_only_layers", "moe_intermediate_size")
HONOURED = llama_like.HONOURED | {"experts", "experts_per_token"}
EXPERTS, CHOSEN, BALANCE = 8, 2, 0.01  # of fresh models; the last is OLMoE's
PARTS = ("gate_proj", "up_proj", "down_proj")  # what most files call the matrices of an expert


def with_experts(
    found: TransformerSettings,
    config: Mapping[str, Any],
    layers: Sequence[int],
    *,
    key: str = "num_experts",
    **own: Any,
) -> TransformerSettings:
    """The same with mixtures in these layers; `own` are fields of their MixtureSettings. `key`: how many experts."""
    if found.rope is not None and isinstance(found.rope.scaling, LongRope):
        raise CheckpointError("config.json: rope_type 'longrope' is not known for mixtures of experts")
    experts = typed(config, key, int, None)
    chosen = typed(config, "num_experts_per_tok", int, None)
    if experts is None or chosen is None or chosen > experts:
        raise CheckpointError(f"config.json: num_experts_per_tok {chosen} must be at most {key} {experts}")
    own = {
        "experts": experts,
        "chosen": chosen,
        "renormalise": typed(config, "norm_topk_prob", bool, False),
        "balance": typed(config, "router_aux_loss_coef", float, 0.0),
    } | own
    blocks = list(found.blocks)
    for layer in layers:
        mixture = MixtureSettings(**(asdict(blocks[layer].feedforward) | own))
        blocks[layer] = replace(blocks[layer], feedforward=mixture, arrangement="mixture")
    return replace(found, blocks=tuple(blocks))


def sparse_layers(config: Mapping[str, Any]) -> list[int]:
    """The layers with experts: every `decoder_sparse_step`-th, but for those that `mlp_only_layers` names."""
    layers, dense = typed(config, "num_hidden_layers", int, None), config.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not set(dense) <= set(range(layers)):
        raise CheckpointError(
            f"config.json: mlp_only_layers must list layers from 0 to {layers - 1}, received {dense!r}"
        )
    step = typed(config, "decoder_sparse_step", int, 1)
    return [layer for layer in range(layers) if (layer + 1) % step == 0 and layer not in dense]


def feedforward_rules(theirs: str, ours: str, settings: FeedForwardSettings) -> list[Rule]:
    """How transformers names the tensors of a feed-forward or a mixture."""
    if not isinstance(settings, MixtureSettings):
        return llama_like.feedforward_rules(theirs, ours, settings)
    found = expert_rules(theirs, ours, settings, PARTS)
    if settings.shared_width:
        found += llama_like.feedforward_rules(f"{theirs}.shared_expert", f"{ours}.shared", settings.expert())
        found.append(same(f"{theirs}.shared_expert_gate.weight", f"{ours}.shared_gate.weight"))
    return found


def expert_rules(theirs: str, ours: str, settings: MixtureSettings, parts: Sequence[str]) -> list[Rule]:
    """The router, and every expert's gate, up and down, which a file calls `parts`."""
    found = [same(f"{theirs}.gate.weight", f"{ours}.router.weight")]
    for expert in range(settings.experts):
        for part, own in zip(parts, ("gate", "up", "down"), strict=True):
            found.append(same(f"{theirs}.experts.{expert}.{part}.weight", f"{ours}.experts.{expert}.{own}.weight"))
    return found


def rules(settings: TransformerSettings) -> list[Rule]:
    """How transformers names the tensors."""
    return llama_like.rules(settings, feedforward=feedforward_rules)


def fresh(settings: ModelSettings, vocab_size: int, special: Special, **own: Any) -> dict[str, Any]:
    """The config.json of a fresh mixture: a token costs what it costs in a Llama of the same width and depth."""
    experts, chosen = settings.experts or EXPERTS, settings.experts_per_token or CHOSEN
    if chosen > experts:
        raise SettingsError(f"model.experts_per_token {chosen} must be at most model.experts {experts}")
    config = llama_like.fresh(settings, vocab_size, special)
    if settings.ffn_width is None:
        multiple = llama_like.FFN_MULTIPLE
        config["intermediate_size"] = -(-config["intermediate_size"] // (chosen * multiple)) * multiple
    config |= {"num_experts": experts, "num_experts_per_tok": chosen}
    return config | {"output_router_logits": False, "router_aux_loss_coef": BALANCE} | own


def fine(config: dict[str, Any], **own: Any) -> dict[str, Any]:
    """The same in Qwen's words: the width of a feed-forward that all tokens pass is that of the chosen together."""
    width = config["intermediate_size"]
    config |= {"intermediate_size": width * config["num_experts_per_tok"], "moe_intermediate_size": width}
    return config | {"decoder_sparse_step": 1, "mlp_only_layers": []} | own
