"""The plan of decoders on a GPU: steps recorded as CUDA graphs over a cache that stays where it is (`engine/static`).

Launched one by one, the operations of a step take longer than they run; recorded, a step is one call and its time is
that of reading weights and keys. Where many tokens follow, `torch.compile` joins the operations first. It serves every
decoder that is one stack of blocks over a KV cache, windows, soft caps and biases of positions included; mixtures of
experts, whose Python decides by the numbers who multiplies what, take the plain step.
"""

from nextword.engine.replay import CompiledRecorder, GraphRecorder
from nextword.engine.static import StaticSteps
from nextword.engine.step import Compiled, Stepper
from nextword.models.base import LanguageModel
from nextword.models.transformer import Transformer

# For `auto`, in seconds: they need to be right to a factor of two only.
RECORD_SECONDS = 0.5
COMPILE_SECONDS = 60.0
SAVED_PER_LAYER = 1.5e-4  # the launches of some thirty operations
JOINED_PER_LAYER = 3e-5  # what they take less in fewer kernels


def plan(model: LanguageModel, tokens: int, mode: Compiled) -> Stepper | None:
    """Recorded steps of a model that is to generate `tokens` tokens; None where they do not fit or do not pay."""
    if not isinstance(model, Transformer) or not fits(model):
        return None
    layers = tokens * len(model.layers)
    if mode == "auto" and layers * SAVED_PER_LAYER < RECORD_SECONDS:
        return None
    return StaticSteps(model, recorder(model, tokens, mode))


def fits(model: Transformer) -> bool:
    """Whether the model is on a GPU, and nothing in its step depends on numbers that Python would have to see."""
    tensors = [*model.parameters(), *model.buffers()]
    return capturable(model) and all(tensor.device.type == "cuda" for tensor in tensors)


def capturable(model: Transformer) -> bool:
    """Whether all decisions of a step follow from shapes."""
    apart = any(block.arrangement == "disentangled" for block in model.settings.blocks)
    return type(model) is Transformer and model.kind == "decoder" and not apart


def recorder(model: Transformer, tokens: int, mode: Compiled) -> GraphRecorder | CompiledRecorder:
    """How to record steps: compiled where asked for, or where so many tokens are worth it."""
    graphs = GraphRecorder(model.embedding.like.device)
    joined = tokens * len(model.layers) * JOINED_PER_LAYER
    return CompiledRecorder(graphs) if mode == "always" or joined > COMPILE_SECONDS else graphs
