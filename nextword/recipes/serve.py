"""`nextword serve`: a model for many users at once."""

import logging
import signal
import socket
import sys
from types import FrameType

from nextword.assembly.folder import load
from nextword.core.errors import ResourceError, missing_extra
from nextword.engine.engine import Engine
from nextword.recipes.serve_settings import ServeSettings
from nextword.tokenizers.conversations import Chat

try:
    import uvicorn

    from nextword.serve.server import create_app
    from nextword.serve.service import Served, Service
except ImportError as error:
    raise missing_extra(str(error.name), "serve") from None

STOP_SECONDS = 5  # after the grace: for answers to be sent
LEFT = "socket.send() raised exception."  # what asyncio logs of each event to a reader who has just left


class Server(uvicorn.Server):
    """uvicorn's, whose service hears at once that it is to stop: from then on it refuses what comes."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        logging.getLogger("asyncio").addFilter(told)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT. Having ended as it was told, the process does not raise the signal again."""
        self.service.closing = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def told(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's log says something: readers leave all the time."""
    return record.msg != LEFT


def main(settings: ServeSettings) -> int:
    """Serves until it is told to stop."""
    listening = listen(settings.host, settings.port)
    service = make_service(settings)
    app = create_app(service, settings.access)
    grace = round(settings.limits.grace) + STOP_SECONDS
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=grace, server_header=False)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {service.served.name} at http://{shown}:{port} (Ctrl-C stops it)", file=sys.stderr, flush=True)
    if not settings.access.hosts and settings.access.api_key is None:
        print("warning: everybody who reaches this address can use it: set --api-key", file=sys.stderr, flush=True)
    Server(config, service).run([listening])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; ResourceError where that is not possible. Before a model is loaded for nothing."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise ResourceError(
            f"cannot listen at {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from None
    return found


def make_service(settings: ServeSettings) -> Service:
    """The model with an engine around it."""
    assembled = load(settings.model, device=settings.device)
    chat = Chat.found(assembled.folder, assembled.tokenizer)
    name = settings.name or assembled.folder.resolve().name
    served = Served(name, assembled.model, assembled.tokenizer, chat, assembled.sentence)
    engine = Engine(assembled.model, settings.engine, settings.compiled)
    return Service(served, engine, settings.limits)
