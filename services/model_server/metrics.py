"""What the server counts, for Prometheus, on a port of its own; its admission adds to it.

Label values are few and fixed: status codes, and reasons out of the error tree; never an address, a token or anything a caller chose.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from linklearner.domain.errors import InvalidConfig


class Metrics:
    """One registry for one server, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        inferences = Counter(
            "linklearner_inferences", "ModelInfer calls by gRPC status code", ["code"], registry=self.registry
        )
        self.answered = {code.name: inferences.labels(code=code.name) for code in grpc.StatusCode}
        self.rows = Counter("linklearner_inference_rows", "Rows answered", registry=self.registry)
        self.seconds = Histogram(
            "linklearner_inference_seconds",
            "Model time of answered calls, without admission and transport",
            buckets=(2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.25),
            registry=self.registry,
        )
        self.version = Gauge(
            "linklearner_model_version", "Version that is live; 0 before the first", registry=self.registry
        )
        self.swaps = Counter("linklearner_model_swaps", "Versions that went live", registry=self.registry)
        self.refused = Counter(
            "linklearner_versions_refused", "Versions that were not let live", ["reason"], registry=self.registry
        )
        self.bodies = Gauge("linklearner_bodies", "Messages that are being received", registry=self.registry)

    @asynccontextmanager
    async def served(self, listen: str) -> AsyncIterator[str]:
        """Serves the metrics on host:port (port 0: a free one) in a thread; gives the address. Raises InvalidConfig if it is taken."""
        host, _, port = listen.rpartition(":")
        try:
            server = make_server(
                host.strip("[]"), int(port), make_wsgi_app(self.registry), ThreadingWSGIServer, handler_class=_Quiet
            )
        except OSError as error:
            raise InvalidConfig(
                f"cannot serve metrics on {listen}: {error.strerror or error}; choose another port",
                facts={"listen": listen},
            ) from error
        thread = Thread(target=server.serve_forever, args=(0.05,), name="metrics", daemon=True)
        thread.start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()


class _Quiet(WSGIRequestHandler):
    """No line per scrape."""

    timeout = 10.0

    def log_message(self, format: str, *args: object) -> None:
        pass
