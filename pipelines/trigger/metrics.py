"""What Prometheus is told: a registry of the server's own, so that two servers in one process do not share it."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of what was asked and what came of it."""

    def __init__(self) -> None:
        """Begin all counters at zero."""
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"modelmill_trigger_{name}", what, labels, registry=self._registry)

        self._requests = counter("requests", "Requests by endpoint and result.", "endpoint", "result")
        self._asked = counter("asked", "Runs asked for, by reason and result.", "kind", "result")
        self._started = counter("runs_started", "Runs started.")
        self._deduplicated = counter("deduplicated", "Triggers whose run was asked for before.")
        self._refused = counter("cool_down_refusals", "Triggers refused because the last run was too recent.")
        self._failures = counter("reconciler_failures", "Looks of the reconciler, at one recipe, that went wrong.")
        self._reconciled = Gauge(
            "modelmill_trigger_reconciler_last_success_timestamp_seconds",
            "When the reconciler last looked at every recipe.",
            registry=self._registry,
        )

    def request(self, endpoint: str, result: str) -> None:
        """Count a request by its endpoint and what came of it."""
        self._requests.labels(endpoint, result).inc()

    def asked(self, kind: str, result: str) -> None:
        """Count what came of asking for one run: `started`, `deduplicated`, `cool_down` or `failed`.

        Args:
            kind: What kind of reason was given.
            result: What came of it.
        """
        self._asked.labels(kind, result).inc()
        known = {"started": self._started, "deduplicated": self._deduplicated, "cool_down": self._refused}
        if result in known:
            known[result].inc()

    def reconciled(self, failures: int) -> None:
        """Count a look at the data, and how many recipes it failed for."""
        if failures:
            self._failures.inc(failures)
        else:
            self._reconciled.set_to_current_time()

    def page(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self._registry)
