"""`nextword cluster`: texts into clusters by their vectors, and how well these agree with labels."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from nextword.assembly.folder import Assembled, load
from nextword.core.errors import DataError
from nextword.core.files import write_atomic
from nextword.core.progress import Progress
from nextword.core.records import Document
from nextword.engine import vectors
from nextword.evals import agreement
from nextword.evals.kmeans import Clusters, kmeans, plane, silhouette
from nextword.recipes import sources
from nextword.recipes.chart import INK, picture, plain
from nextword.recipes.cluster_settings import ClusterSettings

TOGETHER = 256  # texts between two looks at the progress
SHOWN = 70  # characters of a text in the table
DRAWN = 3000  # points of a picture
SIZE = (7.2, 5.4)  # inches
# colours that people with any sight tell apart, by Okabe & Ito, "Color Universal Design" (2008); then other shapes
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F", "#F0E442")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Found:
    """What came of it: the clusters, the texts' vectors, and the mean silhouette of every k that was judged."""

    clusters: Clusters
    vectors_ND: Tensor
    silhouettes: dict[int, float]


def main(settings: ClusterSettings) -> None:
    """Clusters, writes what was asked for, and prints a table, or JSON."""
    documents = read(settings)
    vectors_ND = embedded(load(settings.model, device=settings.device), [one.text for one in documents], settings)
    found = clustered(vectors_ND, settings)
    if settings.out is not None:
        write_atomic(settings.out, "".join(json.dumps(line) + "\n" for line in lines(documents, found.clusters)))
    if settings.plot is not None:
        write_atomic(settings.plot, drawing(found, settings.seed))
    tree = figures(documents, found, settings)
    if settings.json:
        print(json.dumps(tree, indent=2))
        return
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(tree))
    console.print("\n" + summary(tree), highlight=False)


def read(settings: ClusterSettings) -> list[Document]:
    """All texts, a line of a txt file each unless the settings cut it otherwise; DataError where one has no label."""
    text = settings.text if settings.text.separator is not None else replace(settings.text, separator="\\n")
    columns = () if settings.label_column is None else (settings.label_column,)
    found = list(sources.open_documents(text, columns))
    for one in found:
        for column in columns:
            if one.meta.get(column) is None:
                raise DataError(f"{one.id} of {one.source} has no label in {column!r}: leave it out, or name another")
    return found


