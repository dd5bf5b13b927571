"""`watch`: a task as it happens."""

import asyncio

from rich.live import Live

from linklearner.cli.calls import (
    CredentialOption,
    FormatOption,
    GatewayCall,
    GatewayOption,
    TaskOption,
    credential_for,
    run,
    service_address,
)
from linklearner.cli.far_side import wrong_service
from linklearner.cli.status import TrainersOption
from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import InvalidConfig
from linklearner.output import Format, console
from linklearner.process import stop_signal, until
from linklearner.suite import Suite, home
from linklearner.watching.screen import Frame, Lines
from linklearner.watching.watcher import Watcher

CLOCK_S = 1.0
"""Between two frames in which nothing but time has changed."""


def watch(
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    trainer_addresses: TrainersOption = None,
    credential: CredentialOption = None,
    task: TaskOption = None,
) -> None:
    """Watch a task: rounds, contributions as they arrive, stake and time left, versions, accuracy, trainers. Ctrl-C ends it.

    Without a terminal, a line an event (with --format json a JSON document).
    """

    async def work() -> None:
        where = service_address(gateway_address, "gateway")
        trainers = [
            (one, credential_for(one, credential)) for one in (trainer_addresses or _suites_trainers(gateway_address))
        ]
        shown = console(format)
        stop = stop_signal()
        async with (
            wrong_service(where, "a chain gateway"),
            GatewayClient.connect(where, credential_for(where, credential)) as gateway,
        ):
            number = GatewayCall(gateway, task).task
            if format is Format.JSON or not shown.is_terminal:
                lines = Lines(format)
                watcher = Watcher(gateway, number, trainers, lines.show)
                await until(stop, watcher.run())
                return
            # Redrawn by us alone, in one piece: nothing flickers, and an idle task costs a frame a second.
            with Live(console=shown, auto_refresh=False, vertical_overflow="crop") as live:
                drawn = Frame(live)
                watcher = Watcher(gateway, number, trainers, lambda _: drawn.show(watcher.watched))

                async def clock() -> None:
                    while True:
                        await asyncio.sleep(CLOCK_S)
                        drawn.show(watcher.watched)

                await until(stop, watcher.run(), clock())

    run(work(), format)


def _suites_trainers(gateway_address: str | None) -> tuple[str, ...]:
    """Of the suite here, unless another gateway is meant."""
    try:
        suite = Suite.read(home())
    except InvalidConfig:
        return ()
    return suite.trainers if gateway_address in (None, suite.gateway) else ()
