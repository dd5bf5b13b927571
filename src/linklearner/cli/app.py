"""The table of commands."""

import typer

from linklearner.cli import (
    account,
    health,
    inference,
    new,
    report,
    service,
    simulate,
    stake,
    status,
    suite,
    task,
    training,
    update,
    verify,
    watch,
)
from linklearner.cli.arguments import Commands

app = typer.Typer(
    cls=Commands,
    help="Train a shared model on private data, merge it on a chain, serve it behind a token.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(task.app, name="task")
app.add_typer(stake.app, name="stake")
app.add_typer(update.app, name="update")
app.add_typer(service.app, name="service")
app.command()(new.new)
app.command()(account.balance)
app.command()(account.earnings)
app.command()(training.train)
app.command()(status.status)
app.command()(inference.infer)
app.command()(verify.verify)
app.command()(watch.watch)
app.command()(report.report)
app.command()(simulate.simulate)
app.command()(suite.up)
app.command()(suite.down)
app.command()(suite.demo)
app.command(context_settings=suite.PASSED_ON)(suite.devchain)
app.command()(health.health)
