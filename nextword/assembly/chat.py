"""The conversation template that came with a model: of its folder, or within its GGUF file."""

from nextword.assembly import gguf
from nextword.assembly.folder import Assembled
from nextword.models.gguf import container
from nextword.tokenizers.conversations import Chat


def chat_of(assembled: Assembled) -> Chat | None:
    """The tokenizer with the model's own template; None where there is none."""
    if assembled.folder.is_dir():
        return Chat.found(assembled.folder, assembled.tokenizer)
    source = gguf.template(container.read(assembled.folder))
    return None if source is None else Chat(assembled.tokenizer, source, f"the template in {assembled.folder}")
