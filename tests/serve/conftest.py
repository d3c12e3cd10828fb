"""A server on a free port, in a thread of this process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import uvicorn

from nextword.recipes.serve import Server, listen, make_service
from nextword.recipes.serve_settings import ServeSettings
from nextword.serve.server import create_app
from nextword.serve.service import Service

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


HEAD = (
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)


class Running:
    """A server that runs: its address, its service."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port, self.url = service, port, f"http://127.0.0.1:{port}"

    def connect(self, body: bytes, length: int | None = None, buffer: int | None = None) -> socket.socket:
        """A connection that has sent a completion's body, of which it may say another length than it has."""
        found = socket.socket()
        if buffer:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        found.settimeout(10)
        found.connect(("127.0.0.1", self.port))
        found.sendall(HEAD.format(len(body) if length is None else length).encode() + body)
        return found


@contextmanager
def running(service: Service, settings: ServeSettings) -> Iterator[Running]:
    listening = listen(settings.host, 0)
    config = uvicorn.Config(create_app(service, settings.access), log_level="warning", timeout_graceful_shutdown=5)
    server = Server(config, service)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Running(service, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def talking(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a conversation template."""
    folder = tmp_path_factory.mktemp("serve") / "talking"
    copytree(tiny("llama"), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """`with serve(folder, port=..., limits=...) as server`."""

    def make(folder: Path, **settings: Any) -> Any:
        whole = ServeSettings(str(folder), **settings)
        return running(make_service(whole), whole)

    return make


@pytest.fixture(scope="session")
def server(talking: Path, serve: Callable[..., Any]) -> Iterator[Running]:
    """One server for all who change nothing in it."""
    with serve(talking) as found:
        yield found
