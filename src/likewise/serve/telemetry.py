"""Numbers for Prometheus. Each worker process counts for itself."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Telemetry"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


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
        self.in_flight = Gauge("likewise_requests_in_flight", "Requests being answered", registry=self.registry)
        self.batches = Histogram(
            "likewise_batch_images",
            "Images embedded together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.items = Gauge("likewise_gallery_items", "Images enrolled", ["gallery"], registry=self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") else "other"
        self.requests.labels(known, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self, items: Mapping[str, int]) -> bytes:
        """All numbers in Prometheus' text format."""
        for name, count in items.items():
            self.items.labels(name).set(count)
        return generate_latest(self.registry)
