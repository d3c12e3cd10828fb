"""Models stored in 16 bits, on a processor that is slow in them: the same texts and numbers in half the memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nextword as nw
from nextword.assembly import folder as assembly
from nextword.core.files import sha256
from nextword.models.base import Batch
from nextword.models.checkpoint import copy_others, load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.nn import half
from nextword.quant.model import PLAIN, Quantisation, quantise

Tiny = Callable[[str], Path]
COMPILABLE = ["llama", "gpt2", "qwen2"]
ENCODERS = ["bert", "albert", "deberta-v2", "modernbert"]
STEPPED = ["t5", "mixtral", "gemma2", "nextword"]  # plain steps of one token


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "fast_bfloat16", lambda: False)


def stored(tiny: Tiny, family: str, path: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    save_model(load_model(tiny(family), dtype), path)
    copy_others(tiny(family), path)
    return path


def scores(model: nn.Module) -> Tensor:
    ids_BT = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 8]])
    batch = Batch(ids_BT, source=Batch(ids_BT.flip(1)) if model.kind == "encoder-decoder" else None)
    with torch.inference_mode():
        return model.logits(model.hidden(batch).hidden_BTD.flatten(0, 1))


def types(model: nn.Module) -> set[torch.dtype]:
    return {tensor.dtype for tensor in model.parameters()}


@pytest.mark.parametrize("family", [*COMPILABLE, *ENCODERS, *STEPPED])
def test_equals_the_widened_model(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = stored(tiny, family, tmp_path / "low")
    kept, wide = load_model(folder), load_model(folder, torch.float32)
    half.keep(kept, torch.float32)
    assert types(kept) == {torch.bfloat16, torch.float32}
    found, wanted = scores(kept), scores(wide)
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    half.widen(kept)
    assert types(kept) == {torch.float32} and not {type(x) for x in kept.modules()} & half.WHOLE.keys()
    assert torch.equal(scores(kept), wanted)


@pytest.mark.parametrize(
    ("families", "dtype", "keeps"),
    [
        (COMPILABLE, torch.bfloat16, True),
        (COMPILABLE[:1], torch.float16, False),  # the compiled step reads no fp16
        (ENCODERS[:1], torch.bfloat16, True),
        (ENCODERS[:1], torch.float16, True),
        ([*STEPPED, "lstm"], torch.bfloat16, False),
    ],
)
def test_whose_matrices_stay(tiny: Tiny, tmp_path: Path, families: list[str], dtype: torch.dtype, keeps: bool) -> None:
    for family in families:
        folder = stored(tiny, family, tmp_path / family, dtype)
        model = assembly.load(folder).model
        assert types(model) == ({dtype, torch.float32} if keeps else {torch.float32})
        assert types(assembly.load(folder, torch.float32).model) == {torch.float32}


@pytest.mark.parametrize("tied", [True, False])
def test_texts_scores_and_files_are_the_same(tiny: Tiny, tmp_path: Path, tied: bool) -> None:
    sizes = ModelSettings(width=32, depth=2, heads=4, kv_heads=2, max_length=64, tied=tied)
    vocab_size = load_model(tiny("llama")).vocab_size
    save_model(create(sizes, vocab_size, 0, eos_id=0).to(torch.bfloat16), tmp_path / "low")
    copy_others(tiny("llama"), tmp_path / "low")
    kept, wide = nw.load(tmp_path / "low"), nw.load(tmp_path / "low", torch.float32)
    prompts = ["The cat", "A dog"]
    for compiled in ("never", "auto"):
        found, wanted = (lm.generate(prompts, max_tokens=12, temperature=0, compiled=compiled) for lm in (kept, wide))
        assert found == wanted
    assert kept.logprob("The cat", " sat.").sum == pytest.approx(wide.logprob("The cat", " sat.").sum, rel=1e-5)
    assert torch.allclose(kept.embed(prompts), wide.embed(prompts), rtol=1e-5, atol=1e-6)
    kept.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert sha256(tmp_path / "again" / name) == sha256(tmp_path / "low" / name)


def test_saving_never_rounds_what_was_changed(tiny: Tiny, tmp_path: Path) -> None:
    kept = nw.load(stored(tiny, "llama", tmp_path / "low"))
    with torch.no_grad():
        kept.model.norm.weight.fill_(1 / 3)  # no number of bf16
    kept.save(tmp_path / "changed")
    again = load_model(tmp_path / "changed")
    assert types(again) == {torch.float32}
    assert torch.equal(scores(again), scores(load_model(tmp_path / "changed", torch.float32)))
    assert torch.equal(again.norm.weight, kept.model.norm.weight)
    kept.model.float()
    assert types(kept.model) == {torch.float32}
    assert torch.equal(scores(kept.model), scores(again))


@pytest.mark.parametrize("kind", [Quantisation(8), Quantisation(4, 32, PLAIN)], ids=str)
def test_quantises_as_the_widened_model(tiny: Tiny, tmp_path: Path, kind: Quantisation) -> None:
    folder = stored(tiny, "qwen2", tmp_path / "low")
    kept, wide = assembly.load(folder).model, load_model(folder, torch.float32)
    assert list(quantise(kept, kind)) == list(quantise(wide, kind))
    theirs = wide.state_dict()
    for name, tensor in kept.state_dict().items():
        assert tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
    assert torch.equal(scores(kept), scores(wide))


# argv: folder. MB beyond what stood before: of memory that is no view of a file, after reading a token
PEAK = """
import sys
from pathlib import Path
import torch
from nextword.assembly import folder
from nextword.engine.step import PlainSteps
from nextword.models.create import create
from nextword.models.settings import ModelSettings
folder.fast_bfloat16 = lambda: False
own = lambda: int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024
torch.set_num_threads(1)
PlainSteps(create(ModelSettings(width=16, depth=1, heads=2), 20, 0)).prefill([[1, 2]], 2)
before = own()
model = folder.load(sys.argv[1]).model
PlainSteps(model).prefill([[1, 2]], 2)
print(own() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_no_copy_of_the_matrices_is_made(tiny: Tiny, tmp_path: Path) -> None:
    sizes = ModelSettings(width=512, depth=8, heads=8, ffn_width=1536, tied=False)  # 64 MB in bf16
    vocab_size = load_model(tiny("llama")).vocab_size
    save_model(create(sizes, vocab_size, 0, eos_id=0).to(torch.bfloat16), tmp_path)
    copy_others(tiny("llama"), tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size / 2**20
    assert size > 50
    run = subprocess.run([sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 0.4 * size
