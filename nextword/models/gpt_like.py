"""GPT-2 and its relatives: one description and one fresh config, of which each family changes a part.

LayerNorm before each part, learned positions, as many key-value heads as heads, a plain feed-forward four times as wide
as the stream, biases everywhere (Radford et al., 2019). The relatives give the same sizes other names, and change what
their files say: rotary positions, windows, both parts side by side.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, even_heads, width_and_heads
from nextword.models.llama_like import each_attention
from nextword.models.rope_config import DEFAULT_BASE, PARTIAL, longest, read_rope, rotary_width
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings

_HONOURED = "width depth heads ffn_width max_length tied norm_eps dropout"
HONOURED = frozenset(_HONOURED.split())


@dataclass(frozen=True)
class Keys:
    """What a config calls the sizes of a GPT.

    dropout: of what each part adds; inner: the width of the feed-forward. The last three say what transformers takes
    where a config is silent.
    """

    width: str = "n_embd"
    heads: str = "n_head"
    depth: str = "n_layer"
    length: str = "n_positions"
    inner: str = "n_inner"
    activation: str = "activation_function"
    epsilon: str = "layer_norm_epsilon"
    attention_dropout: str = "attn_pdrop"
    dropout: str = "resid_pdrop"
    embedding_dropout: str = "embd_pdrop"
    usual_length: int = 2048
    usual_activation: str = "gelu_new"
    usual_dropout: float = 0.0


LATER = Keys(  # as most configs since call them
    **{"width": "hidden_size", "heads": "num_attention_heads", "depth": "num_hidden_layers"},
    **{"length": "max_position_embeddings", "inner": "intermediate_size", "epsilon": "layer_norm_eps"},
    **{"attention_dropout": "attention_dropout", "activation": "hidden_act"},
)


def describe(config: Mapping[str, Any], keys: Keys, *, tied: bool = True) -> TransformerSettings:
    """The description that a config.json gives of a GPT-2 under these keys; `tied` where it does not say.

    CheckpointError naming the key that is wrong.
    """
    width, heads = required(config, keys.width, int), required(config, keys.heads, int)
    head_width = divided(width, heads, (keys.width, keys.heads))
    norm = NormSettings(width, typed(config, keys.epsilon, float, 1e-5), "layer")
    activation = known_activation(config, keys.activation, keys.usual_activation)
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": True},
        dropout=typed(config, keys.attention_dropout, float, keys.usual_dropout),
        rotary=False,
    )
    ffn = FeedForwardSettings(width, typed(config, keys.inner, int, 4 * width), activation, bias=True, gated=False)
    block = BlockSettings(norm, attention, ffn, dropout=typed(config, keys.dropout, float, keys.usual_dropout))
    max_length = typed(config, keys.length, int, keys.usual_length)
    drop = typed(config, keys.embedding_dropout, float, keys.usual_dropout)
    return TransformerSettings(
        blocks=(block,) * required(config, keys.depth, int),
        norm=norm,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, tied),
        embedding=EmbeddingSettings("learned", max_length, dropout=drop),
    )


def turned(found: TransformerSettings, config: Mapping[str, Any], share: float) -> TransformerSettings:
    """The same with rotary positions in place of learned ones; `share` of a head's coordinates where none is given."""
    rope = read_rope(config, found.max_length, partial=True)
    width = rotary_width(config, found.blocks[0].attention.head_width, share)
    found = each_attention(found, rotary=True, rotary_width=width)
    embedding = EmbeddingSettings(dropout=found.embedding.dropout)
    return replace(found, rope=rope, max_length=longest(rope, found.max_length), embedding=embedding)


def fresh_rope(settings: ModelSettings, head_width: int, share: float) -> dict[str, Any]:
    """The `rope_parameters` of a fresh config; all of a head turns where its share is no whole number of pairs."""
    share = share if int(head_width * share) % 2 == 0 else 1.0
    return {PARTIAL: share, "rope_theta": settings.rope_base or DEFAULT_BASE, "rope_type": "default"}


def fresh(
    settings: ModelSettings, vocab_size: int, special: Special, keys: Keys, *, tied: bool = True, rotary: bool = False
) -> dict[str, Any]:
    """What the config.json of a fresh GPT-2 says under these keys; rotary: the heads' coordinates turn in pairs."""
    width, heads = even_heads(settings) if rotary else width_and_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied) | {
        keys.activation: keys.usual_activation,
        keys.attention_dropout: dropout,
        keys.depth: settings.depth or DEPTH,
        keys.dropout: dropout,
        keys.embedding_dropout: dropout,
        keys.epsilon: 1e-5 if settings.norm_eps is None else settings.norm_eps,
        keys.heads: heads,
        keys.inner: settings.ffn_width,
        keys.length: settings.max_length or LENGTH,
        keys.width: width,
    }


def gpt_like(
    describe: Callable[[Mapping[str, Any]], TransformerSettings],
    fresh: Callable[[ModelSettings, int, Special], dict[str, Any]],
    rules: Callable[[Mapping[str, Any]], list[Rule]],
    prefix: str,
    embedding: str,
    *,
    output: str = "lm_head.weight",
    honoured: Iterable[str] = HONOURED,
    tokens: str = "score",
    **more: Any,
) -> Family:
    """The family of these descriptions, fresh configs and names; `more` are further fields of it.

    prefix, tokens: as in `with_tasks`. embedding (behind the prefix) and output: how files call these two, of which the
    rules leave out the latter.
    """

    def named(config: dict[str, Any]) -> list[Rule]:
        """The rules, and that of an output matrix that is not the embedding."""
        return rules(config) if describe(config).tied else [*rules(config), same(output, "head.weight")]

    def copies(config: Mapping[str, Any]) -> dict[str, str]:
        """The output matrix of a tied model, which some files repeat."""
        return {output: prefix + embedding} if describe(config).tied else {}

    writing = Family(
        honoured=frozenset(honoured),
        config=fresh,
        build=lambda config: Transformer(describe(config), config),
        rules=named,
        copies=copies,
        **more,
    )
    return with_tasks(writing, prefix, tokens=tokens)
