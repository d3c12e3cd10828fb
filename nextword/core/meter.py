"""How fast training runs and how much memory it takes.

tokens/s: over the last steps. MFU, model FLOP utilisation: the floating-point operations that the model's mathematics
needs (not those spent on recomputing) per second, as a share of what the machine's matrix products reach (Chowdhery et
al. 2022, PaLM, appendix B). Memory: the peak of the process (resident set), or of what was allocated on the GPU.
"""

import sys
import time
from collections import deque
from pathlib import Path

import torch

if sys.platform == "win32":
    import psutil
else:
    import resource

STATUS = Path("/proc/self/status")  # on Linux
WINDOW = 20  # steps that the shown speed is averaged over


class Meter:
    """Counts tokens between calls of `step`; what happens between `pause` and `go` does not count.

    flops_per_token: of one training step (forward and backward). peak: FLOP/s that the machine reaches.
    """

    def __init__(self, flops_per_token: float, peak: float, device: torch.device) -> None:
        self.flops_per_token, self.peak, self.device = flops_per_token, peak, device
        self.recent: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self.go()

    def go(self) -> None:
        """Starts the clock (again)."""
        self.since = time.perf_counter()

    def step(self, tokens: int) -> float:
        """Notes a step over `tokens` tokens that ends now; its seconds."""
        now = time.perf_counter()
        seconds = now - self.since
        self.recent.append((tokens, seconds))
        self.since = now
        return seconds

    @property
    def tokens_per_second(self) -> float:
        """Over the last steps."""
        return sum(tokens for tokens, _ in self.recent) / max(sum(seconds for _, seconds in self.recent), 1e-9)

    @property
    def utilisation(self) -> float:
        """MFU, between 0 and 1."""
        return self.tokens_per_second * self.flops_per_token / self.peak


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on the GPU, or that this process has held in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    for line in lines:  # getrusage would say what the process that started this one held, if that was more
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # others count in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
