"""`nextword cluster` as a user calls it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nextword as nw
from nextword.evals.agreement import ari, nmi
from nextword.evals.kmeans import kmeans

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = {"animals": ["cat", "dog", "mat"], "drinks": ["latte", "caramel", "iced"]}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts of two kinds that share no word, with their labels."""
    lines = []
    for label, words in WORDS.items():
        for first in words:
            for second in words:
                lines.append({"text": f"{first} {second} {first}", "topic": label})
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_clusters_files_and_figures(here: Run, tiny: Callable[[str], Path], texts: Path, tmp_path: Path) -> None:
    model, out, plot = tiny("bert"), tmp_path / "out.jsonl", tmp_path / "plot.svg"
    command = ["cluster", model, "--text", texts, "--k", 3, "--label-column", "topic"]
    result = here(*command, "--out", out, "--plot", plot, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    lm = nw.load(model)
    vectors = lm.embed([row["text"] for row in rows], normalise=True)
    wanted = kmeans(vectors, 3, torch.Generator().manual_seed(0))
    clusters = [row["cluster"] for row in rows]
    assert clusters == wanted.of_N.tolist()
    assert found["inertia"] == pytest.approx(wanted.inertia, rel=1e-3)
    assert [one["size"] for one in found["clusters"]] == wanted.sizes == [clusters.count(k) for k in range(3)]
    labels = [row["topic"] for row in rows]
    assert (found["nmi"], found["ari"]) == pytest.approx((nmi(clusters, labels), ari(clusters, labels)))
    for one in found["clusters"]:
        own = sorted((row["distance"], row["id"]) for row in rows if row["cluster"] == one["cluster"])
        assert one["nearest"][0]["id"] == own[0][1]
        assert sum(one["labels"].values()) == one["size"]
    drawn = plot.read_text()
    assert drawn.startswith("<svg") and "first principal component" in drawn
    again = here(*command, "--json")
    assert json.loads(again.stdout) == found


def test_how_many_by_silhouette(here: Run, tiny: Callable[[str], Path], texts: Path) -> None:
    command = ["cluster", tiny("llama"), "--text", texts, "--json"]
    found = json.loads(here(*command, "--k-max", 6).stdout)
    tried = {int(k): value for k, value in found["silhouettes"].items()}
    assert set(tried) == {2, 3, 4, 5, 6}
    assert found["silhouette"] == max(tried.values()) == tried[found["k"]]
    named = json.loads(here(*command, "--k", found["k"]).stdout)
    assert named["clusters"] == found["clusters"] and "silhouettes" not in named


def test_a_table_for_people(here: Run, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Lines of a txt file are texts; the first word of each may be its label."""
    path = tmp_path / "a.txt"
    lines = [f"{label} {word} and {word}\n" for label, words in WORDS.items() for word in words]
    path.write_text("".join(lines).replace("mat", "[b]"))
    result = here("cluster", tiny("bert"), "--text", path, "--label-column", "first", "--k", 2, "--nearest", 6)
    assert "6 texts in 2 clusters" in result.stdout
    assert "against the labels: NMI" in result.stdout
    assert "[b] and [b]" in result.stdout
    assert "animals 1" in result.stdout or "animals 5" in result.stdout or "animals 6" in result.stdout
    single = here("cluster", tiny("bert"), "--text", path, "--k", 1)
    assert "6 texts in 1 clusters; inertia" in single.stdout and "silhouette" not in single.stdout


def test_wrong_settings_are_one_line(
    refused: Callable[..., str], tiny: Callable[[str], Path], texts: Path, tmp_path: Path
) -> None:
    model = tiny("bert")
    assert "no text is named" in refused("cluster", model)
    assert "k must be 1 to 18" in refused("cluster", model, "--text", texts, "--k", 19)
    assert "has no effect with --k 3" in refused("cluster", model, "--text", texts, "--k", 3, "--k-max", 5)
    assert "pooling must be one of" in refused("cluster", model, "--text", texts, "--k", 3, "--pooling", "middle")
    assert "has no label in 'kind'" in refused("cluster", model, "--text", texts, "--k", 3, "--label-column", "kind")
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    assert "at least three different texts" in refused("cluster", model, "--text", tmp_path / "two.txt")
    assert "counts" in refused("cluster", tiny("ngram"), "--text", texts, "--k", 2)


@pytest.mark.parametrize("k", [2, "auto"])
def test_real_reviews(here: Run, tiny: Callable[[str], Path], realdata: Path, tmp_path: Path, k: int | str) -> None:
    """Sentences of films with their labels; a model that knows nothing agrees with them no more than by chance."""
    path = tmp_path / "reviews.txt"
    lines = (realdata / "classification" / "stsa.binary.dev").read_text().splitlines()[:150]
    path.write_text("\n".join(line for line in lines if len(line) < 60) + "\n")
    found = json.loads(
        here(
            "cluster", tiny("llama"), "--text", path, "--label-column", "first", "--k", k, "--starts", 2, "--json"
        ).stdout
    )
    assert found["texts"] == sum(one["size"] for one in found["clusters"]) > 10
    assert -0.2 < found["ari"] < 0.5 and 0 <= found["nmi"] < 0.5
    assert {label for one in found["clusters"] for label in one["labels"]} == {"0", "1"}
