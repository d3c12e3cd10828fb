"""Run by the Python of an environment that has llama-cpp-python: decodes and prefills when asked on stdin.

    python benchmarks/llama_peer.py MODEL.gguf THREADS        a line of JSON in, a line with the seconds out

It uses no part of nextword, so that its environment needs nothing else.
"""

import json
import sys
import time

import llama_cpp
import numpy as np

CONTEXT = 1024


class Peer:
    """One model; llama.cpp's own functions, without the Python of its generation loop."""

    def __init__(self, path: str, threads: int) -> None:
        settings = {"n_ctx": CONTEXT, "n_batch": 512, "n_threads": threads, "n_threads_batch": threads}
        self.model = llama_cpp.Llama(model_path=path, verbose=False, **settings)
        self.vocabulary = self.model.n_vocab()

    def next(self, ids: list[int]) -> int:
        """Reads ids; the likeliest token after them."""
        context = self.model.ctx
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids))):
            raise RuntimeError("llama_decode failed")
        scores = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(self.vocabulary,))
        return int(scores.argmax())

    def decode(self, prompt: list[int], count: int) -> float:
        """Seconds for `count` greedy tokens after the prompt."""
        self.model.reset()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.model.ctx), True)
        token = self.next(prompt)
        began = time.perf_counter()
        for _ in range(count):
            token = self.next([token])
        return time.perf_counter() - began

    def prefill(self, prompt: list[int]) -> float:
        """Seconds to read a prompt."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.model.ctx), True)
        began = time.perf_counter()
        self.next(prompt)
        return time.perf_counter() - began


def main() -> None:
    """Answers until stdin ends."""
    peer = Peer(sys.argv[1], int(sys.argv[2]))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(peer, what)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
