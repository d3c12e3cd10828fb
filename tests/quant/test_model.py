"""Whole models in few bits: in place, in a folder and back, calibrated; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import nextword as nw
from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.quant import files, model
from nextword.quant.calibrate import calibrate, inverse_factor, round_columns
from nextword.quant.format import Format, find, scales_of
from nextword.quant.linear import shrink
from nextword.quant.model import PLAIN, Quantisation, matrices, quantise

KINDS = [Quantisation(8), Quantisation(4, 32), Quantisation(4, 64, PLAIN)]
FAMILIES = ["llama", "gpt2", "nextword", "bert", "t5"]
Tiny = Callable[[str], Path]


def logits(one: nn.Module, ids_BT: Tensor) -> Tensor:
    source = Batch(ids_BT) if one.kind == "encoder-decoder" else None
    return one.logits(one.hidden(Batch(ids_BT, source=source)).hidden_BTD.flatten(0, 1))


def random_llama(width: int = 64, ffn_width: int = 96) -> nn.Module:
    sizes = ModelSettings(width=width, depth=2, heads=4, kv_heads=2, ffn_width=ffn_width, max_length=64)
    one = create(sizes, 200, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in one.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.15 + (weight.dim() == 1))
    return one.eval()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_loads_as_it_was_saved(tiny: Tiny, tmp_path: Path, family: str, kind: Quantisation) -> None:
    lm = nw.load(tiny(family))
    ids_BT = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 8]])
    dense = logits(lm.model, ids_BT)
    named = list(quantise(lm.model, kind))
    assert len(named) >= 2 and model.of(lm.model) == kind
    mine = logits(lm.model, ids_BT)
    assert 0 < (mine - dense).abs().max() < dense.abs().max()
    lm.save(tmp_path / "few")
    again = nw.load(tmp_path / "few")
    assert model.of(again.model) == kind
    assert torch.equal(logits(again.model, ids_BT), mine)
    assert again.tokenizer.encode("The cat") == lm.tokenizer.encode("The cat")
    again.save(tmp_path / "twice")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    with pytest.raises(CheckpointError, match="quantised"):
        load_model(tmp_path / "few")
    with pytest.raises(SettingsError, match="quantised already"):
        list(quantise(again.model, kind))


def test_only_layers_and_edges_change() -> None:
    one = random_llama()
    before = dict(one.state_dict())
    list(quantise(one, Quantisation(4, 32)))
    after = one.state_dict()
    kept = {name for name in before if name in after}
    assert kept == {name for name in before if "norm" in name}
    assert not list(matrices(one))
    list(quantise(edged := random_llama(), Quantisation(8, edges=PLAIN)))
    assert torch.equal(edged.embedding.weight, before["embedding.weight"])


def test_bf16_and_memory(tmp_path: Path) -> None:
    one = random_llama(128, 128).bfloat16()
    size = files.stored_bytes(one)
    list(quantise(one, Quantisation(4, 64)))
    assert files.bits_of(one) == 4.25
    assert files.stored_bytes(one) < size / 2.5
    files.save(one, tmp_path / "few")
    again = files.load(tmp_path / "few")
    assert again.embedding.like.dtype == again.norm.weight.dtype == torch.bfloat16
    assert logits(again, torch.tensor([[1, 2]])).isfinite().all()
    assert files.load(tmp_path / "few", torch.float32).norm.weight.dtype == torch.float32


def columns_by_definition(w_NK: Tensor, scales_NK: Tensor, h_KK: Tensor, form: Format) -> Tensor:
    """GPTQ by its derivation (optimal brain surgeon): after each column, H loses it and the rest takes the error."""
    w_NK, inverse_KK = w_NK.double().clone(), torch.linalg.inv(h_KK.double())
    q_NK = torch.zeros_like(w_NK)
    for k in range(w_NK.shape[1]):
        q_NK[:, k] = (w_NK[:, k] / scales_NK[:, k]).round().clamp(form.lowest, form.highest)
        error_N = (w_NK[:, k] - q_NK[:, k] * scales_NK[:, k]) / inverse_KK[k, k]
        w_NK -= error_N[:, None] * inverse_KK[k]
        inverse_KK = inverse_KK - inverse_KK[:, [k]] @ inverse_KK[[k]] / inverse_KK[k, k]
    return q_NK


def test_columns_are_rounded_as_the_derivation_says() -> None:
    torch.manual_seed(0)
    form = find(4)
    x_NK, w_NK = torch.randn(500, 160) @ torch.randn(160, 160) * 0.2, torch.randn(6, 160)
    h_KK = x_NK.T @ x_NK
    scales_NK = scales_of(w_NK, form, 32).float().repeat_interleave(32, 1)[:, :160]
    upper_KK = inverse_factor(h_KK.clone())
    damped_KK = h_KK.double() + 0.01 * h_KK.double().diagonal().mean() * torch.eye(160, dtype=torch.float64)
    found = round_columns(w_NK, scales_NK, upper_KK, form)
    wanted = columns_by_definition(w_NK, scales_NK, damped_KK, form)
    assert (found != wanted).float().mean() < 0.01  # a number in the middle may go either way
    nearest = (w_NK / scales_NK).round().clamp(form.lowest, form.highest)
    errors = [float(((q * scales_NK - w_NK) @ x_NK.T).square().sum()) for q in (found, nearest)]
    assert errors[0] < 0.6 * errors[1]


def test_calibration_keeps_outputs_nearer() -> None:
    """On texts of the kind that it saw, clearly less than the error of rounding to nearest."""
    torch.manual_seed(0)
    ids_BT = torch.randint(0, 20, (16, 48))  # few tokens: inputs lie in few directions
    fresh_BT = torch.randint(0, 20, (4, 48))
    wanted, errors = logits(random_llama(), fresh_BT), []
    for calibrated in (False, True):
        one = random_llama()
        kind = Quantisation(4, 64, PLAIN)
        names = list(calibrate(one, kind, ids_BT.split(4)) if calibrated else quantise(one, kind))
        assert len(names) == 2 * 7
        errors.append(float((logits(one, fresh_BT) - wanted).detach().norm()))
    assert errors[1] < 0.6 * errors[0]


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    one = random_llama()
    list(quantise(one, Quantisation(4, 32)))
    files.save(one, tmp_path / "few")
    config, weights = tmp_path / "few" / "config.json", tmp_path / "few" / "model.safetensors"
    tree, tensors = json.loads(config.read_text()), load_file(weights)
    for changed, said in (
        ({"quant_method": "gptq"}, "quantised by 'gptq'"),
        ({"bits": 3}, "does not read"),
        ({"group": 48}, "does not read"),
        ({"version": 2}, "does not read"),
        ({"zeros": True}, "unknown keys"),
        ({"group": 64}, "scales' is"),
    ):
        config.write_text(json.dumps(tree | {"quantization_config": tree["quantization_config"] | changed}))
        with pytest.raises(CheckpointError, match=said):
            files.load(tmp_path / "few")
    config.write_text(json.dumps(tree))
    name = "blocks.0.attention.query.codes"
    save_file({key: x for key, x in tensors.items() if key != name}, weights)
    with pytest.raises(CheckpointError, match=f"lacks '{name}'"):
        files.load(tmp_path / "few")
    save_file(tensors | {"more": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="excess 'more'"):
        files.load(tmp_path / "few")


def test_models_without_layers(tiny: Tiny) -> None:
    for family in ("ngram", "lstm"):
        with pytest.raises(SettingsError, match="no layers of a transformer"):
            list(quantise(nw.load(tiny(family)).model, Quantisation(8)))


def test_gradients_reach_the_input() -> None:
    one = random_llama()
    list(quantise(one, Quantisation(4, 32)))
    with torch.enable_grad():
        one.norm.weight.grad = None
        logits(one, torch.tensor([[1, 2, 3]])).square().sum().backward()
    assert one.blocks[0].attention_norm.weight.grad.abs().sum() > 0


def test_a_layer_quantised_twice_is_refused_by_type() -> None:
    layer = shrink(nn.Linear(32, 32), 8)
    assert not isinstance(layer, nn.Linear)
