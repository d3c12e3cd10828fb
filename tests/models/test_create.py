"""Fresh models: one seed, one model; what a family cannot use is refused; each kind can learn a sentence by heart."""

import numpy as np
import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.core.settings import build
from nextword.models.base import Batch, LanguageModel
from nextword.models.create import create
from nextword.models.settings import FAMILIES, MADE, READ_ALONE, ModelSettings

SENTENCE = [1, 7, 3, 9, 3, 2, 8, 3, 4, 9, 9, 5, 0]
VOCABULARY = 12


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5", "nextword", "lstm", "ngram"])
def test_a_seed_gives_one_model_and_uses_no_other_generator(family: str) -> None:
    before = torch.get_rng_state()
    one, again, other = (create(ModelSettings(family=family), VOCABULARY, seed, eos_id=0) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(one, LanguageModel)
    states = [model.state_dict() for model in (one, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    if family != "ngram":
        assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_families_that_are_read_alone_refuse_to_begin_and_all_others_have_sizes() -> None:
    honoured = {name: part(FAMILIES, name, "FAMILY").honoured for name in names(FAMILIES)}  # type: ignore[attr-defined]
    assert {name for name, sizes in honoured.items() if not sizes} == READ_ALONE == set(honoured) - set(MADE)
    for name in READ_ALONE:
        with pytest.raises(SettingsError, match="which nextword does not train: load one"):
            create(ModelSettings(family=name), VOCABULARY, 0)


def test_llama_starts_as_documented() -> None:
    model = create(ModelSettings(width=256, depth=8), 4096, seed=0, eos_id=3, bos_id=3)
    assert model.config["eos_token_id"] == 3
    block = model.blocks[5]
    assert block.attention.query.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attention.output.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.02)
    assert block.feedforward.down.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.02)
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attention_norm.weight.eq(1).all() and model.norm.weight.eq(1).all()
    ids_BT, labels_BT = torch.randint(0, 4096, (2, 2, 50))
    assert -model.score(Batch(ids_BT), labels_BT).mean().item() == pytest.approx(np.log(4096), rel=0.02)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"family": "ngram", "width": 8}, "model.width does not apply to the family 'ngram', which has: order"),
        ({"family": "lstm", "heads": 2}, "model.heads does not apply to the family 'lstm'"),
        ({"family": "llama", "order": 2}, "model.order does not apply"),
        ({"family": "lama"}, "did you mean 'llama'"),
        ({"family": "gpt2", "kv_heads": 2}, "model.kv_heads does not apply to the family 'gpt2'"),
        ({"family": "gpt2", "next_sentence": True}, "model.next_sentence does not apply to the family 'gpt2'"),
        ({"family": "bert", "rope_base": 2.0}, "model.rope_base does not apply to the family 'bert'"),
        ({"family": "t5", "max_length": 64}, "model.max_length does not apply to the family 't5'"),
        ({"family": "t5"}, "a T5 begins every text with the padding token"),
        ({"family": "bert", "width": 30, "heads": 4}, "model.heads 4 must divide model.width 30"),
        ({"family": "nextword", "dropout": 0.1}, "model.dropout does not apply to the family 'nextword'"),
        ({"family": "nextword", "without": ("qknorm",)}, "model.without: no part 'qknorm'; did you mean 'qk-norm'?"),
        ({"family": "nextword", "width": 12, "heads": 4}, "model.head_width 3 be even"),
        ({"family": "llama", "without": ("cap",)}, "model.without does not apply"),
        ({"width": 30, "heads": 4}, "model.heads 4 must divide model.width 30"),
        ({"width": 32, "heads": 4, "kv_heads": 3}, "model.kv_heads 3 must divide"),
        ({"width": 12, "heads": 4}, "model.head_width 3 must be even"),
        ({"width": 0}, "model.width must be at least 1"),
        ({"family": "ngram", "order": 11}, "model.order must be between 1 and 10"),
        ({"dropout": 1.0}, "model.dropout must be between 0 and 0.9"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        create(build(ModelSettings, fields), VOCABULARY, seed=0)


def test_only_what_writes_into_an_unnormed_stream_starts_smaller() -> None:
    spreads = {}
    for family in ("gpt2", "bert"):
        model = create(ModelSettings(family=family, width=256, depth=8), 400, seed=0, eos_id=0)
        spreads[family] = model.blocks[5].attention.output.weight.std().item()
        assert model.blocks[5].attention.query.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert spreads["bert"] == pytest.approx(0.02, rel=0.03)
    assert spreads["gpt2"] == pytest.approx(0.02 / 16**0.5, rel=0.03)


@pytest.mark.parametrize("family", ["llama", "gpt2", "lstm"])
def test_a_network_learns_one_sentence_by_heart(family: str) -> None:
    model = create(ModelSettings(family=family, width=32, depth=2), VOCABULARY, seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batch, labels_BT = Batch(torch.tensor([SENTENCE[:-1]])), torch.tensor([SENTENCE[1:]])
    for _ in range(250):
        optimizer.zero_grad()
        loss = -model.score(batch, labels_BT).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    out = model.eval().hidden(Batch(torch.tensor([SENTENCE[:1]])), model.start(1, 20))
    said = SENTENCE[:1]
    while len(said) < len(SENTENCE):
        said.append(int(model.logits(out.hidden_BTD[:, -1]).argmax()))
        out = model.hidden(Batch(torch.tensor([said[-1:]])), out.state)
    assert said == SENTENCE


def test_an_ngram_learns_one_sentence_by_heart() -> None:
    class Repeated:
        ids = np.array(SENTENCE * 50, np.uint16)

        def __len__(self) -> int:
            return len(self.ids)

        def read(self, start: int, stop: int) -> np.ndarray:
            return self.ids[start:stop]

    model = create(ModelSettings(family="ngram", order=3), VOCABULARY, seed=0, eos_id=0)
    model.count(Repeated())
    logp = model.score(Batch(torch.tensor([SENTENCE[:-1]])), torch.tensor([SENTENCE[1:]]))
    assert -logp[0, 1:].mean() < 0.05
