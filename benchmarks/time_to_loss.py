"""Time to a loss: how soon our models reach what nanoGPT's CPU recipe ends at, and how much lower they end in its time.

The peer is that recipe as plain fp32 PyTorch with transformers' GPT-2: 4 layers, 4 heads, width 128, T 64, batch 12,
2,000 steps, AdamW 1e-3 -> 1e-4 by a cosine after 100 steps of warm-up, betas 0.9 and 0.99, decay 0.1, clip 1, no
dropout. Text: tinyshakespeare as characters, the last 10 % for validation, which is scored whole by one function for
both: windows of 64 characters, each read without what stands before it.

Ours are the shipped recipes, trained by `nextword pretrain` as a user types it, each in a process of its own; time is
that of the training loop on both sides, without imports and without scoring.

    fast         family nextword, to the peer's loss; and once more with as many steps as the peer's time allows
    characters   family llama, to the peer's loss

Each round has the peer and ours in the same minutes, and gives ratios of its own; their medians are shown. Rounds are
kept in time_to_loss.json, so that a stopped run goes on; remove the file to begin anew.

`NEXTWORD_REALDATA` names the folder that has text/tinyshakespeare.txt.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ratio import Ratio
from nextword import recipes
from nextword.core.settings import load_toml
from nextword.data.shards import Tokens
from nextword.face import load
from nextword.models.base import Batch

TEXT = "text/tinyshakespeare.txt"
TIME, ROWS, STEPS, WARMUP, HIGH, LOW = 64, 12, 2000, 100, 1e-3, 1e-4
ROUNDS = 3
SCORED_AT_ONCE = 256
RECIPES = {"fast": 6.0, "characters": 4.0}  # how many times sooner than the peer they are to reach its loss
KEPT = Path("time_to_loss.json")
LOWER = 0.28  # nats a character below the peer, in the peer's time
MARGIN = 0.97  # of that time
CLI = [sys.executable, "-m", "nextword.cli"]


def measure() -> list[Ratio]:
    """The peer and our recipes by turns."""
    root = os.environ.get("NEXTWORD_REALDATA")
    if root is None or not (Path(root) / TEXT).is_file():
        sys.exit(f"error: set NEXTWORD_REALDATA to a folder that has {TEXT}")
    rounds: list[dict[str, tuple[float, float]]] = json.loads(KEPT.read_text()) if KEPT.is_file() else []
    with tempfile.TemporaryDirectory() as name:
        tokens = prepare(Path(root) / TEXT, Path(name))
        for number in range(len(rounds), ROUNDS):
            found = {"peer": run_peer(tokens, number)}
            for recipe in RECIPES:
                found[recipe] = run_ours(recipe, tokens, Path(name) / f"{recipe}{number}", number)
            steps = round(MARGIN * steps_of("fast") * found["peer"][0] / found["fast"][0])
            found["long"] = run_ours("fast", tokens, Path(name) / f"long{number}", number, steps)
            rounds.append(found)
            KEPT.write_text(json.dumps(rounds, indent=1))
            print(f"round {number + 1} of {ROUNDS}: {found}", file=sys.stderr, flush=True)
    return table(rounds)


def table(rounds: list[dict[str, tuple[float, float]]]) -> list[Ratio]:
    """Times to the peer's loss, and how much lower ours is in the peer's time; of each round's ratio the median one."""
    rows = []
    for recipe, wanted in RECIPES.items():
        middle = sorted(rounds, key=lambda found: found["peer"][0] / found[recipe][0])[len(rounds) // 2]
        (ours, loss), (seconds, peer_loss) = middle[recipe], middle["peer"]
        reached = sum(found[recipe][1] <= found["peer"][1] for found in rounds)
        note = f"loss {loss:.3f}, peer {peer_loss:.3f}; reached in {reached} of {len(rounds)} rounds"
        name = f"time to the peer's loss, {recipe}"
        rows.append(Ratio(name, ours, seconds, "s", "GPT-2, nanoGPT's", wanted, False, note))
    middle = sorted(rounds, key=lambda found: found["peer"][1] - found["long"][1])[len(rounds) // 2]
    (ours, loss), (seconds, peer_loss) = middle["long"], middle["peer"]
    note = f"fast for {ours:.0f} s: {loss:.3f}; peer {seconds:.0f} s: {peer_loss:.3f}"
    rows.append(Ratio("loss below the peer's in its time", peer_loss - loss, LOWER, "nats", "wanted", 1.0, note=note))
    return rows


def prepare(text: Path, folder: Path) -> Path:
    """Characters of the text, the last tenth of them for validation, as `nextword tokenize` writes them."""
    tokenizer, tokens = folder / "tokenizer", folder / "tokens"
    for arguments in (
        ["tokenizer", "train", "--text", text, "--kind", "character", "--out", tokenizer],
        ["tokenize", "--text", text, "--split.split_at=0.9", "--tokenizer", tokenizer, "--out", tokens],
    ):
        subprocess.run([*CLI, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return tokens


def recipe_of(name: str) -> dict[str, Any]:
    """A shipped recipe."""
    return load_toml(Path(recipes.__path__[0]) / "shipped" / f"{name}.toml")


def steps_of(name: str) -> int:
    """The steps of a shipped recipe."""
    steps: int = recipe_of(name)["train"]["steps"]
    return steps


def run_ours(
    name: str, tokens: Path, out: Path, seed: int, steps: int | None = None, changes: Sequence[str] = ()
) -> tuple[float, float]:
    """Seconds of training and loss of a shipped recipe, with another number of steps and flags that change it.

    A flag that ends with = takes the recipe's own out, so that the default holds.
    """
    settings = recipe_of(name)
    train = settings["train"] | ({} if steps is None else {"steps": steps})
    flags = [f"--model.{key}={value}" for key, value in settings["model"].items()]
    for key, value in train.items():
        flags += [f"--train.{key}", *map(str, value)] if isinstance(value, list) else [f"--train.{key}={value}"]
    changes = ("--train.eval_every=0", *changes)  # the peer does not look either
    changed = {change.partition("=")[0] for change in changes}
    flags = [flag for flag in flags if flag.partition("=")[0] not in changed]
    flags += [change for change in changes if not change.endswith("=")]
    command = [*CLI, "pretrain", str(tokens), "--out", str(out), "--json", "--quiet", f"--seed={seed}", *flags]
    summary = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    model = load(out / "model").model
    return summary["seconds"], loss_of(lambda x_BT, y_BT: -model.score(Batch(x_BT), y_BT).sum().item(), tokens)


def run_peer(tokens: Path, seed: int) -> tuple[float, float]:
    """Seconds of training and loss of the peer, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.time_to_loss", str(tokens), str(seed)]
    seconds, loss = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return seconds, loss


def loss_of(nll: Callable[[Tensor, Tensor], float], tokens: Path) -> float:
    """Nats a character over the whole validation text in windows of TIME; `nll` sums them over a batch of windows."""
    split = Tokens.open(tokens, "validation")
    ids = torch.from_numpy(split.read(0, len(split)).astype(np.int64))
    count = (len(ids) - 1) // TIME
    x_NT, y_NT = ids[: count * TIME].view(count, TIME), ids[1 : count * TIME + 1].view(count, TIME)
    pieces = zip(x_NT.split(SCORED_AT_ONCE), y_NT.split(SCORED_AT_ONCE), strict=True)
    with torch.inference_mode():
        return sum(nll(x_BT, y_BT) for x_BT, y_BT in pieces) / (count * TIME)


def peer(tokens: Path, seed: int) -> tuple[float, float]:
    """nanoGPT's CPU recipe; seconds of its loop, and its loss."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    split = Tokens.open(tokens, "train")
    ids = torch.from_numpy(split.read(0, len(split)).astype(np.int64))
    sizes = {"n_positions": TIME, "n_embd": 128, "n_layer": 4, "n_head": 4, "resid_pdrop": 0, "embd_pdrop": 0,
             "attn_pdrop": 0, "bos_token_id": None, "eos_token_id": None, "use_cache": False}  # fmt: skip
    model = GPT2LMHeadModel(GPT2Config(vocab_size=split.vocab_size, **sizes))
    matrices = [w for w in model.parameters() if w.ndim >= 2]
    vectors = [w for w in model.parameters() if w.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=HIGH, betas=(0.9, 0.99), fused=True)
    began = time.perf_counter()
    for step in range(STEPS):
        cosine = LOW + (HIGH - LOW) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
        for group in optimizer.param_groups:
            group["lr"] = HIGH * (step + 1) / WARMUP if step < WARMUP else cosine
        rows_B1 = torch.randint(len(ids) - TIME - 1, (ROWS, 1))
        window_BT = ids[rows_B1 + torch.arange(TIME + 1)]
        logits_BTV = model(input_ids=window_BT[:, :-1]).logits
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), window_BT[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - began
    model.eval()

    def nll(x_BT: Tensor, y_BT: Tensor) -> float:
        return F.cross_entropy(model(input_ids=x_BT).logits.flatten(0, 1), y_BT.flatten(), reduction="sum").item()

    return seconds, loss_of(nll, tokens)


if __name__ == "__main__":
    print(json.dumps(peer(Path(sys.argv[1]), int(sys.argv[2]))))
