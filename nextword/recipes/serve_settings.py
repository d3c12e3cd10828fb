"""Settings of `nextword serve`."""

import os
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

from nextword.core.settings import in_range
from nextword.engine.settings import EngineSettings
from nextword.serve.settings import LOOPBACK, AccessSettings, LimitSettings

KEY = "NEXTWORD_API_KEY"
LAST_PORT = 65535


@dataclass(frozen=True)
class ServeSettings:
    """Serve a model over HTTP, to the interface that clients of OpenAI know.

    Only this machine can call it unless --host says otherwise. Ctrl-C lets answers finish, a second one does not."""

    RECIPE: ClassVar[str] = "nextword.recipes.serve:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword serve runs/demo/model\n"
        "  nextword serve Qwen/Qwen3-0.6B --port 9000 --api-key secret\n"
        "  NEXTWORD_API_KEY=secret nextword serve model --host 0.0.0.0 --limits.queue 64\n"
        "  curl localhost:8080/v1/completions -H 'content-type: application/json' -d '{\"prompt\": \"Once\"}'"
    )

    model: str
    "A model folder, a GGUF file, or a Hugging Face id (needs the hub extra)."
    _: KW_ONLY
    host: str = "127.0.0.1"
    "The address to listen at; 0.0.0.0 for all of the machine's, which lets others call it."
    port: int = 8080
    "The port to listen at; 0 for any that is free."
    api_key: str | None = None
    "Who calls must send it (NEXTWORD_API_KEY, which other users of the machine cannot see)."
    name: str | None = None
    "What clients call the model (the folder's name)."
    origins: tuple[str, ...] = ()
    "Web pages of these origins may call the server, such as https://example.org (its own alone)."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."
    compiled: Literal["auto", "always", "never"] = "auto"
    "Whether a whole step runs as one call, compiled (models shaped as Llama or GPT-2, on the CPU) or recorded (on a "
    "GPU): auto where it pays."
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)

    def __post_init__(self) -> None:
        in_range("port", self.port, 0, LAST_PORT)
        _ = self.access

    @property
    def access(self) -> AccessSettings:
        """Who may call: on the loopback address, only by its names."""
        key = self.api_key if self.api_key is not None else os.environ.get(KEY)
        return AccessSettings(api_key=key, hosts=LOOPBACK if self.host in LOOPBACK else (), origins=self.origins)
