"""Metrics in the text format of Prometheus, and answers to health checks, on the loopback.

    /metrics    see ``render_metrics``
    /live       200 while the process answers
    /ready      200 when all services are up, 503 otherwise

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

from altrepodb.uploaderd.histogram import BOUNDS_S

if TYPE_CHECKING:
    from altrepodb.uploaderd.supervisor import Supervised

__all__ = ["MetricsServer", "render_metrics"]

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_TIMEOUT_S = 5.0
_STATES = ("starting", "connecting", "running", "degraded", "draining", "failed", "stopped")
_COUNTERS = {
    "received": "Messages received",
    "done": "Messages whose load is done",
    "ignored": "Messages of no interest",
    "malformed": "Messages that were refused",
    "retried": "Failed attempts that are repeated",
    "given_up": "Messages given up after failures",
    "adopted": "Redelivered messages that were known",
    "crashes": "Loads whose worker died",
    "reconnects": "Connections to the broker that were lost",
    "worker_restarts": "Workers that were replaced",
}
_GAUGES = {
    "in_flight": "Messages at work",
    "waiting": "Messages that wait for a worker",
    "retrying": "Messages that wait for another attempt",
    "oldest_seconds": "Age of the oldest message that is not settled",
}


def render_metrics(services: Sequence[Supervised], notices: tuple[int, int]) -> str:
    """The text for Prometheus: what the services reported last, notices sent and dropped."""
    return "\n".join(_lines(list(services), notices)) + "\n"


def _lines(services: Sequence[Supervised], notices: tuple[int, int]) -> Iterable[str]:
    labelled = [(_labels(index, service), service) for index, service in enumerate(services)]
    for name, text in _COUNTERS.items():
        yield from _head(f"{name}_total", "counter", text)
        for labels, service in labelled:
            yield f"uploaderd_{name}_total{{{labels}}} {service.report.counters.get(name, 0)}"
    for name, text in _GAUGES.items():
        yield from _head(name, "gauge", text)
        for labels, service in labelled:
            yield f"uploaderd_{name}{{{labels}}} {service.report.gauges.get(name, 0):.3f}"
    yield from _head("service_restarts_total", "counter", "Service processes that were replaced")
    for labels, service in labelled:
        yield f"uploaderd_service_restarts_total{{{labels}}} {service.restarts}"
    yield from _head("state", "gauge", "1 for the state that a service is in")
    for labels, service in labelled:
        for state in _STATES:
            is_in = int(service.report.state == state)
            yield f'uploaderd_state{{{labels},state="{state}"}} {is_in}'
    yield from _histogram(labelled)
    for name, count in zip(("sent", "dropped"), notices, strict=True):
        yield from _head(f"notices_{name}_total", "counter", f"Notices {name}")
        yield f"uploaderd_notices_{name}_total {count}"


def _histogram(labelled: Sequence[tuple[str, Supervised]]) -> Iterable[str]:
    yield from _head("load_seconds", "histogram", "How long loads take")
    for labels, service in labelled:
        loads = service.report.load_seconds
        total = 0
        for bound, count in zip((*BOUNDS_S, "+Inf"), loads.counts, strict=True):
            total += count
            yield f'uploaderd_load_seconds_bucket{{{labels},le="{bound}"}} {total}'
        yield f"uploaderd_load_seconds_sum{{{labels}}} {loads.total_s:.3f}"
        yield f"uploaderd_load_seconds_count{{{labels}}} {total}"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    yield f"# HELP uploaderd_{name} {text}."
    yield f"# TYPE uploaderd_{name} {kind}"


def _labels(index: int, service: Supervised) -> str:
    return f'service="{service.settings.name}",instance="{index}"'


class MetricsServer:
    """Answers in a thread of its own until it is closed."""

    def __init__(
        self, address: tuple[str, int], render: Callable[[], str], is_ready: Callable[[], bool]
    ) -> None:
        """Listen on host and port. Raises OSError."""

        class Handler(_Handler):
            answers: ClassVar = {
                "/metrics": lambda: (200, render()),
                "/live": lambda: (200, "live\n"),
                "/ready": lambda: (200, "ready\n") if is_ready() else (503, "not ready\n"),
            }

        server = _Server6 if ":" in address[0] else _Server
        self._server = server(address, Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.5,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """GET of a few paths, nothing else."""

    timeout = _REQUEST_TIMEOUT_S
    server_version = "uploaderd"
    sys_version = ""
    answers: ClassVar[dict[str, Callable[[], tuple[int, str]]]]

    def do_GET(self) -> None:
        answer = self.answers.get(self.path.partition("?")[0], lambda: (404, "not found\n"))
        status, text = answer()
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", _CONTENT_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """A scrape every few seconds is nothing for the log."""
