"""nextword: one toolkit for the whole life of a language model.

>>> import nextword as nw
>>> lm = nw.load("runs/demo/model")                     # doctest: +SKIP
>>> print(lm.generate("Once upon a time"))              # doctest: +SKIP

`load` gives a model with verbs (`generate`, `stream`, `score`, `logprob`, `perplexity`, `fill`, `embed`, `states`,
`classify`, `tag`, `answer`, `save`), `pretrain` trains one. Importing nextword is cheap: PyTorch is imported by
the first use.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextword.face import LM, load, pretrain

__all__ = ["LM", "__version__", "load", "pretrain"]


def __getattr__(name: str) -> Any:
    """Imports the face when one of its names is first asked for."""
    if name == "__version__":
        return version("nextword")
    if name in __all__:
        return getattr(import_module("nextword.face"), name)
    raise AttributeError(f"module 'nextword' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
