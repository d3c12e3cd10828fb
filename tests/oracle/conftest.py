"""What every test against transformers does: draw all tensors anew, compare by the parity rule, go through a folder."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

TOLERANCE, LENGTH = 1e-5, 16


class Parity:
    """Ours against theirs."""

    def drawn(self, model: Any, seed: int, std: float = 0.5) -> Any:
        """transformers' model with every tensor drawn anew (fresh norms and biases hide swaps)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, std, generator=generator)
        return model.eval()

    def plain(self, model: Any) -> Any:
        """transformers' model whose experts run one by one: its fast product of groups has no odd widths."""
        if hasattr(model.config, "num_experts_per_tok"):
            model.set_experts_implementation("eager")
        return model

    def ids(self, vocabulary: int, rows: int, time: int, seed: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, (rows, time), generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def logits_BTV(self, model: Any, batch: Batch) -> torch.Tensor:
        hidden_BTD = model.hidden(batch).hidden_BTD
        return model.logits(hidden_BTD.flatten(0, 1)).unflatten(0, hidden_BTD.shape[:2])

    def same(self, found: torch.Tensor, wanted: torch.Tensor) -> None:
        """max|Δ| ≤ 1e-5 · max|wanted|."""
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()

    def round_trip(self, theirs: Any, check: Callable[[Any], None]) -> None:
        """Theirs saved, read by us, checked; then saved by us byte for byte, and read by theirs as it was."""
        with tempfile.TemporaryDirectory() as place:
            first, again = Path(place) / "theirs", Path(place) / "ours"
            theirs.save_pretrained(first)
            ours = load_model(first)
            check(ours)
            save_model(ours, again)
            for name in ("model.safetensors", "config.json"):
                assert (again / name).read_bytes() == (first / name).read_bytes(), name
            back = type(theirs).from_pretrained(again)
            for name, tensor in theirs.state_dict().items():
                assert torch.equal(back.state_dict()[name], tensor), name

    def ours_of(self, theirs: Any) -> Any:
        with tempfile.TemporaryDirectory() as place:
            theirs.save_pretrained(place)
            return load_model(place)


@pytest.fixture(scope="session")
def parity() -> Parity:
    return Parity()


class DecoderParity(Parity):
    """All that is asked of a decoder."""

    def sizes(self, draw: st.DrawFn, heads_share: bool = True) -> dict[str, Any]:
        """The sizes that configs shaped like Llama's have."""
        kv_heads, ratio = draw(st.integers(1, 2)), draw(st.integers(1, 2)) if heads_share else 1
        heads = kv_heads * ratio
        return {
            **{"num_attention_heads": heads, "num_key_value_heads": kv_heads},
            **{"hidden_size": heads * 4 * draw(st.integers(1, 3)), "intermediate_size": draw(st.integers(3, 30))},
            **{"num_hidden_layers": draw(st.integers(1, 3)), "vocab_size": draw(st.integers(11, 40))},
            "max_position_embeddings": LENGTH,
            "tie_word_embeddings": draw(st.booleans()),
            **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
        }

    @torch.no_grad()
    def check(self, theirs: Any, seed: int, time: int | None = None) -> None:
        """Logits, bytes, padded rows, pieces through the cache, and greedy text."""
        theirs, vocabulary = self.plain(self.drawn(theirs, seed)), theirs.config.vocab_size
        ids_BT = self.ids(vocabulary, 2, time or 1 + seed % LENGTH, seed)
        wanted_BTV = theirs(ids_BT).logits
        self.round_trip(theirs, lambda ours: self.same(self.logits_BTV(ours, Batch(ids_BT)), wanted_BTV))
        ours = self.ours_of(theirs)
        rows = [self.ids(vocabulary, 1, length, seed)[0].tolist() for length in (9, 1, 4)]
        padded_BTV = self.logits_BTV(ours, pad(rows))
        pieces = [pad([row[:3] for row in rows]), pad([row[3:5] or [0] for row in rows])]
        state, read = ours.start(len(rows), 2), []
        for piece in pieces:
            out = ours.hidden(piece, state)
            state = out.state
            read.append(out.hidden_BTD)
        for row, ids in enumerate(rows):
            alone_TV = theirs(torch.tensor([ids])).logits[0]
            self.same(padded_BTV[row, : len(ids)], alone_TV)
            first, second = (ours.logits(part_BTD[row]) for part_BTD in read)
            held, more = min(len(ids), 3), max(0, min(len(ids), 5) - 3)
            short_TV = theirs(torch.tensor([ids[: held + more]])).logits[0]  # whose angles may go by its length
            self.same(torch.cat([first[:held], second[:more]]), short_TV)
        self.same_greedy(ours, theirs, self.ids(vocabulary, 1, 5, seed))

    @torch.no_grad()
    def same_greedy(self, ours: Any, theirs: Any, prompt_BT: torch.Tensor, new: int = 8) -> None:
        theirs.generation_config.eos_token_id = None
        seen_BT = torch.ones_like(prompt_BT)  # else it would hide the ids that equal the padding's
        wanted = theirs.generate(prompt_BT, attention_mask=seen_BT, max_new_tokens=new, do_sample=False, pad_token_id=0)
        state, ids_BT, text_BT = ours.start(1, 4), prompt_BT, prompt_BT
        for _ in range(new):
            out = ours.hidden(Batch(ids_BT), state)
            state, ids_BT = out.state, ours.logits(out.hidden_BTD[:, -1]).argmax(-1, keepdim=True)
            text_BT = torch.cat([text_BT, ids_BT], 1)
        assert text_BT.tolist() == wanted.tolist()

    @torch.no_grad()
    def check_balance(self, theirs: Any) -> None:
        """The balance of a mixture's routers, over whole rows and over padded ones."""
        ours = self.ours_of(theirs)
        for lengths in ((5, 5), (7, 2)):
            rows = [self.ids(theirs.config.vocab_size, 1, length, length)[0].tolist() for length in lengths]
            batch = pad(rows)
            found = ours.hidden(batch).terms
            if all(block.arrangement == "pre" for block in ours.settings.blocks):  # which transformers cannot count
                assert not found
                continue
            wanted = theirs(batch.ids_BT, attention_mask=batch.mask_BT, output_router_logits=True).aux_loss
            assert found["balance"].count == sum(lengths)
            assert found["balance"].weight == theirs.config.router_aux_loss_coef
            self.same(found["balance"].total / found["balance"].count, wanted)

    @torch.no_grad()
    def check_fresh(self, folder: Path, **sizes: Any) -> Any:
        """A fresh model of ours, every tensor drawn anew, opens in transformers and agrees; theirs is given back."""
        transformers = pytest.importorskip("transformers")
        sizes = {"width": 48, "depth": 3, "heads": 4, "ffn_width": 50, "max_length": 32} | sizes
        model = self.drawn(create(ModelSettings(**sizes), 70, seed=5, eos_id=3), 5)
        save_model(model, folder)
        theirs, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        self.plain(theirs)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert theirs.config.eos_token_id == 3
        ids_BT = torch.arange(40).view(2, 20)
        self.same(self.logits_BTV(model, Batch(ids_BT)), theirs(ids_BT).logits)
        return theirs

    def reads_alike(self, theirs: Any, change: dict[str, Any], folder: Path) -> None:
        """Theirs with another config.json (None: without the key) is described as before."""
        theirs.save_pretrained(folder)
        wanted, file = load_model(folder), folder / "config.json"
        tree = json.loads(file.read_text()) | change
        file.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))
        assert load_model(folder).settings == wanted.settings

    def refused(self, theirs: Any, change: dict[str, Any], said: str, folder: Path) -> None:
        """Theirs with another config.json is refused with these words."""
        theirs.save_pretrained(folder)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(CheckpointError, match=re.escape(said)):
            load_model(folder)


@pytest.fixture(scope="session")
def decoders() -> DecoderParity:
    return DecoderParity()
