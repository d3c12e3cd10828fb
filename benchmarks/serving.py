"""32 clients at once, whose prompts share four fifths: ours against transformers and against llama.cpp's server.

A Llama of 125M parameters with random weights (bf16 numbers), 320 tokens of prompt of which all share 256, 32
new ones, greedy. transformers' `generate` answers one prompt after the other; it is timed on a few of them, since it
needs the same time for each. Its own continuous batching (`generate_batch`) and ours answer all at once. The last rows
go through HTTP: what our server adds to a token, and llama-cpp-python's server where the environment variable
NEXTWORD_LLAMA_PYTHON names a Python that has it (`llama-cpp-python[server]`).

`python -m benchmarks serving` takes some minutes; NEXTWORD_SERVING names one peer alone.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.decoding import SHAPES
from benchmarks.ratio import Ratio, seconds
from nextword.decode.settings import SamplingSettings
from nextword.engine.engine import Engine
from nextword.engine.request import Request
from nextword.models.checkpoint import save_model
from nextword.models.create import create
from nextword.text.python_docs import documents
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

SIZES = SHAPES["125M"]
CLIENTS, SHARED, OWN, TOKENS = 32, 256, 64, 32
VOCABULARY, KNOWN = 32_000, 8192  # tokens of the model; those of them that the tokenizer has
ONE_BY_ONE = 4  # prompts that transformers' generate is timed on
ROUNDS = 2
HEAD = (
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
PEERS = ("generate", "generate_batch", "http", "llama.cpp")
STARTING = 120  # seconds a server may need to start


def measure() -> list[Ratio]:
    """Tokens a second of all clients together."""
    wanted = (os.environ["NEXTWORD_SERVING"],) if "NEXTWORD_SERVING" in os.environ else PEERS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        tokenizer = train(TokenizerSettings(vocab_size=KNOWN), (document.text for document in documents()))
        save_model(create(SIZES, VOCABULARY, seed=0, eos_id=tokenizer.eos_id).to(torch.bfloat16), folder)
        tokenizer.save(folder)
        prompts = texts(tokenizer)
        return [row for peer in wanted for row in COMPARE[peer](folder, prompts)]


def texts(tokenizer: Tokenizer) -> list[list[int]]:
    """Prompts that begin alike: ids of real text."""
    ids = [number for document in documents() for number in tokenizer.encode(document.text)][: SHARED + CLIENTS * OWN]
    own = [ids[SHARED + number * OWN : SHARED + (number + 1) * OWN] for number in range(CLIENTS)]
    return [ids[:SHARED] + rest for rest in own]


def alternate_all(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The better of some rounds of each, alternating, after a first of ours that compiles and fills nothing."""
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(seconds(ours))
        other.append(seconds(theirs))
    return min(mine), min(other)


def engine_answers(engine: Engine, prompts: list[list[int]]) -> None:
    """All prompts through our engine, whose cache is empty at first."""
    settings = SamplingSettings(max_tokens=TOKENS, temperature=0)
    for prompt in prompts:
        engine.add(Request(tuple(prompt), settings))
    while engine.open:
        engine.step()


def fresh(model: Any, prompts: list[list[int]]) -> Callable[[], None]:
    """Our engine as it starts: nothing in the cache."""
    engine_answers(Engine(model), [prompts[0][:8]] * 2)  # loads what is compiled
    return lambda: engine_answers(Engine(model), prompts)


def load_ours(folder: Path) -> Any:
    """The model as `nextword serve` loads it."""
    from nextword.assembly.folder import load

    return load(folder).model


def load_theirs(folder: Path, **options: Any) -> Any:
    """transformers' model in fp32, the faster of its types where a processor has no bf16 products."""
    from transformers import LlamaForCausalLM

    from nextword.nn.attention import fast_bfloat16

    dtype = torch.bfloat16 if fast_bfloat16() else torch.float32
    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, **options).eval()
    model.generation_config.eos_token_id = None
    return model


def row(peer: str, mine: float, other: float, wanted: float, note: str = "") -> Ratio:
    """Tokens a second of all clients, from the seconds that all took."""
    all_tokens = CLIENTS * TOKENS
    return Ratio("serving 32 clients, 125M", all_tokens / mine, all_tokens / other, "tokens/s", peer, wanted, note=note)


def against_generate(folder: Path, prompts: list[list[int]]) -> list[Ratio]:
    """One prompt after the other."""
    ours, theirs = fresh(load_ours(folder), prompts), load_theirs(folder)

    def one_by_one() -> None:
        for prompt in prompts[:ONE_BY_ONE]:
            ids = torch.tensor([prompt])
            theirs.generate(
                ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids)
            )

    mine, other = alternate_all(ours, one_by_one)
    return [row("transformers generate", mine, other * CLIENTS / ONE_BY_ONE, 6.0, f"timed on {ONE_BY_ONE} prompts")]


