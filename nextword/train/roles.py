"""What each weight does in a model, which decides how it is best changed.

    hidden   a matrix between two layers: it multiplies whole vectors
    table    a vector for each token, position, type or distance: a step touches the rows that were looked up
    output   the matrix whose products with the last vector score classes, or the vocabulary where none is tied
    vector   a norm's gain, a bias: numbers that act one by one

Muon is for hidden matrices only (Jordan et al. 2024); weight decay spares vectors; a learning rate that is to serve
models of every width falls with the width for hidden and output, not for tables and vectors (Yang et al. 2022, "Tensor
Programs V").
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from nextword.models.heads import FurtherHead
from nextword.models.recurrent import RecurrentModel
from nextword.nn.embedding import Types
from nextword.nn.head import Head
from nextword.nn.position.absolute import LearnedPositions
from nextword.nn.position.relative import RelativeBias

Role = Literal["hidden", "table", "output", "vector"]
TABLES = (nn.Embedding, Types, LearnedPositions, RelativeBias)


def roles(model: nn.Module, names: Mapping[str, Tensor]) -> dict[str, Role]:
    """The role of each of `names` (of weights, as `model.named_parameters()` has them); a tied output is a table.

    >>> roles(nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3)), {"0.weight": None, "1.weight": None, "1.bias": None})
    {'0.weight': 'table', '1.weight': 'hidden', '1.bias': 'vector'}
    """
    owners = dict(model.named_modules())
    heads = {module.head for module in owners.values() if isinstance(module, RecurrentModel)}  # plain linear layers
    heads |= {module.classes for module in owners.values() if isinstance(module, FurtherHead)}
    found = {}
    for name in names:
        path, _, last = name.rpartition(".")
        found[name] = _role(owners[path], last, owners[path] in heads)
    return found


def _role(owner: nn.Module, name: str, output: bool) -> Role:
    if getattr(owner, name).ndim < 2:  # the one place where a weight is looked up by its name
        return "vector"
    if isinstance(owner, TABLES):
        return "table"
    return "output" if output or isinstance(owner, Head) else "hidden"
