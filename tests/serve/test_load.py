"""Under load: queues are bounded, time is bounded, who leaves takes the work along, and stopping loses nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from nextword.serve.settings import LimitSettings

TRACE = "serving/AzureLLMInferenceTrace_conv.csv"
LONG = {"prompt": "Once upon a time", "max_tokens": 50}


@pytest.fixture
def slow(talking: Path, serve: Any) -> Any:
    """A server that takes 20 ms for a step, which a test can hold up altogether."""

    def make(**limits: Any) -> Any:
        manager = serve(talking, limits=LimitSettings(**limits))
        server = manager.__enter__()
        engine, inner = server.service.engine, server.service.engine.step
        server.go = threading.Event()
        server.go.set()

        def step() -> Any:
            time.sleep(0.02)
            server.go.wait(20)
            return inner()

        engine.step = step
        made.append((manager, server))
        return server

    made: list[Any] = []
    yield make
    for manager, server in made:
        server.go.set()
        manager.__exit__(None, None, None)


def wait_for(what: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_refuses_and_says_when_to_come_again(slow: Any) -> None:
    server = slow(queue=3)
    server.go.clear()
    with httpx.Client(base_url=server.url, timeout=20) as client, httpx.Client(base_url=server.url) as other:
        thread = threading.Thread(target=client.post, args=("/v1/completions",), kwargs={"json": {**LONG, "n": 3}})
        thread.start()
        wait_for(lambda: server.service.open == 3)
        answer = other.post("/v1/completions", json=LONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        server.go.set()
        thread.join()
        assert other.post("/v1/completions", json={**LONG, "max_tokens": 1}).status_code == 200


def test_a_request_has_so_much_time(slow: Any) -> None:
    server, long = slow(seconds=0.3), {**LONG, "min_tokens": 50}  # it may not end by itself before
    answer = httpx.post(f"{server.url}/v1/completions", json=long)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    with httpx.stream("POST", f"{server.url}/v1/completions", json={**long, "stream": True}) as stream:
        lines = list(stream.iter_lines())
    assert stream.status_code == 200
    assert len(lines) < 2 * LONG["max_tokens"]  # type: ignore[operator]
    wait_for(lambda: not server.service.open and not server.service.places)


def test_who_leaves_takes_the_work_along(slow: Any) -> None:
    server = slow()
    for stream in (True, False):
        body = b'{"prompt": "Once", "max_tokens": 60, "n": 4, "stream": %s}' % str(stream).lower().encode()
        connection = server.connect(body)
        wait_for(lambda: len(server.service.places) == 4)
        connection.close()
        wait_for(lambda: not server.service.open and not server.service.places, 2)


def test_a_reader_who_does_not_read_holds_up_nobody(slow: Any) -> None:
    server = slow(seconds=1.5)
    body = b'{"prompt": "Once", "max_tokens": 60, "n": 16, "stream": true, "logprobs": 0}'
    connection = server.connect(body, buffer=2048)
    answer = httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 2}, timeout=10)
    assert answer.status_code == 200
    wait_for(lambda: not server.service.open and not server.service.places)
    connection.close()


def test_one_bad_request_harms_no_other(slow: Any) -> None:
    """The engine itself fails for once: who ran is told so, who comes is served."""
    server = slow()
    engine, inner = server.service.engine, server.service.engine.step

    def broken() -> Any:
        engine.step = inner
        raise RuntimeError("out of luck")

    engine.step = broken
    answer = httpx.post(f"{server.url}/v1/completions", json=LONG)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 2}).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopping_finishes_what_runs(talking: Path, number: int) -> None:
    command = [sys.executable, "-m", "nextword.cli", "serve", str(talking), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split(" at ")[1].split()[0]
        try:  # the first answer may wait for a compiler
            with httpx.stream("POST", f"{url}/v1/completions", json={**LONG, "stream": True}, timeout=120) as stream:
                lines = stream.iter_lines()
                next(lines)
                process.send_signal(number)
                assert list(lines)[-2] == "data: [DONE]"
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()


def test_while_stopping_new_requests_are_refused(slow: Any) -> None:
    server = slow()
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").status_code == 200
        server.service.closing = True
        answer = client.post("/v1/completions", json=LONG)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get("/health").json()["status"] == "stopping"
        server.service.closing = False


def lengths(realdata: Path, count: int) -> list[tuple[float, int, int]]:
    """Requests of a chat service's trace: seconds after the first, tokens of prompt and answer, both scaled to 64."""
    from datetime import datetime

    lines = (realdata / TRACE).read_text().splitlines()[1 : count + 1]
    parts = [line.split(",") for line in lines]
    times = [datetime.fromisoformat(when[:26]).timestamp() for when, _, _ in parts]
    return [
        (when - times[0], 1 + int(read) % 40, 1 + int(wrote) % 20)
        for when, (_, read, wrote) in zip(times, parts, strict=True)
    ]


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_a_real_trace_is_answered_and_memory_stays(talking: Path, serve: Any, realdata: Path, count: int) -> None:
    trace = lengths(realdata, count)
    faster = trace[-1][0] / 4  # the whole trace within four seconds
    with serve(talking) as server:

        async def ask(client: httpx.AsyncClient, when: float, read: int, wrote: int) -> int:
            await asyncio.sleep(when / faster)
            body = {"prompt": [number % 250 for number in range(read)], "max_tokens": wrote, "temperature": 0}
            answer = await client.post(f"{server.url}/v1/completions", json=body)
            assert answer.status_code == 200
            return int(answer.json()["usage"]["completion_tokens"])

        async def replay() -> list[int]:
            limits = httpx.Limits(max_connections=count)
            async with httpx.AsyncClient(timeout=60, limits=limits) as client:
                return await asyncio.gather(*(ask(client, *one) for one in trace))

        asyncio.run(replay())
        before = psutil.Process().memory_info().rss
        found = asyncio.run(replay())
        after = psutil.Process().memory_info().rss
        assert all(0 < tokens <= wrote for tokens, (_, _, wrote) in zip(found, trace, strict=True))
        assert after - before < 32 << 20
        assert server.service.open == 0 and not server.service.places
