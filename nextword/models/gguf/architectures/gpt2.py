"""GPT-2 in GGUF: transformers' names shortened, and its matrices the other way round."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.models.families.gpt2 import BASE, TRANSPOSED, describe
from nextword.models.gguf.architecture import POSITIONS, Architecture, Getter, check_tensors, special_ids
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.feedforward import ACTIVATIONS

_KNOWN = """
    context_length embedding_length block_count feed_forward_length attention.head_count attention.layer_norm_epsilon
    attention.head_count_kv rope.dimension_count vocab_size
"""  # the last three: of some writers, and they follow from the others
KNOWN = frozenset(_KNOWN.split())
LINEARS = {"attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
NORMS = {"attn_norm": "ln_1", "ffn_norm": "ln_2"}
SILENT = ("attn_pdrop", "embd_pdrop", "resid_pdrop")  # a file says nothing of dropout


class Gpt2(Architecture):
    """Learned positions in place of rotary ones, LayerNorm, and biases everywhere."""

    def config(self, name: str, values: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
        """The config.json of a file's values; CheckpointError naming a value that is missing, wrong or unknown."""
        get = Getter(name, values, where)
        get.check(KNOWN)
        return {
            "n_embd": get.integer("embedding_length"),
            "n_inner": get.integer("feed_forward_length"),
            "n_head": get.integer("attention.head_count"),
            "n_positions": get.integer("context_length"),
            "layer_norm_epsilon": get.number("attention.layer_norm_epsilon"),
            "activation_function": self.activation,
            "model_type": self.model_type,
            **dict.fromkeys(SILENT, 0.0),
            **dict(zip(("n_layer", "vocab_size"), check_tensors(get, tensors), strict=True)),
            "tie_word_embeddings": "output.weight" not in tensors,
            **special_ids(values),
            **self.own,
        }

    def values(self, name: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The values of a config.json; CheckpointError where llama.cpp computes otherwise."""
        settings: TransformerSettings = self.describe(config)
        block = settings.blocks[0]
        for one in settings.blocks:
            if one.attention.scale != one.attention.head_width**-0.5:
                raise CheckpointError(f"GGUF's {name} scales scores by 1/√head width alone; this model does not")
        if ACTIVATIONS[block.feedforward.activation] is not ACTIVATIONS[self.activation]:
            raise CheckpointError(f"GGUF's {name} computes with {self.activation}, not {block.feedforward.activation}")
        found = {
            "context_length": settings.max_length,
            "embedding_length": settings.width,
            "block_count": len(settings.blocks),
            "feed_forward_length": block.feedforward.ffn_width,
            "attention.head_count": block.attention.heads,
            "attention.layer_norm_epsilon": float(block.norm.epsilon),
            "vocab_size": settings.vocab_size,
        }
        return {f"{name}.{key}": value for key, value in found.items()}, {}

    def rules(self, config: Mapping[str, Any]) -> list[Rule]:
        """GGUF's names, and transformers'."""
        settings: TransformerSettings = self.describe(config)
        found = [
            same("token_embd.weight", f"{BASE}wte.weight"),
            same(POSITIONS, f"{BASE}wpe.weight"),
            *pair("output_norm", f"{BASE}ln_f"),
        ]
        for layer in range(len(settings.blocks)):
            theirs, ours = f"blk.{layer}", f"{BASE}h.{layer}"
            for norm, part in NORMS.items():
                found += pair(f"{theirs}.{norm}", f"{ours}.{part}")
            for linear, part in LINEARS.items():
                found.append(Rule((f"{theirs}.{linear}.weight",), (f"{ours}.{part}.weight",), TRANSPOSED))
                found.append(same(f"{theirs}.{linear}.bias", f"{ours}.{part}.bias"))
        return found if settings.tied else [*found, same("output.weight", "lm_head.weight")]


ARCHITECTURE = Gpt2("gpt2", describe, {"architectures": ["GPT2LMHeadModel"]}, activation="gelu_new")
