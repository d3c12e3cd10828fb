"""CLIP's text tower is transformers': states, vectors of end tokens, files, and what image generators read of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

import nextword as nw
from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
SMALL = {
    **{"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 3},
    **{"vocab_size": 30, "max_position_embeddings": 16, "projection_dim": 7, "pad_token_id": 1},
}
IMAGES = {
    **{"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"image_size": 8, "patch_size": 4, "projection_dim": 7},
}
TEXTS = ["a photo of a cat", "a dog", "my red hat is on the bed by the red house and the cat sat"]


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    return SMALL | {
        **{"num_attention_heads": heads, "hidden_size": 4 * heads, "num_hidden_layers": draw(st.integers(1, 2))},
        **{"intermediate_size": draw(st.integers(3, 20)), "projection_dim": draw(st.integers(1, 9))},
        "hidden_act": draw(st.sampled_from(["quick_gelu", "gelu", "gelu_new", "relu"])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-2])),
        "eos_token_id": draw(st.sampled_from([2, 7, 29])),
    }


@pytest.mark.parametrize("task", ["Model", "ModelWithProjection"])
@given(configs(), st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_same_states_vectors_and_bytes(task: str, encoders: Any, sizes: dict[str, Any], seed: int) -> None:
    """Rows with and without an end token, and with several; also by the rule of the highest id (2)."""
    encoders.agree("CLIPText", task, transformers.CLIPTextConfig(**sizes), seed)


def both_towers(parity: Any) -> Any:
    texts, images = transformers.CLIPTextConfig(**SMALL, eos_token_id=29), transformers.CLIPVisionConfig(**IMAGES)
    whole = transformers.CLIPConfig(text_config=texts.to_dict(), vision_config=images.to_dict(), projection_dim=5)
    return parity.drawn(transformers.CLIPModel(whole), 4)


def test_the_text_tower_of_a_whole_clip(parity: Any, tmp_path: Path) -> None:
    theirs = both_towers(parity)
    theirs.save_pretrained(tmp_path / "theirs")
    ours, batch = load_model(tmp_path / "theirs"), Batch(parity.ids(30, 3, 9, 2))
    with torch.no_grad():
        wanted = theirs.get_text_features(batch.ids_BT).pooler_output
        found = ours.heads["vector"](ours.hidden(batch).hidden_BTD, batch)
    assert wanted.shape == (3, 5)
    parity.same(found, wanted)
    save_model(ours, tmp_path / "ours")
    back, report = transformers.CLIPTextModelWithProjection.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        parity.same(back(batch.ids_BT).text_embeds, wanted)


def test_the_second_text_config_counts_more_than_the_first(parity: Any, tmp_path: Path) -> None:
    """As OpenAI's large CLIP: `text_config` has an end token of 2, `text_config_dict` does not say."""
    theirs = both_towers(parity)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    tree = json.loads(file.read_text())
    kept = {key: tree["text_config"][key] for key in (*SMALL, "eos_token_id") if key != "intermediate_size"}
    tree["text_config_dict"] = kept | {"intermediate_size": 20}
    tree["text_config"] |= {"eos_token_id": 2, "intermediate_size": 99}
    file.write_text(json.dumps(tree))
    assert load_model(tmp_path).config["eos_token_id"] == 29
    assert load_model(tmp_path).settings.heads[0].pool == "marked"


