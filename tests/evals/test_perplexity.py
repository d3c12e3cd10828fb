"""Perplexity against numbers worked out by hand; windows score every token once, with context where there is some."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, DataError, SettingsError
from nextword.core.records import Document
from nextword.data.shards import Tokens, TokenWriter
from nextword.evals.perplexity import perplexity, score
from nextword.evals.settings import EvaluateSection
from nextword.evals.windows import Text, cut, texts_of_documents, texts_of_stream, texts_of_tokens
from nextword.models.base import IGNORED, Batch
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train


class Table:
    """p(next | last token) from a table; `seen` notes how much context each scored label had."""

    kind, vocab_size, max_length = "decoder", 3, None
    P = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]], dtype=torch.float64)

    def __init__(self, max_length: int | None = None) -> None:
        self.max_length = max_length
        self.seen: list[int] = []
        self.batches: list[tuple[int, int]] = []

    def start(self, rows: int, length: int) -> "Table":
        self.lengths_B = torch.zeros(rows)
        return self

    def score(self, batch: Batch, labels_BT: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(labels_BT.shape))
        self.seen += [t + 1 for row in labels_BT for t in range(len(row)) if row[t] != IGNORED]
        logp_BT = self.P.log()[batch.ids_BT, labels_BT.clamp(min=0)]
        return logp_BT.masked_fill(labels_BT == IGNORED, 0).float()


TEXTS = [Text([0, 1, 2, 1], "a", 10, 2), Text([0, 0], "b", 1, 1), Text([0, 2, 2], "a", 5, 3)]
# a: .25 .8 .6 and .25 .2; b: .5
NATS_A, NATS_B = -math.log(0.25 * 0.8 * 0.6 * 0.25 * 0.2), -math.log(0.5)


def test_by_hand() -> None:
    found = perplexity(Table(), TEXTS, EvaluateSection())
    a, b, whole = found["sources"]["a"], found["sources"]["b"], found["all"]
    assert (a["texts"], a["tokens"], a["words"], a["bytes"]) == (2, 5, 5, 15)
    assert a["nats"] == pytest.approx(NATS_A)
    assert a["perplexity"] == pytest.approx((0.25 * 0.8 * 0.6 * 0.25 * 0.2) ** (-1 / 5))
    assert b["perplexity"] == pytest.approx(2.0)  # a fair coin is two equally likely choices
    assert b["bits_per_byte"] == pytest.approx(1.0)
    assert (whole["texts"], whole["tokens"], whole["words"], whole["bytes"]) == (3, 6, 6, 16)
    assert whole["loss"] == pytest.approx((NATS_A + NATS_B) / 6)
    assert whole["perplexity_per_word"] == pytest.approx(math.exp((NATS_A + NATS_B) / 6))
    assert whole["perplexity_per_byte"] == pytest.approx(math.exp((NATS_A + NATS_B) / 16))
    assert whole["bits_per_byte"] == pytest.approx((NATS_A + NATS_B) / math.log(2) / 16)


@pytest.mark.parametrize("batch_tokens", [1, 3, 4, 100])
def test_batches_do_not_change_the_figures(batch_tokens: int) -> None:
    model = Table()
    found = perplexity(model, TEXTS, EvaluateSection(batch_tokens=batch_tokens))
    assert found["all"]["nats"] == pytest.approx(NATS_A + NATS_B)
    assert all(rows == 1 or rows * length <= batch_tokens for rows, length in model.batches)


@given(st.integers(0, 60), st.integers(1, 20), st.floats(0, 0.95))
def test_windows_score_every_token_once_with_context(count: int, length: int, overlap: float) -> None:
    text = Text(list(range(count)), "", 0, 0)
    windows = list(cut(text, 0, length, overlap))
    scored = [number for window in windows for number in window.ids[window.context + 1 :]]
    assert scored == list(range(1, count))
    assert all(len(window.ids) - 1 <= length for window in windows)
    assert [window.first for window in windows] == [i == 0 for i in range(len(windows))]
    wanted = min(int(length * overlap), length - 1)
    for window in windows[1:]:
        assert window.context == wanted  # what comes after the first window sees at least the overlap


def test_the_picture_in_the_docstring() -> None:
    windows = list(cut(Text(list(range(7)), "", 0, 0), 0, 4, 0.5))
    assert [(w.ids, w.context) for w in windows] == [([0, 1, 2, 3, 4], 0), ([2, 3, 4, 5, 6], 2)]


def test_a_long_text_is_scored_whole_in_windows() -> None:
    ids = torch.randint(0, 3, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    text = [Text(ids, "long", 1000, 200)]
    limited = Table(max_length=64)
    found = perplexity(limited, text, EvaluateSection(overlap=0.75))["all"]
    assert found == pytest.approx(perplexity(Table(), text, EvaluateSection())["all"])
    assert len(limited.seen) == 999
    assert sorted(limited.seen)[64] == 49  # after the first window every token has at least 48 before it


def test_max_tokens_stops_early() -> None:
    assert perplexity(Table(), TEXTS, EvaluateSection(max_tokens=3))["all"]["texts"] == 1
    assert perplexity(Table(), TEXTS, EvaluateSection(max_tokens=4))["all"]["texts"] == 2


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="nothing to score"):
        perplexity(Table(), [Text([0], "a", 0, 0)], EvaluateSection())
    assert list(score(Table(), [], 10)) == []


def test_scores_that_are_no_numbers() -> None:
    model = Table()
    model.P = torch.full((3, 3), float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        perplexity(model, TEXTS, EvaluateSection())


def test_progress_counts_up() -> None:
    seen: list[int] = []
    perplexity(Table(), TEXTS, EvaluateSection(batch_tokens=2), lambda done, sums: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 6


@pytest.mark.parametrize("wrong", [{"overlap": 1.0}, {"overlap": -0.1}, {"windows": 0}, {"batch_tokens": 0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        EvaluateSection(**wrong)


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return train(TokenizerSettings(kind="character"), iter(["abcdé "]))


def test_documents_begin_with_the_begin_token(letters: Tokenizer) -> None:
    documents = [Document("1", "ab é", "s"), Document("2", "", "s")]
    first, second = texts_of_documents(documents, letters, score_end=False)
    assert first.ids == [letters.bos_id, *letters.encode("ab é")]
    assert (first.bytes, first.words, first.source) == (5, 2, "s")
    assert second.ids == [letters.bos_id]
    [first, second] = texts_of_documents(documents, letters, score_end=True)
    assert first.ids[-1] == second.ids[-1] == letters.eos_id


def test_a_token_file_gives_the_same_texts_as_its_documents(letters: Tokenizer, tmp_path: Path) -> None:
    documents = [Document("1", "ab é", "s"), Document("2", "dd", "t"), Document("3", "c c", "s")]
    with TokenWriter.create(tmp_path / "tokens", letters) as writer:
        for d in documents:
            ids, size, words = letters.encode(d.text), len(d.text.encode()), len(d.text.split())
            writer.add("validation", ids, d.source, size, words)
    tokens = Tokens.open(tmp_path / "tokens", "validation")
    for end in (False, True):
        expected = list(texts_of_documents(documents, letters, end))
        assert list(texts_of_tokens(tokens, letters.bos_id, end)) == expected
    stream = list(texts_of_stream(tokens, 5))
    whole = tokens.read(0, len(tokens)).tolist()
    assert [text.ids for text in stream] == [whole[0:6], whole[5:11], whole[10:12]]
    assert sum(text.bytes for text in stream) == tokens.bytes
    assert [number for text in stream for number in text.ids[1:]] == whole[1:]