def against_batch(folder: Path, prompts: list[list[int]]) -> list[Ratio]:
    """transformers' own continuous batching."""
    from transformers import GenerationConfig

    ours, theirs = fresh(load_ours(folder), prompts), load_theirs(folder, attn_implementation="sdpa")
    settings = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0)
    mine, other = seconds(ours), seconds(lambda: theirs.generate_batch(prompts, settings))
    return [row("transformers generate_batch", mine, other, 3.0, "one round")]


async def clients(url: str, bodies: list[dict[str, Any]]) -> None:
    """All at once."""
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=CLIENTS)) as client:
        answers = await asyncio.gather(*(client.post(f"{url}/v1/completions", json=body) for body in bodies))
    for answer in answers:
        assert answer.status_code == 200, answer.text


def bodies(prompts: list[Any], **more: Any) -> list[dict[str, Any]]:
    """What the clients send."""
    return [{"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, **more} for prompt in prompts]


@contextmanager
def server(command: list[str], port: int) -> Iterator[str]:
    """A server in a process of its own, once it answers."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + STARTING
        try:
            while True:
                try:
                    httpx.get(f"{url}/v1/models")
                    break
                except httpx.HTTPError:
                    assert process.poll() is None and time.monotonic() < end, f"does not start: {command}"
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def our_server(folder: Path) -> AbstractContextManager[str]:
    """`nextword serve`."""
    port = free_port()
    return server([sys.executable, "-m", "nextword.cli", "serve", str(folder), "--port", str(port)], port)


def overhead(folder: Path, prompts: list[list[int]]) -> list[Ratio]:
    """What HTTP and JSON add to a token, streamed, when all 32 read along."""
    model = load_ours(folder)
    engine = Engine(model)
    engine_answers(engine, prompts)  # the cache of both holds the prompts: what is left is steps
    with our_server(folder) as url:
        asyncio.run(clients(url, bodies(prompts)))
        mine, bare = alternate_all(
            lambda: asyncio.run(streams(url, bodies(prompts, stream=True))), lambda: engine_answers(engine, prompts)
        )
    each = 1000 * (mine - bare) / (CLIENTS * TOKENS)
    return [
        Ratio(
            "server's own time a token", max(each, 1e-3), 1.0, "ms", "the limit", 1.0, more_is_better=False,
            note=f"32 streams {mine:.2f} s, the engine alone {bare:.2f} s",
        )
    ]  # fmt: skip


async def streams(url: str, sent: list[dict[str, Any]]) -> None:
    """All clients take events from bare sockets: a client that parses would take more time than the server."""
    host, port = url.removeprefix("http://").split(":")

    async def read(body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD.format(len(content)).encode() + content)
        answer = await reader.read()
        assert b"data: [DONE]" in answer, answer[-500:]
        writer.close()

    await asyncio.gather(*map(read, sent))


def against_llama(folder: Path, prompts: list[list[int]]) -> list[Ratio]:
    """llama-cpp-python's server on the same weights, in bf16."""
    python = os.environ.get("NEXTWORD_LLAMA_PYTHON")
    if not python:
        return []
    from nextword.recipes.convert import main as convert
    from nextword.recipes.convert_settings import ConvertSettings

    file = folder.parent / "model.gguf"
    convert(ConvertSettings(str(folder), file, dtype="bf16"))
    tokenizer = Tokenizer.load(folder)
    sent = bodies([tokenizer.decode(prompt) for prompt in prompts])
    with our_server(folder) as ours, llama_server(python, file) as theirs:
        for url in (ours, theirs):  # loads what is compiled; a text that shares nothing
            asyncio.run(clients(url, bodies([tokenizer.decode(prompts[0][:OWN:-1])] * 2)))
        mine = seconds(lambda: asyncio.run(clients(ours, sent)))
        other = seconds(lambda: asyncio.run(clients(theirs, sent)))
    return [row("llama-cpp-python's server, bf16", mine, other, 2.0, "one round, both caches empty")]


def llama_server(python: str, file: Path) -> AbstractContextManager[str]:
    """llama-cpp-python's."""
    port = free_port()
    options = {"--model": file, "--port": port, "--n_ctx": SIZES.max_length, "--n_threads": torch.get_num_threads()}
    return server([python, "-m", "llama_cpp.server", *(str(part) for pair in options.items() for part in pair)], port)


COMPARE = {
    "generate": against_generate,
    "generate_batch": against_batch,
    "http": overhead,
    "llama.cpp": against_llama,
}
