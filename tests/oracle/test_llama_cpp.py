"""llama.cpp itself reads what we write: the same tokens of a text, the same scores, the same greedy text.

It runs in an environment of its own, in the folder that NEXTWORD_LLAMA_CPP names; without that it is built first, which
takes a compiler and ten minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.assembly import gguf as assembly
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

PACKAGE = "llama-cpp-python==0.3.36"
BUILDING_SECONDS = 3600
NEW = 12
PROMPT = "Once upon a time"
TEXTS = ["Once upon a time there was a cat.", "  two  spaces, 123 45\n\nand I'll go — 漢字 🙂", "The mat.\tThe"]

# argv: a JSON list of files; for each: the ids of the texts, the scores of the prompt's ids, the greedy continuation
THEIRS = """
import json, sys
import llama_cpp
asked = json.loads(sys.argv[1])
found = []
for path in asked["paths"]:
    model = llama_cpp.Llama(path, n_ctx=64, n_batch=64, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0)
    ids = [model.tokenize(text.encode(), add_bos=False, special=False) for text in asked["texts"]]
    model.eval(asked["prompt"])
    scores = model.scores[: model.n_tokens].tolist()
    text = []
    for _ in range(asked["new"]):
        text.append(int(model.scores[model.n_tokens - 1].argmax()))
        model.eval(text[-1:])
    found.append({"ids": ids, "scores": scores, "text": text})
print(json.dumps(found))
"""

SIZES: dict[str, Any] = {
    **{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96},
    **{"num_hidden_layers": 3, "vocab_size": 300, "max_position_embeddings": 64},
    **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
GPT2: dict[str, Any] = {
    **{"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 64, "vocab_size": 300},
    **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8192,
}
GEMMA = SIZES | {"head_dim": 16, "tie_word_embeddings": True, "query_pre_attn_scalar": 16, "sliding_window": 6}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", SIZES | {"tie_word_embeddings": False}),
    "llama 3.1": ("LlamaConfig", "LlamaForCausalLM", SIZES | {"tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", SIZES),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", SIZES | {"head_dim": 16}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", SIZES | {"head_dim": 16}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", GEMMA),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", GEMMA | {"num_hidden_layers": 7}),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", SIZES | {"original_max_position_embeddings": 64}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "gpt2, untied": ("GPT2Config", "GPT2LMHeadModel", GPT2 | {"tie_word_embeddings": False}),
}
# of the largest score: rounding of fp32, of fp16 tables (GELU, exp), of activations in 8 bits
NEAR = {"f32": 2e-3, "f16": 5e-3, "q8_0": 5e-2}


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has llama-cpp-python."""
    folder = Path(os.environ.get("NEXTWORD_LLAMA_CPP") or tmp_path_factory.mktemp("llama") / "env")
    path = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([path, "-m", "pip", "install", "--quiet", PACKAGE], check=True, timeout=BUILDING_SECONDS)
    return path


def asked_of(python: Path, paths: list[Path], prompt: list[int]) -> list[dict[str, Any]]:
    question = {"paths": list(map(str, paths)), "texts": TEXTS, "prompt": prompt, "new": NEW}
    line = [python, "-c", THEIRS, json.dumps(question)]
    run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def scores_TV(model: Any, ids: list[int]) -> torch.Tensor:
    scores: torch.Tensor = model.logits(model.hidden(Batch(torch.tensor([ids]))).hidden_BTD[0])
    return scores


@pytest.mark.timeout(BUILDING_SECONDS + 600)
@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_computes_the_same(name: str, python: Path, tmp_path: Path) -> None:
    config, model, sizes = CASES[name]
    torch.manual_seed(1)
    theirs = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_(0, 0.25)
    theirs.save_pretrained(tmp_path / "hf")
    whole, words = load_model(tmp_path / "hf"), train(TokenizerSettings(vocab_size=280, min_frequency=1), iter(TEXTS))
    paths = {kind: tmp_path / f"{kind}.gguf" for kind in NEAR}
    for kind, path in paths.items():
        assembly.save(path, whole, words, kind)
    prompt = words.encode(PROMPT)
    answers = dict(zip(paths, asked_of(python, list(paths.values()), prompt), strict=True))
    for kind, answer in answers.items():
        ours, _, _ = assembly.load(paths[kind], torch.float32)
        wanted_TV = scores_TV(ours, prompt)
        apart = (torch.tensor(answer["scores"]) - wanted_TV).abs().max() / wanted_TV.abs().max()
        assert apart < NEAR[kind], (kind, apart)
        assert answer["ids"] == [words.encode(text) for text in TEXTS], kind
        text = list(prompt)
        for token in answer["text"]:
            last_V = scores_TV(ours, text)[-1]
            if kind == "q8_0":  # whose activations are rounded, too: what is chosen is as good as the best
                assert last_V[token] > last_V.max() - NEAR[kind] * last_V.abs().max(), kind
            else:
                assert token == int(last_V.argmax()), kind
            text.append(token)