@pytest.fixture(scope="module")
def generator(encoders: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """An image generator's folder: the text encoder, and its tokenizer beside it."""
    place = tmp_path_factory.mktemp("generator")
    made = train(TokenizerSettings(vocab_size=280, min_frequency=1, special=("<|startoftext|>",)), TEXTS)
    begin, end = "<|startoftext|>", made.token(made.eos_id)
    ids = [(begin, made.special_id(begin)), (end, made.eos_id)]
    made.inner.post_processor = TemplateProcessing(single=f"{begin} $A {end}", special_tokens=ids)
    config = transformers.CLIPTextConfig(**SMALL | {"vocab_size": made.vocab_size}, eos_token_id=made.eos_id)
    theirs = encoders.drawn("CLIPText", "ModelWithProjection", config, 3)
    theirs.save_pretrained(place / "text_encoder_2")
    made.save(place / "tokenizer_2")
    (place / "model_index.json").write_text("{}")
    return place / "text_encoder_2", theirs, transformers.AutoTokenizer.from_pretrained(place / "tokenizer_2")


@torch.no_grad()
def test_what_image_generators_read(generator: tuple[Path, Any, Any], parity: Any) -> None:
    """Padded to a length or cut to it, without a mask, as diffusers' pipelines call their text encoders."""
    folder, theirs, cut = generator
    lm = nw.load(folder)
    for text in TEXTS:
        ids = cut(text, padding="max_length", truncation=True, max_length=16, return_tensors="pt").input_ids
        wanted = theirs(ids, output_hidden_states=True)
        found = lm.states(text, length=16)
        assert list(found.ids) == ids[0].tolist()
        parity.same(found.vectors_TD, wanted.last_hidden_state[0])
        for layer in (-2, -3, 0):
            parity.same(lm.states(text, length=16, layer=layer).vectors_TD, wanted.hidden_states[layer][0])
    for text in TEXTS[:2]:  # alone, without padding
        ids = cut(text, return_tensors="pt").input_ids
        wanted = theirs(ids)
        parity.same(lm.states(text).vectors_TD, wanted.last_hidden_state[0])
        parity.same(lm.embed(text), wanted.text_embeds[0])
    both = theirs(**cut(TEXTS[:2], padding=True, return_tensors="pt")).text_embeds
    parity.same(lm.embed(TEXTS[:2]), both)
    parity.same(lm.embed(TEXTS[:2], normalise=True), both / both.norm(dim=-1, keepdim=True))
    half = nw.load(folder, dtype=torch.bfloat16).embed(TEXTS[:2])
    assert half.dtype == torch.float32 and (half - both).norm() < 0.1 * both.norm()


def test_what_cannot_be_asked_is_refused(generator: tuple[Path, Any, Any]) -> None:
    lm = nw.load(generator[0])
    with pytest.raises(SettingsError, match="a length of 17 is too much"):
        lm.states("a cat", length=17)
    with pytest.raises(SettingsError, match="leaves no room"):
        lm.states("a cat", length=2)
    with pytest.raises(SettingsError, match="layer must be 0 to 3"):
        lm.states("a cat", layer=4)
    with pytest.raises(SettingsError, match="no scores over the vocabulary: it has vector instead"):
        lm.model.logits(torch.zeros(1, 12))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know"),
        ({"is_decoder": True}, "is_decoder = True is not known"),
        ({"architectures": ["CLIPVisionModel"]}, "architectures 'CLIPVisionModel' is not known"),
        ({"hidden_act": "gelo"}, "did you mean 'gelu'"),
    ],
)
def test_what_would_change_numbers_is_refused(change: Any, said: str, decoders: Any, tmp_path: Path) -> None:
    theirs = transformers.CLIPTextModel(transformers.CLIPTextConfig(**SMALL))
    decoders.refused(theirs, change, said, tmp_path)


def test_a_fresh_one_is_refused(refused: Any, tmp_path: Path) -> None:
    from nextword.models.create import create  # noqa: PLC0415
    from nextword.models.settings import ModelSettings  # noqa: PLC0415

    for family in ("clip", "clip_text_model"):
        with pytest.raises(SettingsError, match="which nextword does not train"):
            create(ModelSettings(family=family), 30, 1)


def test_an_unread_tensor_of_images_is_named(parity: Any, tmp_path: Path) -> None:
    both_towers(parity).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    tree = json.loads(file.read_text())
    tree["vision_config"]["num_hidden_layers"] = 1  # one less than there are
    file.write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"vision_model\.encoder\.layers\.1"):
        load_model(tmp_path)
