"""What the server does, in numbers that Prometheus collects: GET /metrics.

requests by path and status          time to the first token, and between two tokens (histograms)
tokens read and written              texts that run and wait; blocks of the cache; tokens that were found in it
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

FIRST_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
NEXT_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)

# what the engine counts: its name there -> what it is; totals only ever grow
ENGINE = {
    "running": "texts that are continued",
    "waiting": "texts that wait",
    "blocks": "blocks of the cache",
    "blocks_used": "blocks that texts use",
}
ENGINE_TOTALS = {
    "prompt_tokens": "tokens of prompts",
    "prefix_hits": "tokens of prompts that were in the cache already",
    "preempted": "texts that had to give up their blocks",
}


class OfEngine:
    """The engine's own numbers, asked when somebody collects."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self.figures = figures

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants them."""
        found = self.figures()
        for name, what in ENGINE.items():
            yield GaugeMetricFamily(f"nextword_{name}", what, found.get(name, 0))
        for name, what in ENGINE_TOTALS.items():
            yield CounterMetricFamily(f"nextword_{name}", what, found.get(name, 0))


class Metrics:
    """The counters of one server."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(OfEngine(figures))  # a collector by its method
        self.requests = Counter("nextword_requests", "answers", ("path", "status"), registry=self.registry)
        self.tokens = Counter("nextword_generated_tokens", "tokens written", registry=self.registry)
        self.first = Histogram(
            "nextword_first_token_seconds", "from a request to its first token", buckets=FIRST_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.next = Histogram(
            "nextword_next_token_seconds", "from one token to the next", buckets=NEXT_SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
