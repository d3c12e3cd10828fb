"""The invented world as documents: pages, stories, questions and sums in varied wordings.

Every kind of document is a part in `nextword/tinyworld/kinds/` with a `SHARE` of the whole and `write(world, rng)`. The
n-th document depends on the seed and n alone, so that more documents never change the earlier ones. The idea of stories
in few words for small models: Eldan and Li, TinyStories, 2023 (arXiv:2305.07759).
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random
from typing import cast

from nextword.core.records import Document
from nextword.core.registry import names, part
from nextword.tinyworld.world import World

SOURCE = "tinyworld"
KINDS = "nextword.tinyworld.kinds"
COUNT = 8000  # about 2.5 MB
Write = Callable[[World, Random], str]


def documents(seed: int = 0, count: int = COUNT) -> Iterator[Document]:
    """`count` documents about the world of `seed`, lazily; `meta["kind"]` says of which kind each is.

    Whatever they state about people and towns is true in `World(seed)`, and no withheld fact is among it.
    """
    world = World(seed)
    kinds = names(KINDS)
    writers = {kind: cast(Write, part(KINDS, kind, "write")) for kind in kinds}
    shares = list(accumulate(cast(float, part(KINDS, kind, "SHARE")) for kind in kinds))
    for index in range(count):
        rng = Random(f"tinyworld/{seed}/{index}")
        kind = rng.choices(kinds, cum_weights=shares)[0]
        yield Document(f"{SOURCE}:{seed}/{index}", writers[kind](world, rng), SOURCE, meta={"kind": kind})
