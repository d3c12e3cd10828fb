"""What the server allows: how much may wait, how much a request may ask for, who may call."""

from dataclasses import dataclass

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Limits of the server; who exceeds one is told which."""

    queue: int = 256
    "Requests that may wait or run; one more is refused with 429 and a time after which to try again."
    seconds: float = 600.0
    "The longest that one request may take, waiting included."
    choices: int = 16
    "The largest n, the answers to one prompt, times the number of prompts."
    tokens: int = 4096
    "The most tokens that one answer may have."
    body_bytes: int = 4 << 20
    "The largest body of a request."
    grace: float = 30.0
    "Seconds that running requests get to finish after the server was told to stop."

    def __post_init__(self) -> None:
        for name in ("queue", "choices", "tokens", "body_bytes"):
            in_range(f"limits.{name}", getattr(self, name), 1)
        in_range("limits.seconds", self.seconds, 0.001)
        in_range("limits.grace", self.grace, 0)


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    """Who may call the server.

    hosts: the names by which it may be called, none for any. origins: web pages of these origins may call it.
    """

    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.api_key is not None and not (self.api_key and self.api_key.isascii() and self.api_key.isprintable()):
            raise SettingsError(
                "the api_key must be at least one printable ASCII character: clients send it in a header"
            )
        for origin in self.origins:
            if "://" not in origin or origin.endswith("/"):
                raise SettingsError(f"an origin is written https://example.org, without a path; received {origin!r}")
