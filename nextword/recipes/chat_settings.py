"""Settings of `nextword chat`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from nextword.decode.settings import SamplingSettings


@dataclass(frozen=True)
class ChatSettings:
    """Talk with a model, in the words of its own conversation template.

    A line is a message. /help lists what else can be said. Ctrl-C ends an answer where it is, Ctrl-D leaves. Where
    stdin is not a terminal its lines are the messages, and stdout has the answers alone."""

    RECIPE: ClassVar[str] = "nextword.recipes.chat:main"
    EXAMPLES: ClassVar[str] = (
        '  nextword chat model --system "You answer in one sentence."\n'
        "  nextword chat model --temperature 0.7 --top-p 0.9 --max-tokens 300\n"
        "  nextword chat runs/demo/model --plain\n"
        '  echo "What is a token?" | nextword chat model --quiet'
    )

    model: str
    "A model folder, a GGUF file, or a Hugging Face id (needs the hub extra)."
    _: KW_ONLY
    sampling: Annotated[SamplingSettings, Parameter(name=("--sampling", "*"))] = field(default_factory=SamplingSettings)
    system: str = ""
    "What the model is told before the conversation."
    plain: bool = False
    "Write messages as `User: ...` and `Assistant: ...`, for a model without a template."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."
    compiled: Literal["auto", "always", "never"] = "auto"
    "Whether a whole step runs as one call, compiled (models shaped as Llama or GPT-2, on the CPU) or recorded (on a "
    "GPU): auto where it pays."
    quiet: bool = False
    "No figures and notices."