def embedded(assembled: Assembled, texts: Sequence[str], settings: ClusterSettings) -> Tensor:
    """A vector for each text; texts of like length are computed together, which spares padding."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    made = []
    with Progress("embed", len(texts), "texts", quiet=settings.quiet or settings.json) as bar:
        for start in range(0, len(order), TOGETHER):
            part = [texts[place] for place in order[start : start + TOGETHER]]
            made.append(
                vectors.embed(
                    assembled.model, assembled.tokenizer, part, assembled.sentence,
                    pooling=settings.pooling, normalise=settings.normalise, prompt=settings.prompt, rows=settings.rows,
                ).cpu()
            )  # fmt: skip
            bar.update(start + len(part))
    return torch.cat(made)[torch.tensor(order).argsort()]


def clustered(vectors_ND: Tensor, settings: ClusterSettings) -> Found:
    """The clusters for the k that was asked for, or whose silhouette is best (the fewest where several are)."""
    different = len(torch.unique(vectors_ND, dim=0))
    counts = [settings.k] if settings.k != "auto" else range(2, min(settings.k_max, different - 1) + 1)
    if not counts:
        raise DataError(f"--k auto needs at least three different texts, received {different}: name a --k")
    tried: dict[int, Clusters] = {}
    silhouettes: dict[int, float] = {}
    with Progress("cluster", len(counts), "runs", quiet=settings.quiet or settings.json) as bar:
        for done, k in enumerate(counts, 1):
            # drawn anew for every k, so that auto gives what naming its k gives, and judges them by the same texts
            tried[k] = kmeans(vectors_ND, k, torch.Generator().manual_seed(settings.seed), starts=settings.starts)
            if k > 1:
                judge = torch.Generator().manual_seed(settings.seed)
                silhouettes[k] = silhouette(vectors_ND, tried[k].of_N, judge)
            bar.update(done)
    best = max(silhouettes, key=lambda k: silhouettes[k], default=1)
    return Found(tried[best], vectors_ND, silhouettes)


def lines(documents: Sequence[Document], clusters: Clusters) -> list[dict[str, Any]]:
    """What is written of each text."""
    places = zip(documents, clusters.of_N.tolist(), clusters.distances_N.tolist(), strict=True)
    return [
        {"id": one.id, "source": one.source, "text": one.text, **one.meta, "cluster": cluster, "distance": distance}
        for one, cluster, distance in places
    ]


def figures(documents: Sequence[Document], found: Found, settings: ClusterSettings) -> dict[str, Any]:
    """All that is to be said."""
    clusters, of = found.clusters, found.clusters.of_N.tolist()
    distances = clusters.distances_N.tolist()
    k = len(clusters.centres_KD)
    labels = [str(one.meta[settings.label_column]) for one in documents] if settings.label_column else None
    each = []
    for number, size in enumerate(clusters.sizes):
        members = sorted((place for place, one in enumerate(of) if one == number), key=distances.__getitem__)
        nearest = [{"id": documents[place].id, "text": documents[place].text} for place in members[: settings.nearest]]
        counts = {} if labels is None else {"labels": dict(Counter(labels[place] for place in members).most_common())}
        each.append({"cluster": number, "size": size, **counts, "nearest": nearest})
    agreed = {} if labels is None else {"nmi": agreement.nmi(of, labels), "ari": agreement.ari(of, labels)}
    return {
        **{"model": settings.model, "texts": len(documents), "k": k, "inertia": clusters.inertia},
        "silhouette": found.silhouettes.get(k),
        **({"silhouettes": found.silhouettes} if settings.k == "auto" else {}),
        **agreed,
        "clusters": each,
    }


def table(tree: dict[str, Any]) -> Table:
    """A line for each text that is shown of a cluster."""
    with_labels = "nmi" in tree
    shown = Table("cluster", "texts", *(["labels"] if with_labels else []), "nearest to the centre", box=None,
                  padding=(0, 2, 0, 0))  # fmt: skip
    for column in shown.columns[:2]:
        column.justify = "right"
    for one in tree["clusters"]:
        most = [*one.get("labels", {}).items()][:3]
        counts = ", ".join(f"{label} {count / one['size']:.0%}" for label, count in most)
        head = [str(one["cluster"]), f"{one['size']:,}", *([counts] if with_labels else [])]
        texts = [" ".join(near["text"].split()) for near in one["nearest"]] or [""]
        for row, text in enumerate(texts):
            cut = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
            shown.add_row(*map(escape, head if row == 0 else [""] * len(head)), escape(cut))
    return shown


def summary(tree: dict[str, Any]) -> str:
    """The figures of the whole in a line."""
    found = [f"{tree['texts']:,} texts in {tree['k']} clusters", f"inertia {tree['inertia']:.4g}"]
    if tree["silhouette"] is not None:
        found.append(f"silhouette {tree['silhouette']:.3f}")
    if "nmi" in tree:
        found.append(f"against the labels: NMI {tree['nmi']:.3f}, ARI {tree['ari']:.3f}")
    return "; ".join(found)


def drawing(found: Found, seed: int) -> str:
    """An SVG of at most DRAWN texts, each in the colour and shape of its cluster."""
    places_N2 = plane(found.vectors_ND)
    kept = torch.randperm(len(places_N2), generator=torch.Generator().manual_seed(seed))[:DRAWN].sort().values
    places_N2, of_N = places_N2[kept], found.clusters.of_N[kept]

    def draw(axes: Any) -> None:
        for number in range(len(found.clusters.centres_KD)):
            x, y = places_N2[of_N == number].T.tolist()
            colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number // len(COLOURS) % len(SHAPES)]
            axes.scatter(x, y, s=14, c=colour, marker=shape, linewidths=0, alpha=0.7, label=str(number))
        plain(axes, "first principal component", "second")
        axes.legend(frameon=False, labelcolor=INK, title="cluster", loc="center left", bbox_to_anchor=(1.0, 0.5))

    return picture(draw, f"{len(found.vectors_ND)} texts in {len(found.clusters.centres_KD)} clusters", SIZE)
