"""Gaps and vectors: models that know some sentences by heart fill their gaps; what cannot be is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings
from nextword.engine.fill import Filled, framed, join
from nextword.engine.generate import generate
from nextword.engine.request import Request, ask
from nextword.face import LM
from nextword.models.base import Batch, pad
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

SENTENCES = ["the cat sat on the mat", "a dog ran in the park", "my red hat is on the bed"]


SIZES = {"bpe": 289, "wordpiece": 50, "character": None}  # every word a token; a few pieces
SPECIAL = {"gpt": 0, "bert": 3, "t5": 101}


def tokenizer_for(purpose: str, kind: str) -> Any:
    size = SIZES[kind]
    size = None if size is None else size + SPECIAL[purpose]
    return train(TokenizerSettings(kind=kind, vocab_size=size, min_frequency=1, purpose=purpose), SENTENCES)


def fit(model: Any, batch: Batch, labels_BT: torch.Tensor, steps: int = 150) -> None:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (-model.score(batch, labels_BT).sum() / (labels_BT != -100).sum()).backward()
        optimizer.step()
    model.eval()


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def bert(request: pytest.FixtureRequest) -> LM:
    """A BERT that knows the sentences: each token of each was hidden once."""
    tokenizer = tokenizer_for("bert", request.param)
    model = create(ModelSettings(family="bert", width=48, depth=2, heads=4, max_length=32), tokenizer.vocab_size, 1)
    rows, labels = [], []
    for ids in map(tokenizer.encode, SENTENCES):
        whole = framed(tokenizer, ids)
        for place in range(1, len(whole) - 1):
            rows.append([*whole[:place], tokenizer.mask_id, *whole[place + 1 :]])
            labels.append([-100] * place + [whole[place]])
    batch = pad(rows)
    labels_BT = torch.full_like(batch.ids_BT, -100)
    for row, wanted in enumerate(labels):
        labels_BT[row, : len(wanted)] = torch.tensor(wanted)
    fit(model, batch, labels_BT)
    return LM(model, tokenizer)


@pytest.fixture(scope="module")
def t5() -> LM:
    """A T5 that knows what stands in the gaps of the sentences."""
    tokenizer = tokenizer_for("t5", "bpe")
    sizes = ModelSettings(family="t5", width=48, depth=2, heads=4, head_width=12)
    model: Any = create(sizes, tokenizer.vocab_size, 1, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    first, second, third = (tokenizer.special_id(f"<extra_id_{n}>") for n in range(3))
    sources, targets = [], []
    for sentence in SENTENCES:
        words = sentence.split(" ")
        parts = [" ".join(words[:1]), " " + " ".join(words[2:4]), " " + " ".join(words[5:])]
        gaps = [tokenizer.encode(" " + words[1]), tokenizer.encode(" " + words[4])]
        sources.append([*join(tokenizer, parts, [first, second]), tokenizer.eos_id])
        targets.append([first, *gaps[0], second, *gaps[1], third, tokenizer.eos_id])
    labels = pad(targets, tokenizer.pad_id)
    begin_B1 = torch.full((len(targets), 1), tokenizer.pad_id)
    ids_BT = torch.cat([begin_B1, labels.ids_BT[:, :-1]], 1)
    mask_BT = torch.ones_like(ids_BT, dtype=torch.bool) if labels.mask_BT is None else labels.mask_BT
    fit(model, Batch(ids_BT, source=pad(sources)), labels.ids_BT.masked_fill(~mask_BT, -100), 250)
    return LM(model, tokenizer)


def test_a_mask_is_filled(bert: LM) -> None:
    filled = bert.fill("the [MASK] sat on the mat")
    assert isinstance(filled, Filled)
    assert filled.text.strip() == "the cat sat on the mat"
    ((best, *rest),) = filled.gaps
    assert best.text.strip() == "cat" and best.probability > 0.8
    assert len(rest) == 4 and best.probability + sum(one.probability for one in rest) <= 1 + 1e-5
    assert [one.probability for one in filled.gaps[0]] == sorted((o.probability for o in filled.gaps[0]), reverse=True)


def test_each_of_several_masks_is_filled_in_order(bert: LM) -> None:
    filled = bert.fill("my red [MASK] is on the [MASK]", top=2)
    assert [len(gap) for gap in filled.gaps] == [2, 2]
    assert filled.gaps[1][0].text.strip() == "bed"


def test_sentinels_are_filled_by_what_is_written(t5: LM) -> None:
    filled = t5.fill("a <extra_id_0> ran in <extra_id_1> park")
    assert filled.text == "a dog ran in the park"
    assert [gap[0].text for gap in filled.gaps] == ["dog", "the"]
    assert all(len(gap) == 1 and gap[0].probability > 0.5 for gap in filled.gaps)


def test_a_t5_generates_about_its_prompt_alone_and_together(t5: LM) -> None:
    prompts = ["the cat sat", "a dog", "my red hat is on"]
    together = t5.generate(prompts, temperature=0, max_tokens=12)
    assert together == [t5.generate(prompt, temperature=0, max_tokens=12) for prompt in prompts]
    assert "".join(t5.stream(prompts[0], temperature=0, max_tokens=12)) == together[0]


def test_generation_equals_reading_everything_anew_for_every_token(t5: LM) -> None:
    settings = SamplingSettings(temperature=0, max_tokens=10)
    requests = [ask(t5.model, t5.tokenizer, prompt, settings) for prompt in ("the cat", "a dog ran in the park")]
    for request, result in zip(requests, generate(t5.model, requests), strict=True):
        ids = list(request.ids)
        for token in result.ids:
            batch = Batch(torch.tensor([ids]), source=Batch(torch.tensor([request.source])))
            with torch.no_grad():
                assert int(t5.model.logits(t5.model.hidden(batch).hidden_BTD[:, -1]).argmax()) == token
            ids.append(token)


def test_spaces_before_a_mark_belong_to_what_it_hides() -> None:
    for kind, wanted in (("bpe", "the"), ("wordpiece", "the"), ("character", "the ")):
        tokenizer = tokenizer_for("gpt", kind)
        ids = join(tokenizer, ["the ", " sat"], [-7])
        assert ids[: ids.index(-7)] == tokenizer.encode(wanted)
        assert ids[ids.index(-7) + 1 :] == tokenizer.encode(" sat")


def test_what_cannot_be_filled_is_refused(bert: LM, t5: LM, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError, match=r"the text has no \[MASK\]"):
        bert.fill("the cat sat")
    with pytest.raises(SettingsError, match=r"has \d+ tokens, the model reads at most 32"):
        bert.fill("the cat " * 20 + "[MASK]")
    with pytest.raises(SettingsError, match="in order: the text has none"):
        t5.fill("the cat")
    with pytest.raises(SettingsError, match="in order: the text has <extra_id_1>"):
        t5.fill("the <extra_id_1> sat")
    llama = nw.load(tiny("llama"))
    with pytest.raises(SettingsError, match=r"fill needs an encoder.*it can continue a text \(generate\)"):
        llama.fill("the [MASK] sat")
    with pytest.raises(SettingsError, match="this tokenizer has no mask token.*--for bert"):
        LM(bert.model, llama.tokenizer).fill("the [MASK] sat")
    with pytest.raises(SettingsError, match="this tokenizer has no sentinels.*--for t5"):
        LM(t5.model, llama.tokenizer).fill("the <extra_id_0> sat")


def test_an_encoder_writes_by_filling_masks_again_and_again(bert: LM) -> None:
    """Of a sentence that it knows but for the last words, all masks at once and one by one."""
    for iterations in (1, 3):
        text = bert.generate("the cat sat", max_tokens=3, temperature=0, iterations=iterations)
        assert len(bert.tokenizer.encode(text)) <= 3
    assert bert.generate("the cat sat on the", max_tokens=1, temperature=0).strip() == "mat"
    several = bert.generate(["the cat sat on the", "a dog ran in the"], max_tokens=1, temperature=0)
    assert several[0].strip() == "mat" and "park".startswith(several[1].strip())
    assert "".join(bert.stream("the cat sat", max_tokens=3, seed=1)) == bert.generate(
        "the cat sat", max_tokens=3, seed=1
    )
    with pytest.raises(SettingsError, match="an encoder writes as many tokens as there are masks.*max_tokens"):
        bert.generate("the")
    with pytest.raises(SettingsError, match="beam is for decoder or encoder-decoder models, this is an encoder"):
        bert.generate("the", max_tokens=2, strategy="beam")
    with pytest.raises(SettingsError, match="repetition_penalty: strategy mask-predict writes in no order"):
        bert.generate("the", max_tokens=2, repetition_penalty=1.3)
    with pytest.raises(SettingsError, match="set max_tokens to at most 2"):
        bert.generate("the", max_tokens=30)


def test_encoders_do_not_score_from_left_to_right(bert: LM, t5: LM) -> None:
    for lm in (bert, t5):
        with pytest.raises(SettingsError, match="no probability of a text from left to right"):
            lm.score("the cat")
    with pytest.raises(SettingsError, match="without a source does not fit this encoder-decoder"):
        generate(t5.model, [Request((1,))])


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5", "lstm"])
def test_vectors_of_every_kind(family: str, tiny: Callable[[str], Path]) -> None:
    lm = nw.load(tiny(family))
    texts = ["The cat sat on the mat.", "A", "Once upon a time"]
    poolings = ["mean", "last", "cls"] if family == "bert" else ["mean", "last"]
    for pooling in poolings:
        together = lm.embed(texts, pooling=pooling)
        assert together.shape == (3, 32)
        for text, found in zip(texts, together, strict=True):
            states = lm.states(text)
            assert len(states.ids) == len(states.tokens) == len(states.vectors_TD)
            pooled = {"mean": states.vectors_TD.mean(0), "last": states.vectors_TD[-1], "cls": states.vectors_TD[0]}
            assert torch.allclose(found, pooled[pooling], atol=1e-5)
            assert torch.allclose(lm.embed(text, pooling=pooling), found, atol=1e-5)
    if family == "bert":
        assert lm.states("A").tokens[0] == "[CLS]" and lm.states("A").tokens[-1] == "[SEP]"
    else:
        with pytest.raises(SettingsError, match=r"'cls' takes the vector of \[CLS\], which this"):
            lm.embed("A", pooling="cls")
    with pytest.raises(SettingsError, match="pooling must be one of .*mean.*, received 'sum'"):
        lm.embed("A", pooling="sum")
    with pytest.raises(SettingsError, match="an empty text has no embedding"):
        lm.states("")
