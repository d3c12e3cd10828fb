"""Settings of `nextword cluster`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range
from nextword.text.settings import TextSettings

LARGEST = 1000  # clusters


@dataclass(frozen=True)
class ClusterSettings:
    """Texts grouped by what they say: the model makes vectors of them, k-means makes clusters of the vectors.

    A line of a txt file is a text, unless --separator says otherwise. With labels it is said how well the clusters
    agree with them."""

    RECIPE: ClassVar[str] = "nextword.recipes.cluster:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword cluster all-MiniLM-L6-v2 --text reviews.txt --k 8 --out clusters.jsonl\n"
        "  nextword cluster runs/bert/model --text news.jsonl --text-column title --plot news.svg\n"
        "  nextword cluster model --text news.csv --text-column title --label-column topic --k 20 --json\n"
        "  nextword cluster model --text rt-polarity.txt --label-column first --k auto --k-max 10"
    )

    model: str
    "A model folder, or a Hugging Face id (needs the hub extra); one of sentence-transformers is made for this."
    _: KW_ONLY
    text: TextSettings = field(default_factory=TextSettings)
    label_column: str | None = None
    "The jsonl key, or csv or parquet column, with each text's label; of txt files `first`, the first word of a text."
    k: int | Literal["auto"] = "auto"
    "How many clusters; auto tries 2 to --k-max and takes the number whose silhouette is best."
    k_max: int = 12
    "The most clusters that --k auto tries."
    starts: int = 10
    "Runs of k-means from different first centres, of which the best is kept."
    seed: int = 0
    "Draws the first centres, and the texts whose silhouettes are computed where there are many."
    pooling: str | None = None
    "How a text's vector is made of its tokens': mean, cls, last, max, own (by default as the model's folder says)."
    prompt: str | None = None
    "The name of a prompt that the model's folder has for texts of a kind."
    normalise: bool = True
    "Whether vectors get length 1, so that clusters are of directions."
    rows: int = 32
    "Texts whose vectors are computed together."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."
    nearest: int = 3
    "Texts that are shown of each cluster: those nearest to its centre."
    out: Annotated[Path | None, Parameter(alias="-o")] = None
    "A JSONL file to write: each text with its cluster and its distance from the centre."
    plot: Path | None = None
    "An SVG to write: the texts in the plane in which their vectors spread most."
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."

    def __post_init__(self) -> None:
        if not self.text.sources:
            raise SettingsError("no text is named: add --text with files or folders")
        if self.k != "auto":
            in_range("k", self.k, 1, LARGEST)
            if self.k_max != type(self).k_max:
                raise SettingsError(f"k_max is for --k auto: it has no effect with --k {self.k}")
        in_range("k_max", self.k_max, 2, LARGEST)
        in_range("starts", self.starts, 1, 1000)
        in_range("rows", self.rows, 1)
        in_range("nearest", self.nearest, 0)
