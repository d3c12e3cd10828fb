"""An architecture of GGUF is a translation, as a family is: values into a config.json, names of tensors into ours.

Each file in `nextword/models/gguf/architectures` holds one `ARCHITECTURE`; its name is `general.architecture`. What
all Llama-shaped ones share is here: one set of values and names, of which each changes a part.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nextword.core.errors import CheckpointError, nearest
from nextword.models.gguf import mixture
from nextword.models.gguf.rope import read_rope, write_rope
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import SAME, Rule, Tensors, Transform
from nextword.nn.feedforward import ACTIVATIONS
from nextword.nn.moe import MixtureSettings

ARCHITECTURES = "nextword.models.gguf.architectures"
POSITIONS = "position_embd.weight"
# values that describe the vocabulary or follow from others, and switches that must be off
_KNOWN = """
    context_length embedding_length block_count feed_forward_length attention.head_count attention.head_count_kv
    attention.key_length attention.value_length attention.layer_norm_rms_epsilon rope.dimension_count rope.freq_base
    rope.scaling.type rope.scaling.factor rope.scaling.original_context_length rope.scaling.finetuned vocab_size
"""
KNOWN = frozenset(_KNOWN.split())
# GGUF's names of the norms of a block -> transformers', by arrangement
PRE = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
NORMS = {
    **{"pre": PRE, "mixture": PRE},
    "sandwich": {
        **{"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"},
        **{"ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm"},
    },
}
ROLES = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}

Described = Callable[[Mapping[str, Any]], TransformerSettings]


@dataclass(frozen=True)
class Architecture:
    """How models of one `general.architecture` are described and named.

    model_type: of the config.json that is made of its values. describe: that family's. own: what its config.json says
    beside the sizes. permuted: queries and keys are kept with their rotary pairs side by side. norm: how the weights
    of norms are kept. fused: one matrix holds queries, keys and values, and one gate and up. more: values known beside
    those of all. activation: the only one that readers of the architecture compute with. experts: the
    architecture of models whose feed-forwards are mixtures, where they go by the same name. tied: readers take the
    embedding as output.
    """

    model_type: str
    describe: Described
    own: Mapping[str, Any]
    permuted: bool = False
    norm: Transform = SAME
    fused: bool = False
    more: frozenset[str] = frozenset()
    activation: str = "silu"
    tied: bool = False
    experts: "Architecture | None" = None

    def of(self, model_type: object) -> "Architecture":
        """This one, or the one with experts, by the `model_type` of a config.json."""
        return self.experts if self.experts is not None and self.experts.model_type == model_type else self

    def config(self, name: str, values: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
        """The config.json of a file's values; CheckpointError naming a value that is missing, wrong or unknown."""
        get = Getter(name, values, where)
        if self.experts is not None and get.own.get(mixture.EXPERTS):
            return self.experts.config(name, values, tensors, where)
        get.check(KNOWN | self.more)
        heads, width = get.integer("attention.head_count"), get.integer("embedding_length")
        head_width = get.integer("attention.key_length", width // heads)
        if get.integer("attention.value_length", head_width) != head_width:
            raise CheckpointError(f"{where}: keys and values of different widths are not read")
        turned = get.integer("rope.dimension_count", head_width)
        if turned != head_width:
            raise CheckpointError(f"{where}: {name}.rope.dimension_count {turned} of {head_width} is not read")
        layers, vocab_size = check_tensors(get, tensors)
        found: dict[str, Any] = {
            "hidden_size": width,
            "intermediate_size": get.integer("feed_forward_length"),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": get.integer("attention.head_count_kv", heads),
            "head_dim": head_width,
            "max_position_embeddings": get.integer("context_length"),
            "rms_norm_eps": get.number("attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": "output.weight" not in tensors,
            "vocab_size": vocab_size,
            "hidden_act": self.activation,
            "model_type": self.model_type,
        }
        found |= read_rope(get, tensors, found["max_position_embeddings"])
        found |= special_ids(values)
        if mixture.EXPERTS in self.more:
            found |= mixture.config(get, layers, tensors)
        if self.model_type == "llama":
            found["attention_bias"], found["mlp_bias"] = (
                f"blk.0.{part}.bias" in tensors for part in ("attn_q", "ffn_gate")
            )
        return found | dict(self.own) | self.config_of_more(get, found)

    def config_of_more(self, get: "Getter", found: Mapping[str, Any]) -> dict[str, Any]:
        """What the values in `more` say in a config.json whose other keys are `found`."""
        return {}

    def values(self, name: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The values of a config.json and the tensors that follow from it; CheckpointError where GGUF has no words."""
        settings = self.describe(config)
        block = settings.blocks[0]
        attention, ffn = block.attention, block.feedforward
        if ACTIVATIONS[ffn.activation] is not ACTIVATIONS[self.activation]:
            raise CheckpointError(f"GGUF's {name} computes with {self.activation}, not {ffn.activation}")
        if self.tied and not settings.tied:
            raise CheckpointError(f"GGUF's {name} takes the embedding as output; this model has a matrix of its own")
        if attention.rotary_width not in {None, attention.head_width}:
            raise CheckpointError(f"partial rotary positions of {name} are not written")
        found = {
            "context_length": int(config.get("max_position_embeddings") or settings.max_length),
            "embedding_length": settings.width,
            "block_count": len(settings.blocks),
            "feed_forward_length": ffn.ffn_width,
            "attention.head_count": attention.heads,
            "attention.head_count_kv": attention.kv_heads,
            "attention.key_length": attention.head_width,
            "attention.value_length": attention.head_width,
            "attention.layer_norm_rms_epsilon": float(block.norm.epsilon),
            "rope.dimension_count": attention.head_width,
            "vocab_size": settings.vocab_size,
        }
        rope, tensors = write_rope(settings.rope, attention.head_width)
        found |= rope | mixture.values(settings) | self.values_of_more(name, settings)
        return {f"{name}.{key}": value for key, value in found.items()}, tensors

    def values_of_more(self, name: str, settings: TransformerSettings) -> dict[str, Any]:
        """The values in `more` of a description; CheckpointError for what the architecture does not compute."""
        for block in settings.blocks:
            window = block.attention.reach.window
            if window is not None and window < settings.max_length:
                raise CheckpointError(f"GGUF's {name} has no window of {window} tokens")
        return {}

    def rules(self, config: Mapping[str, Any]) -> list[Rule]:
        """GGUF's names, and transformers'."""
        settings = self.describe(config)
        found = [
            Rule(("token_embd.weight",), ("model.embed_tokens.weight",)),
            Rule(("output_norm.weight",), ("model.norm.weight",), self.norm),
        ]
        if not settings.tied:
            found.append(Rule(("output.weight",), ("lm_head.weight",)))
        for layer, block in enumerate(settings.blocks):
            found += self._layer(f"blk.{layer}", f"model.layers.{layer}", block)
        return found

    def _layer(self, theirs: str, ours: str, block: Any) -> Iterable[Rule]:
        attention, ffn = block.attention, block.feedforward
        for norm, part in NORMS[block.arrangement].items():
            yield Rule((f"{theirs}.{norm}.weight",), (f"{ours}.{part}.weight",), self.norm)
        output_bias = attention.bias if attention.output_bias is None else attention.output_bias
        names = {"attn_output": ("self_attn.o_proj", output_bias, SAME)}
        if self.fused:
            names["attn_qkv"] = "self_attn.qkv_proj", attention.bias, SAME
        else:
            query, key = (pairs(heads) if self.permuted else SAME for heads in (attention.heads, attention.kv_heads))
            names |= {
                "attn_q": ("self_attn.q_proj", attention.bias, query),
                "attn_k": ("self_attn.k_proj", attention.bias, key),
                "attn_v": ("self_attn.v_proj", attention.bias, SAME),
            }
        if isinstance(ffn, MixtureSettings):
            yield from mixture.rules(theirs, ours, ffn.experts)
        else:
            gate = {"ffn_up": "gate_up_proj"} if self.fused else {"ffn_gate": "gate_proj", "ffn_up": "up_proj"}
            parts = gate | {"ffn_down": "down_proj"}
            names |= {name: (f"mlp.{part}", ffn.bias, SAME) for name, part in parts.items()}
        for name, (part, bias, transform) in names.items():
            for kind in ("weight", "bias")[: 1 + bias]:
                yield Rule((f"{theirs}.{name}.{kind}",), (f"{ours}.{part}.{kind}",), transform)
        if attention.qk_norm is not None:
            for letter in "qk":
                yield Rule(
                    (f"{theirs}.attn_{letter}_norm.weight",), (f"{ours}.self_attn.{letter}_norm.weight",), self.norm
                )


class Getter:
    """The values of one architecture, checked."""

    def __init__(self, name: str, values: Mapping[str, Any], where: str) -> None:
        self.name, self.where = name, where
        self.own = {key[len(name) + 1 :]: value for key, value in values.items() if key.startswith(name + ".")}

    def check(self, known: frozenset[str]) -> None:
        """CheckpointError for the first value that is unknown and says something: it might change numbers."""
        for key, value in self.own.items():
            if key not in known and not (isinstance(value, int | float) and value == 0):
                raise CheckpointError(
                    f"{self.where}: {self.name}.{key} = {str(value)[:60]} is not known to nextword{nearest(key, known)}"
                )

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self.own.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 31:
            raise CheckpointError(f"{self.where}: {self.name}.{key} must be a whole number from 1, received {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self.own.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise CheckpointError(f"{self.where}: {self.name}.{key} must be a number above 0, received {value!r}")
        return float(value)


def check_tensors(get: Getter, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many layers and tokens there are; CheckpointError where the tensors cannot be those of a model."""
    embedding, layers = tensors.get("token_embd.weight"), get.integer("block_count")
    if embedding is None:
        raise CheckpointError(f"{get.where} has no token_embd.weight: it is no model, or only a vocabulary")
    if layers > len(tensors):  # before anything is made for each of them
        raise CheckpointError(f"{get.where} has {len(tensors)} tensors, too few for {get.name}.block_count {layers}")
    return layers, embedding.shape[0]


def special_ids(values: Mapping[str, Any]) -> dict[str, int]:
    """The ids of special tokens that a file's vocabulary names, under the keys of a config.json."""
    ids = {key: values.get(f"tokenizer.ggml.{theirs}") for key, theirs in ROLES.items()}
    return {key: number for key, number in ids.items() if isinstance(number, int)}


def pairs(heads: int) -> Transform:
    """Rotary pairs side by side in the file, half a head apart in transformers."""

    def read(tensors: Tensors) -> Tensors:
        (x,) = tensors
        if x.shape[0] % (2 * heads):
            raise CheckpointError(f"a tensor of {x.shape[0]} rows cannot hold {heads} heads of rotary pairs")
        return (x.reshape(heads, -1, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape),)

    def write(tensors: Tensors) -> Tensors:
        (x,) = tensors
        return (x.reshape(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape),)

    return Transform(read, write)


def _above(tensors: Tensors, step: float) -> Tensors:
    return tuple(x.float() + step for x in tensors)


ABOUT_ONE = Transform(lambda tensors: _above(tensors, -1.0), lambda tensors: _above(tensors, 1.0))  # kept as 1 + w
