"""`up`, `down`, `demo`, `devchain`: programs of the checkout, started and stopped."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from linklearner.cli.arguments import number, url
from linklearner.cli.calls import FormatOption, account_of, run
from linklearner.cli.checkout import checkout, environment
from linklearner.demo.evidence import PEOPLE
from linklearner.demo.evidence import ROUND_S as EVIDENCE_ROUND_S
from linklearner.demo.play import play
from linklearner.demo.start import NAMES, ROUND_S, DemoPlan
from linklearner.domain.encodings import ENCODINGS, TWO_BITS, encoding_named
from linklearner.domain.errors import InvalidConfig, NotFound
from linklearner.domain.notation import UINT32
from linklearner.domain.rules.evidence.rule import EVIDENCE
from linklearner.domain.rules.mean import MEAN
from linklearner.domain.rules.table import rule_named
from linklearner.output import Format, reporting
from linklearner.suite import Suite, home

MAX_CONTRIBUTORS = 64
"""Updates that a round takes."""
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command that hands on what is typed behind it."""

RpcOption = Annotated[
    str | None,
    typer.Option("--rpc", parser=url("--rpc"), help="a chain that is already there; left out: the embedded one"),
]
FundedKeyOption = Annotated[Path | None, typer.Option("--key-file", help="a funded key on that chain; pays all gas")]
FundedPasswordOption = Annotated[Path | None, typer.Option("--password-file", help="its password, if it is encrypted")]
SeedOption = Annotated[
    int,
    typer.Option("--seed", parser=number("--seed", 0, UINT32), help="who gets which samples, and the first weights"),
]


def up(
    contributors: Annotated[int, typer.Option(parser=number("--contributors", 1, MAX_CONTRIBUTORS))] = 5,
    seed: SeedOption = 1,
    rpc: RpcOption = None,
    key_file: FundedKeyOption = None,
    password_file: FundedPasswordOption = None,
) -> None:
    """Start everything here, in one process, and leave it running until Ctrl-C."""
    with reporting(Format.TEXT):
        arguments = [sys.executable, "-m", "services", "--home", str(home().absolute())]
        arguments += ["--contributors", str(contributors), "--seed", str(seed), *_funded(rpc, key_file, password_file)]
        os.chdir(checkout())
        os.execv(sys.executable, arguments)  # home and key file are absolute by now


def down() -> None:
    """Stop the suite that `up` or `demo --keep` left running here."""
    with reporting(Format.TEXT):
        suite = Suite.read(home())
        command = Path(f"/proc/{suite.pid}/cmdline")
        if command.parent.parent.exists() and (not command.exists() or b"services" not in command.read_bytes()):
            raise NotFound(f"process {suite.pid} is not running any more")
        try:
            os.kill(suite.pid, signal.SIGTERM)
        except ProcessLookupError:
            raise NotFound(f"process {suite.pid} is not running any more") from None
    typer.echo(f"asked process {suite.pid} to stop")


def demo(
    rpc: RpcOption = None,
    key_file: FundedKeyOption = None,
    password_file: FundedPasswordOption = None,
    rounds: Annotated[int, typer.Option(parser=number("--rounds", 1, 100))] = 5,
    encoding: Annotated[str, typer.Option(help=" or ".join(one.name for one in ENCODINGS.values()))] = TWO_BITS.name,
    seed: SeedOption = 1,
    rule: Annotated[
        str,
        typer.Option("--rule", help="mean; or evidence: honest people beside a label flipper, a copier and a mimic"),
    ] = MEAN.name,
    keep: Annotated[bool, typer.Option("--keep", help="leave it running and print the addresses")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Five people train one model on a chain, one cheats, and the result answers behind a token."""
    with reporting(format):
        judged = rule_named(rule) is EVIDENCE
        plan = DemoPlan(
            root=checkout(),
            chain=_funded(rpc, key_file, password_file),
            rounds=rounds,
            encoding=encoding_named(encoding),
            seed=seed,
            keep=keep,
            rule=rule_named(rule).name,
            names=PEOPLE if judged else NAMES,
            round_s=EVIDENCE_ROUND_S if judged else ROUND_S,
        )
    run(play(plan, format), format)


def devchain(context: typer.Context) -> None:
    """The embedded chain on its own: a JSON-RPC node that runs Aspects (its own --help)."""
    with reporting(Format.TEXT):
        root = checkout()
    # In place of this process, not as its child: whatever signal ends us ends the chain.
    arguments = [sys.executable, "-m", "devchain", *context.args]
    os.execve(sys.executable, arguments, environment(root))


def _funded(rpc: str | None, key_file: Path | None, password_file: Path | None) -> list[str]:
    """Arguments of `services` for a chain that is already there, its key opened once: whatever is wrong is said before anything starts."""
    if rpc is None:
        if key_file is not None or password_file is not None:
            raise InvalidConfig(
                "--key-file and --password-file are for a chain that is already there: name it with --rpc"
            )
        return []
    if key_file is None:
        raise InvalidConfig("a chain that is already there needs a funded key: name its file with --key-file")
    account_of(key_file, password_file)
    arguments = ["--rpc", rpc, "--key-file", str(key_file.absolute())]
    return arguments if password_file is None else [*arguments, "--password-file", str(password_file.absolute())]
