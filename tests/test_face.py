"""The Python face: load, generate, stream, score, logprob, perplexity, embed, save."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nextword as nw
from nextword.core.errors import CheckpointError, SettingsError
from nextword.data.shards import TokenWriter
from nextword.models.base import Batch

KINDS = ["llama", "lstm", "ngram"]


@pytest.fixture(scope="module", params=KINDS)
def lm(request: pytest.FixtureRequest, tiny: Callable[[str], Path]) -> nw.LM:
    return nw.load(tiny(request.param))


@pytest.fixture(scope="module")
def llama(tiny: Callable[[str], Path]) -> nw.LM:
    return nw.load(tiny("llama"))


def by_hand(lm: nw.LM, ids: list[int]) -> list[float]:
    """log p of each token after the one that begins a text, by whole softmaxes."""
    read = torch.tensor([[lm.tokenizer.bos_id, *ids]])
    with torch.no_grad():
        logp = lm.model.logits(lm.model.hidden(Batch(read)).hidden_BTD[0]).double().log_softmax(-1)
    return [float(logp[place, number]) for place, number in enumerate(ids)]


def test_import_is_light() -> None:
    code = "import sys, nextword; nextword.__version__; dir(nextword); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'finetune'; it has LM"):
        nw.finetune  # noqa: B018


def test_generate_alone_and_in_a_list(lm: nw.LM) -> None:
    prompts = ["Once upon", "The cat sat on", "A"]
    together = lm.generate(prompts, max_tokens=12, seed=3)
    assert together == [lm.generate(prompt, max_tokens=12, seed=3) for prompt in prompts]
    assert lm.generate("The", max_tokens=12, seed=3) != lm.generate("The", max_tokens=12, seed=4)


def test_a_repeated_prompt_gives_different_texts(lm: nw.LM) -> None:
    first, second = lm.generate(["The", "The"], max_tokens=20, seed=3)
    assert first != second
    assert second == lm.generate("The", max_tokens=20, seed=4)


def test_greedy_is_temperature_zero_and_top_k_one(llama: nw.LM) -> None:
    greedy = llama.generate("The", max_tokens=12, temperature=0)
    assert greedy == llama.generate("The", max_tokens=12, top_k=1)
    assert greedy == llama.generate("The", max_tokens=12, top_p=1e-6, seed=9)


def test_stream_joined_is_generate(lm: nw.LM) -> None:
    pieces = list(lm.stream("The cat", max_tokens=40, temperature=4, seed=1))
    assert len(pieces) > 1
    assert "".join(pieces) == lm.generate("The cat", max_tokens=40, temperature=4, seed=1)


def test_a_stream_never_splits_a_character(llama: nw.LM) -> None:
    """A random byte-level model says many bytes that are no characters: each must come out as a whole U+FFFD."""
    pieces = list(llama.stream("é", max_tokens=50, temperature=3.0, seed=1))
    for piece in pieces:
        piece.encode()  # a lone surrogate, half of a character, could not be encoded


def test_stop(llama: nw.LM) -> None:
    whole = llama.generate("The", max_tokens=30, seed=2)
    stop = whole[7:9]
    assert llama.generate("The", max_tokens=30, seed=2, stop=stop) == whole[: whole.index(stop)]
    assert llama.generate("The", max_tokens=30, seed=2, stop=["never said", stop]) == whole[: whole.index(stop)]


def test_score_gives_every_token(lm: nw.LM) -> None:
    text = "The cat sat on thé mat."
    found = lm.score(text)
    assert [token.id for token in found] == lm.tokenizer.encode(text)
    assert "".join(token.text for token in found) == text
    assert [token.logprob for token in found] == pytest.approx(by_hand(lm, lm.tokenizer.encode(text)), abs=1e-4)
    assert lm.score("") == []


def test_logprob_is_a_part_of_the_score(lm: nw.LM) -> None:
    prompt, continuation = "The cat", " sat on the mat."
    found = lm.logprob(prompt, continuation)
    expected = lm.score(prompt + continuation)[len(lm.tokenizer.encode(prompt)) :]
    assert "".join(token.text for token in found.tokens) == continuation
    assert found.sum == pytest.approx(sum(token.logprob for token in expected))
    assert found.mean == pytest.approx(found.sum / len(expected))


def test_sum_and_mean_rank_by_different_things(llama: nw.LM) -> None:
    """A caramel iced latte against a caramelised latte: lengths differ, so both figures are shown."""
    two = [llama.logprob("I want a caramel", " iced latte"), llama.logprob("I want a", " caramelised latte")]
    for found in two:
        assert found.mean == pytest.approx(found.sum / len(found.tokens))
    assert len(two[0].tokens) != len(two[1].tokens)
    # a continuation that goes on can only become less likely; its mean may rise
    longer = llama.logprob("I want a caramel", " iced latte, and the cat too")
    assert longer.sum < two[0].sum


def test_a_token_over_the_border_belongs_to_the_continuation(llama: nw.LM) -> None:
    whole = llama.tokenizer.encode("The cat")
    assert llama.tokenizer.encode("The c") != whole[: len(llama.tokenizer.encode("The c"))]  # " cat" is one token
    found = llama.logprob("The c", "at")
    assert [token.text for token in found.tokens] == [" cat"]
    assert found.sum == pytest.approx(by_hand(llama, whole)[-1], abs=1e-4)


def test_logprob_without_a_prompt_and_without_a_continuation(llama: nw.LM) -> None:
    assert llama.logprob("", "The cat").sum == pytest.approx(sum(t.logprob for t in llama.score("The cat")))
    with pytest.raises(SettingsError, match="nothing to score"):
        llama.logprob("The cat", "")


def test_perplexity_by_hand(lm: nw.LM) -> None:
    texts = ["The cat sat.", "A dog and a cat, too"]
    found = lm.perplexity(texts)
    nats = -sum(sum(by_hand(lm, lm.tokenizer.encode(text))) for text in texts)
    tokens = sum(len(lm.tokenizer.encode(text)) for text in texts)
    assert (found["tokens"], found["words"], found["bytes"]) == (tokens, 3 + 6, 12 + 20)
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["perplexity_per_word"] == pytest.approx(math.exp(nats / 9), rel=1e-4)
    assert found["perplexity_per_byte"] == pytest.approx(math.exp(nats / 32), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / 32, rel=1e-4)
    assert lm.perplexity(texts[0])["tokens"] == len(lm.tokenizer.encode(texts[0]))


@pytest.mark.parametrize("kind", ["llama", "lstm"])
def test_embed_is_the_mean_of_the_last_states(kind: str, tiny: Callable[[str], Path]) -> None:
    lm = nw.load(tiny(kind))
    texts = ["The cat", "Once upon a time there was a dog", "mat"]
    together = lm.embed(texts, rows=2)
    alone = torch.stack([lm.embed(text) for text in texts])
    assert together.shape == (3, 32)
    assert torch.allclose(together, alone, atol=1e-5)
    ids = torch.tensor([lm.tokenizer.encode(texts[1])])
    with torch.no_grad():
        assert torch.allclose(together[1], lm.model.hidden(Batch(ids)).hidden_BTD[0].mean(0), atol=1e-5)
    lengths = lm.embed(texts, normalise=True).norm(dim=-1)
    assert torch.allclose(lengths, torch.ones(3))


def test_embed_refuses(llama: nw.LM, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError, match="empty text"):
        llama.embed(["a", ""])
    with pytest.raises(SettingsError, match="reads at most 64"):
        llama.embed("zz " * 100)
    with pytest.raises(SettingsError, match="no hidden states"):
        nw.load(tiny("ngram")).embed("The cat")


def test_save_and_load(lm: nw.LM, tmp_path: Path) -> None:
    lm.save(tmp_path / "copy")
    again = nw.load(tmp_path / "copy")
    assert again.generate("The", max_tokens=15, seed=1) == lm.generate("The", max_tokens=15, seed=1)
    assert again.score("A cat") == lm.score("A cat")


def test_saving_a_model_that_other_tools_do_not_know_warns(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    lm = nw.load(tiny("nextword"))
    with pytest.warns(UserWarning, match="only nextword opens models of the family 'nextword'"):
        lm.save(tmp_path / "copy")
    assert nw.load(tmp_path / "copy").score("A cat") == lm.score("A cat")


def test_a_saved_llama_opens_in_transformers(llama: nw.LM, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llama.save(tmp_path / "copy")
    model, tokenizer = (kind.from_pretrained(tmp_path / "copy") for kind in (AutoModelForCausalLM, AutoTokenizer))
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("The cat", add_special_tokens=False).input_ids]])
    new = model.generate(ids, max_new_tokens=20, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(new, skip_special_tokens=True) == llama.generate("The cat", max_tokens=20, temperature=0)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a folder"):
        nw.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"lacks config\.json"):
        nw.load(tmp_path)


def test_repr_says_what_it_is(llama: nw.LM) -> None:
    assert repr(llama) == f"LM(llama, vocabulary of {llama.model.vocab_size}, max_length 64)"


def test_pretrain_then_load(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = nw.load(tiny("llama")).tokenizer
    with TokenWriter.create(tmp_path / "tokens", tokenizer) as writer:
        for split in ("train", "validation"):
            for text in ["The cat sat on the mat, and the dog sat too."] * 8:
                writer.add(split, tokenizer.encode(text), "texts", len(text), 11)
    sizes = {"width": 16, "depth": 1, "heads": 2, "max_length": 32}
    settings = {"steps": 40, "batch": 4, "length": 16, "precision": "fp32", "learning_rate": 0.01}
    nw.pretrain(tmp_path / "tokens", tmp_path / "run", model=sizes, train=settings, quiet=True)
    lm = nw.load(tmp_path / "run" / "model")
    figures = lm.perplexity("The cat sat on the mat, and the dog sat too.")
    assert figures["perplexity"] < 100  # of 300 equally likely tokens before it learnt
    with pytest.raises(SettingsError, match="unknown setting 'widht'; did you mean 'width'"):
        nw.pretrain(tmp_path / "tokens", tmp_path / "other", model={"widht": 16})
