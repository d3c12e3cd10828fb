"""How held-out text is scored."""

from dataclasses import dataclass

from nextword.core.settings import in_range


@dataclass(frozen=True, kw_only=True)
class EvaluateSection:
    """How text is scored."""

    overlap: float = 0.5
    "Texts longer than the model's context are read in windows that overlap by this share of it."
    score_end: bool = False
    "Score the token that ends a document too."
    windows: int | None = None
    "Cut a token stream into windows of this many tokens, across documents, as nanoGPT does (token files only)."
    max_tokens: int | None = None
    "Stop after about so many tokens (all)."
    batch_tokens: int = 4096
    "Tokens that are computed at once."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."

    def __post_init__(self) -> None:
        in_range("evaluate.overlap", self.overlap, 0, 0.95)
        in_range("evaluate.batch_tokens", self.batch_tokens, 1)
        for name in ("windows", "max_tokens"):
            value = getattr(self, name)
            if value is not None:
                in_range(f"evaluate.{name}", value, 1)
