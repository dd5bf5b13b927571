"""`health`: is a gRPC server ready?"""

import time
from typing import Annotated

import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linklearner.cli.arguments import host_port, number
from linklearner.cli.calls import run
from linklearner.cli.far_side import wrong_service
from linklearner.output import Format
from linklearner.rpc.channel import channel


def health(
    target: Annotated[str, typer.Argument(parser=host_port("the target"), help="host:port")],
    timeout: Annotated[int, typer.Option(parser=number("--timeout", 1, 3600), help="seconds")] = 2,
) -> None:
    """Exit status 0 if a gRPC server there is ready; for container health checks."""

    async def work() -> bool:
        async with wrong_service(target, "a server with health checks"), channel(target) as wire:
            answer = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    started = time.monotonic()
    if not run(work(), Format.TEXT):
        typer.echo(f"{target} is up but not ready (asked for {time.monotonic() - started:.1f} s)", err=True)
        raise typer.Exit(1)
