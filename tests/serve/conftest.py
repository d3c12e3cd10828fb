"""A server on a free port, in a thread of this process, and a browser that opens its page."""

import shutil
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

import nextword as nw
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def lm(talking: Path) -> Any:
    return nw.load(talking)


class Tabs:
    """Opens tabs and watches them: no error in any console, no request to another host.

    ready: what is there when a panel has been drawn.
    """

    ready = {
        "chat": "#chat:not([inert]) #send",
        "tokens": "#tokens-out span",
        "next": "#next-out li",
        "beam": "#beam-out .won",
        "attention": ".matrix",
        "lens": "#lens-out td",
        "losses": "#losses-out span",
        "speculation": "#speculation-run",
    }

    def __init__(self, browser: Any) -> None:
        self.browser, self.problems, self.requests, self.hosts = browser, [], [], set()

    def open(self, url: str, panel: str, width: int = 1100, scheme: str = "light") -> Any:
        context = self.browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab = context.new_page()
        tab.set_default_timeout(8000)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("console", lambda said: self.problems.append(said.text) if said.type in {"error", "warning"} else None)
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.hosts.add(url)
        tab.goto(f"{url}/#{panel}")
        tab.wait_for_selector(self.ready[panel])
        return tab

    @staticmethod
    def write(tab: Any, panel: str, text: str) -> None:
        """A text into a panel, whose answer is waited for."""
        with tab.expect_response(
            lambda answer: answer.url.endswith(f"/lab/{panel}") and text in answer.request.post_data
        ):
            tab.fill(f"#{panel}-text", text)
        Tabs.settle(tab, panel)

    @staticmethod
    def settle(tab: Any, panel: str) -> None:
        """Until a panel has drawn its answer, which it does a while after the answer has come."""
        tab.wait_for_selector(f"#{panel}:not([aria-busy])")

    @staticmethod
    def wait(tab: Any, selector: str, count: int) -> None:
        """Until there are so many; without evaluating anything in the page, which its policy forbids."""
        for _ in range(200):
            if tab.locator(selector).count() == count:
                return
            tab.wait_for_timeout(20)
        pytest.fail(f"{tab.locator(selector).count()} of {selector}, not {count}")


@pytest.fixture
def tabs(browser: Any, tmp_path: Path) -> Iterator[Tabs]:
    found = Tabs(browser)
    yield found
    for context in browser.contexts:
        for number, tab in enumerate(context.pages):
            tab.screenshot(path=tmp_path / f"{browser.contexts.index(context)}-{number}.png", full_page=True)
        context.close()
    assert not found.problems
    assert found.requests and all(url.startswith(tuple(found.hosts)) for url in found.requests)
