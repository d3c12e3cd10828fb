"""What every test of an encoder against transformers does, whatever the encoder was saved for."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.models.base import Batch, pad
from nextword.models.checkpoint import save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]
LENGTHS = (5, 1, 9)  # tokens of the rows, in tests whose models have positions for at least so many


class Encoders:
    """Ours against theirs; a class of theirs is `stem` + task."""

    def __init__(self, parity: Any) -> None:
        self.parity = parity

    def drawn(self, stem: str, task: str, config: Any, seed: int) -> Any:
        """Theirs with every tensor drawn anew; an untied output's two biases are one."""
        theirs = self.parity.drawn(getattr(transformers, stem + task)(config), seed)
        biases = {name: bias for name, bias in theirs.named_parameters() if name.endswith("decoder.bias")}
        with torch.no_grad():
            for name, bias in biases.items():
                twin = name.replace("decoder.bias", "bias")
                if twin in dict(theirs.named_parameters()):
                    theirs.get_parameter(twin).copy_(bias)
        return theirs

    def batch(self, config: Any, seed: int, lengths: tuple[int, ...] = LENGTHS) -> tuple[Batch, list[list[int]]]:
        """Ragged rows without the padding's id, which stands for padding; with token types where there are several."""
        pad_id = config.pad_token_id or 0
        rows = [self.parity.ids(config.vocab_size - 1, 1, length, seed + length)[0].tolist() for length in lengths]
        rows = [[number + (number >= pad_id) for number in row] for row in rows]
        batch = pad(rows, pad_id)
        kinds = getattr(config, "type_vocab_size", 0)
        types_BT = self.parity.ids(kinds, *batch.ids_BT.shape, seed) if kinds > 1 else None
        return Batch(batch.ids_BT, batch.mask_BT, types_BT=types_BT), rows

    @torch.no_grad()
    def theirs_say(self, theirs: Any, batch: Batch) -> list[torch.Tensor]:
        """What theirs gives, by token or by text."""
        given = {} if batch.types_BT is None else {"token_type_ids": batch.types_BT}
        if batch.mask_BT is not None:
            given["attention_mask"] = batch.mask_BT.long()
        said = theirs(batch.ids_BT, **given)
        if "start_logits" in said:
            return [torch.stack([said.start_logits, said.end_logits], -1)]
        names = ("prediction_logits", "logits", "last_hidden_state", "pooler_output", "text_embeds", "sop_logits")
        return [said[name] for name in (*names, "seq_relationship_logits") if name in said]

    @torch.no_grad()
    def ours_say(self, ours: Any, batch: Batch) -> list[torch.Tensor]:
        """What ours gives in the same order."""
        hidden_BTD = ours.hidden(batch).hidden_BTD
        heads = [head(hidden_BTD, batch) for head in ours.heads.values()]
        if ours.settings.output:
            return [ours.logits(hidden_BTD.flatten(0, 1)).unflatten(0, hidden_BTD.shape[:2]), *heads]
        return [hidden_BTD, *heads] if not heads or {"pooled", "vector"} & set(ours.heads) else heads

    def agree(self, stem: str, task: str, config: Any, seed: int, lengths: tuple[int, ...] = LENGTHS) -> None:
        """Padded rows and each row alone give theirs; the files are the same, byte for byte."""
        theirs = self.drawn(stem, task, config, seed)
        batch, rows = self.batch(config, seed, lengths)

        def check(ours: Any) -> None:
            found, wanted = self.ours_say(ours, batch), self.theirs_say(theirs, batch)
            assert len(found) == len(wanted)
            for mine, other in zip(found, wanted, strict=True):
                real = batch.mask_BT if mine.shape[:2] == batch.ids_BT.shape and mine.dim() > 1 else slice(None)
                self.parity.same(mine[real], other[real])
            longest = max(range(len(rows)), key=lambda row: len(rows[row]))
            types_BT = None if batch.types_BT is None else batch.types_BT[longest, None]
            alone = Batch(torch.tensor([rows[longest]]), types_BT=types_BT)
            for mine, other in zip(self.ours_say(ours, alone), self.theirs_say(theirs, alone), strict=True):
                self.parity.same(mine, other)

        self.parity.round_trip(theirs, check)

    def fresh(self, sizes: ModelSettings, kind: str, **special: int) -> Any:
        """A fresh model of ours, drawn anew and saved: theirs opens it with every tensor, and agrees."""
        model = self.parity.drawn(create(sizes, 70, seed=5, **special), 5)
        with tempfile.TemporaryDirectory() as place:
            save_model(model, Path(place))
            theirs, report = getattr(transformers, kind).from_pretrained(place, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        batch, _ = self.batch(theirs.config, 1)
        for mine, other in zip(self.ours_say(model, batch), self.theirs_say(theirs.eval(), batch), strict=True):
            real = batch.mask_BT if mine.shape[:2] == batch.ids_BT.shape else slice(None)
            self.parity.same(mine[real], other[real])
        return model


@pytest.fixture(scope="session")
def encoders(parity: Any) -> Encoders:
    return Encoders(parity)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)
