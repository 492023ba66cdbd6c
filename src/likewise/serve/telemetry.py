"""Numbers for Prometheus. Worker processes count in files of one folder, and each answers for all of them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = ["Telemetry", "forget_process", "shared_folder"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported


class Telemetry:
    """Counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "likewise_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "likewise_request_seconds", "Seconds to the answer", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.in_flight = Gauge(
            "likewise_requests_in_flight",
            "Requests being answered",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.batches = Histogram(
            "likewise_batch_images",
            "Images embedded together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.items = Gauge(
            "likewise_gallery_items",
            "Images enrolled",
            ["gallery"],
            registry=self.registry,
            multiprocess_mode="livemostrecent",
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") else "other"
        self.requests.labels(known, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self, items: Mapping[str, int]) -> bytes:
        """All numbers in Prometheus' text format."""
        for name, count in items.items():
            self.items.labels(name).set(count)
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)


@contextmanager
def shared_folder() -> Iterator[None]:
    """A temporary folder in which the worker processes started meanwhile count together."""
    with TemporaryDirectory(prefix="likewise-metrics-") as folder:
        os.environ[SHARED] = folder
        try:
            yield
        finally:
            del os.environ[SHARED]


def forget_process(pid: int) -> None:
    """Drop what an ended worker process had in flight; what it counted stays."""
    mark_process_dead(pid)
