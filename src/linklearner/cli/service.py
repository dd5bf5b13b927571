"""`service`: a trainer that the operating system keeps running for this user."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from linklearner import autostart
from linklearner.autostart import Keeper, Program
from linklearner.cli.arguments import Commands
from linklearner.cli.calls import FormatOption
from linklearner.cli.checkout import checkout
from linklearner.domain.errors import InvalidConfig, TimedOut
from linklearner.domain.notation import shown
from linklearner.output import Format, reporting, write_json

app = typer.Typer(
    cls=Commands,
    help="Keep a trainer running: a systemd user unit, or a launchd agent on macOS.",
    no_args_is_help=True,
)

PREFIX = "LINKLEARNER_TRAINER_"
POLITE = {"ROUNDS": "-1", "ON_BATTERY": "false", "OTHERS_CPU": "25", "NICE": "15"}
"""Settings of a trainer that people leave running, where nothing else is set."""
PROGRAM_NICE = 5
"""Of the whole process; its training thread gives way further, as NICE says."""
CHECK_S = 60.0
"""In which a trainer says whether its settings hold: it imports torch and reads its samples."""

NameOption = Annotated[str, typer.Option("--name", help="of the unit; one for each trainer on this machine")]
KeeperOption = Annotated[
    Keeper | None, typer.Option("--keeper", help="who keeps it running; this machine's own if left out")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="a setting of the trainer, NAME=VALUE, such as HOURS=22-7 or DATA=npz:mine.npz (docs/settings.md), as often as needed; "
        "those of the environment (LINKLEARNER_TRAINER_...) are taken over",
    ),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="also a file that was changed by hand")]


@app.command()
def install(
    name: NameOption = "trainer",
    settings: SetOption = None,
    keeper: KeeperOption = None,
    replace: ReplaceOption = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Write the unit for a trainer that runs in the present folder, and say how to start it. Starts nothing."""
    with reporting(format):
        by, program = _keeper(keeper), _program(name, settings or [])
        file = _file(by, name)
        _check(program)
        written = autostart.write(file, autostart.text(by, program, Path.home()), replace=replace)
    what = "written" if written else "was there already, unchanged"
    _say(format, {"file": str(file), "written": written}, f"{file} {what}", autostart.start_commands(by, name, file))


@app.command()
def show(name: NameOption = "trainer", settings: SetOption = None, keeper: KeeperOption = None) -> None:
    """Print what `install` would write, and change nothing."""
    with reporting(Format.TEXT):
        by, program = _keeper(keeper), _program(name, settings or [])
        typer.echo(autostart.text(by, program, Path.home()).decode(), nl=False)


@app.command()
def remove(
    name: NameOption = "trainer",
    keeper: KeeperOption = None,
    replace: ReplaceOption = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Remove the unit, and say how to stop what runs. What the trainer has kept stays."""
    with reporting(format):
        by = _keeper(keeper)
        file = _file(by, name)
        autostart.remove(file, replace=replace)
    _say(format, {"file": str(file), "removed": True}, f"{file} removed", autostart.stop_commands(by, name))


def _keeper(named: Keeper | None) -> Keeper:
    return named or (Keeper.LAUNCHD if sys.platform == "darwin" else Keeper.SYSTEMD)


def _file(keeper: Keeper, name: str) -> Path:
    return autostart.path(keeper, name, Path.home(), os.environ.get("XDG_CONFIG_HOME", ""))


def _program(name: str, settings: list[str]) -> Program:
    """It runs in the present folder, so that relative paths mean what they mean here."""
    given: dict[str, str] = {}
    for one in settings:
        field, equals, value = one.partition("=")
        field = field.upper().removeprefix(PREFIX)
        if not equals or not field.isidentifier() or field in given:
            raise InvalidConfig(f"--set takes NAME=VALUE, each NAME once, not {shown(one)}")
        given[field] = value
    taken_over = {
        variable.removeprefix(PREFIX): text for variable, text in os.environ.items() if variable.startswith(PREFIX)
    }
    return Program(
        name=name,
        description="LinkLearner trainer: trains shared models on this machine's data while nobody needs it",
        arguments=(sys.executable, "-m", "services.trainer"),
        folder=Path.cwd(),
        environment={
            "PYTHONPATH": str(checkout()),
            "PYTHONUNBUFFERED": "1",
            **{PREFIX + field: value for field, value in (POLITE | taken_over | given).items()},
        },
        nice=PROGRAM_NICE,
    )


def _check(program: Program) -> None:
    """Raises InvalidConfig for settings that a trainer refuses: the unit would fail where nobody looks; TimedOut if it does not say."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    try:
        done = subprocess.run(
            [*program.arguments, "--check"],
            cwd=program.folder,
            env={**rest, **program.environment},
            capture_output=True,
            text=True,
            timeout=CHECK_S,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"the trainer did not say within {CHECK_S:g} s whether its settings hold: nothing was written"
        ) from None
    if done.returncode:
        raise InvalidConfig(
            done.stderr.strip().rpartition("\n")[2].removeprefix("trainer: ") or "the trainer does not start"
        )


def _say(format: Format, facts: dict[str, Any], sentence: str, commands: tuple[str, ...]) -> None:
    if format is Format.JSON:
        write_json({**facts, "next": list(commands)}, indent=2)
        return
    typer.echo("\n".join([sentence, "next:", *(f"  {command}" for command in commands)]))
