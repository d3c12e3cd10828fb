"""classify, tag and answer say what transformers' logits and tokenizers say, worked out by hand."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

import nextword as nw
from nextword.core.errors import SettingsError
from nextword.engine.tasks import Tag, _grouped
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
TEXTS = ["the cat sat on the mat", "a dog ran in the park by the red house", "my red hat is on the bed"]
QUESTION, CONTEXT = "the dog?", "  a dog ran in the park, my red hat is on the bed by the red house."


def folder(encoders: Any, place: Path, task: str, twice: bool = False, **own: Any) -> tuple[nw.LM, Any, Any]:
    """Ours, theirs and their tokenizer out of one folder; `twice`: a RoBERTa's template, with two separators."""
    made = train(TokenizerSettings(kind="wordpiece", vocab_size=60, min_frequency=1, purpose="bert"), TEXTS)
    cls, sep = "[CLS]", "[SEP]"
    pair = f"{cls} $A {sep} {sep} $B {sep}" if twice else f"{cls} $A {sep} $B:1 {sep}:1"
    made.inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=pair, special_tokens=[(cls, made.cls_id), (sep, made.sep_id)]
    )
    sizes = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20}
    config = transformers.BertConfig(**sizes, vocab_size=made.vocab_size, max_position_embeddings=40, **own)
    theirs = encoders.drawn("Bert", task, config, 3)
    theirs.save_pretrained(place)
    made.save(place)
    cut = transformers.AutoTokenizer.from_pretrained(place)
    return nw.load(place), theirs, partial(cut, return_tensors="pt", return_token_type_ids=True)


@torch.no_grad()
def logits(theirs: Any, read: Any) -> Any:
    return theirs(read["input_ids"], attention_mask=read["attention_mask"], token_type_ids=read["token_type_ids"])


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_classes_of_texts_and_pairs(encoders: Any, tmp_path: Path, problem: str) -> None:
    names = {0: "bad", 1: "good", 2: "neither"}
    lm, theirs, cut = folder(
        encoders, tmp_path, "ForSequenceClassification", problem_type=problem, id2label=names, num_labels=3
    )
    for seconds in (None, TEXTS[::-1]):
        scores = logits(theirs, cut(TEXTS, seconds, padding=True)).logits
        chances = scores.softmax(-1) if problem.startswith("single") else scores.sigmoid()
        found = lm.classify(TEXTS, seconds, rows=2)
        for mine, wanted, chance in zip(found, scores, chances, strict=True):
            assert [one.label for one in mine] == [names[int(n)] for n in wanted.argsort(descending=True)]
            best = chance.sort(descending=True).values.tolist()
            assert [one.probability for one in mine] == pytest.approx(best, 1e-4)
    assert lm.classify(TEXTS[0], TEXTS[2]) == lm.classify([TEXTS[0]], [TEXTS[2]])[0]


def test_a_single_class_is_a_number(encoders: Any, tmp_path: Path) -> None:
    lm, theirs, cut = folder(encoders, tmp_path, "ForSequenceClassification", num_labels=1)
    (one,) = lm.classify(TEXTS[0])
    assert one.probability is None
    assert one.score == pytest.approx(float(logits(theirs, cut(TEXTS[0])).logits), 1e-4)
    for wrong, said in ((lm.tag, "tag needs"), (lm.fill, "no scores over the vocabulary: it has sequence instead")):
        with pytest.raises(SettingsError, match=said):
            wrong("[MASK]" if wrong == lm.fill else "the cat")
    with pytest.raises(SettingsError, match="an empty text says nothing"):
        lm.classify("")
    with pytest.raises(SettingsError, match="the model reads at most 40"):
        lm.classify("cat " * 60)


def test_every_token_has_its_class_and_place(encoders: Any, tmp_path: Path) -> None:
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    lm, theirs, cut = folder(encoders, tmp_path, "ForTokenClassification", id2label=names, num_labels=4)
    read = cut(CONTEXT, return_offsets_mapping=True)
    best = logits(theirs, read).logits[0].softmax(-1).max(-1)
    wanted = [
        (CONTEXT[start:end], names[int(number)], pytest.approx(float(chance), 1e-4), start, end)
        for (start, end), number, chance in zip(read["offset_mapping"][0], best.indices, best.values, strict=True)
    ][1:-1]
    found = lm.tag(CONTEXT, grouped=False)
    assert [(one.text, one.label, one.probability, one.start, one.end) for one in found] == wanted
    spans = lm.tag(CONTEXT)
    assert all(one.label in {"PER", "LOC"} and one.text == CONTEXT[one.start : one.end] for one in spans)


def test_neighbours_of_one_class_are_one_span() -> None:
    text = "Ada King Anna"
    places = [("B-PER", 0, 1), ("B-PER", 1, 3), ("I-PER", 4, 8), ("B-PER", 9, 13)]
    chances = (1, 0.5, 0.6, 0.9)
    tokens = [Tag(text[a:b], kind, one, a, b) for (kind, a, b), one in zip(places, chances, strict=True)]
    first, second = _grouped(tokens, text)
    assert (first.text, first.label, first.probability) == ("Ada King", "PER", pytest.approx(0.7))
    assert (second.text, second.start, second.end) == ("Anna", 9, 13)
    assert _grouped([Tag("x", "O", 1.0, 0, 1)], "x") == []


@pytest.mark.parametrize("twice", [False, True])
def test_the_best_span_by_every_pair_of_places(encoders: Any, tmp_path: Path, twice: bool) -> None:
    lm, theirs, cut = folder(encoders, tmp_path, "ForQuestionAnswering", twice)
    read = cut(QUESTION, CONTEXT, return_offsets_mapping=True)
    said, sides = logits(theirs, read), read.sequence_ids(0)
    begins, ends = said.start_logits[0], said.end_logits[0]
    places = [place for place, side in enumerate(sides) if side == 1]
    for limit in (1, 3, 30):
        pairs = [(float(begins[i] + ends[j]), i, j) for i in places for j in places if 0 <= j - i < limit]
        score, i, j = max(pairs)
        found = lm.answer(QUESTION, CONTEXT, max_tokens=limit)
        start, end = int(read["offset_mapping"][0][i][0]), int(read["offset_mapping"][0][j][1])
        assert (found.text, found.start, found.end) == (CONTEXT[start:end], start, end)
        assert found.score == pytest.approx(score, 1e-4)
        chance = begins[places].softmax(-1)[places.index(i)] * ends[places].softmax(-1)[places.index(j)]
        assert found.probability == pytest.approx(float(chance), 1e-4)


def test_a_long_context_is_read_in_windows(encoders: Any, tmp_path: Path) -> None:
    """The windows hold all of it; the best answer is the best of those of each window alone."""
    lm, _, _ = folder(encoders, tmp_path, "ForQuestionAnswering")
    long = " ".join(TEXTS * 4)
    found = lm.answer(QUESTION, long)
    assert found.text == long[found.start : found.end]
    with pytest.raises(SettingsError, match="leaves no room for a context"):
        lm.answer("cat " * 38, long)
    from nextword.engine.tasks import read, windows  # noqa: PLC0415

    whole = read(lm.model, lm.tokenizer, QUESTION, long, whole=True)
    parts = windows(lm.model, whole)
    assert len(parts) > 2
    assert all(len(part.ids) == 40 for part in parts)
    assert {span for part in parts for span in part.spans} == set(whole.spans)
