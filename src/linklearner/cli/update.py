"""`update inspect`: byte by byte, what leaves a contributor's machine."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from linklearner.chain.contracts import Submit, decode_call
from linklearner.chain.history import History
from linklearner.cli.arguments import url
from linklearner.cli.calls import CredentialOption, FormatOption, GatewayOption, credential_for, run, service_address
from linklearner.cli.far_side import wrong_service
from linklearner.cli.training import TrainerOption, privacy_in_words
from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.anatomy import Anatomy, Part, anatomy, task_of
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import address, shown
from linklearner.domain.tasks import Task
from linklearner.domain.training import PrivacySpent
from linklearner.domain.update import join
from linklearner.output import Format, Shown, console, show
from linklearner.suite import Suite, home

app = typer.Typer(help="Look at updates.", no_args_is_help=True)

TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
MOST_FILE_BYTES = 1 << 28
"""No update has as many: 2^28 weights at most."""
SHOWN_BYTES = 12
UNSEEN = (
    "Not in these bytes: samples, labels, how many there are, losses, how long it took, and where the trainer runs. The transaction "
    "around them names the account that signed it, and its block the time."
)
INFERRED = (
    "What the bytes may still tell of samples is what any gradient tells: whoever has the model and a guess can test the guess against "
    "the update (`python -m bench.privacy` does). Differential privacy (LINKLEARNER_TRAINER_DP) bounds that by epsilon."
)


@app.command("inspect")
def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TX|last",
            help="an update's bytes in a file, a submission's 0x hash, or the trainer's last one",
        ),
    ],
    format: FormatOption = Format.TEXT,
    gateway_address: GatewayOption = None,
    trainer_address: TrainerOption = None,
    credential: CredentialOption = None,
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", parser=url("--rpc"), help="JSON-RPC URL of the chain of TX", envvar="LINKLEARNER_RPC"),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="write the update's bytes to this file")] = None,
) -> None:
    """Show byte by byte what leaves a contributor's machine: an update in a file, in a transaction, or a trainer's last one."""

    async def work() -> tuple[bytes, Task, Anatomy, PrivacySpent | None]:
        encoded, privacy = await _update(what, trainer_address, credential, rpc)
        where = service_address(gateway_address, "gateway")
        async with (
            wrong_service(where, "a chain gateway"),
            GatewayClient.connect(where, credential_for(where, credential)) as gateway,
        ):
            task = await gateway.task(task_of(encoded))
        names = [tensor.name for tensor in task.spec.tensors()]
        if save is not None:
            save.write_bytes(encoded)
        return encoded, task, anatomy(encoded, task.shape, names), privacy

    encoded, task, found, privacy = run(work(), format)
    if format is Format.JSON:
        show(format, _document(encoded, found, privacy))
    else:
        _print(encoded, task, found, privacy)


async def _update(
    what: str, trainer: str | None, credential: Path | None, rpc: str | None
) -> tuple[bytes, PrivacySpent | None]:
    """The bytes, and what is spent where the trainer itself is asked. Raises InvalidConfig, NotFound, InvalidInput, Unavailable."""
    if what == "last":
        where = service_address(trainer, "trainers")
        async with (
            wrong_service(where, "a trainer"),
            TrainerClient.connect(where, credential_for(where, credential)) as client,
        ):
            return await client.last_update(), (await client.status()).privacy
    if TRANSACTION.fullmatch(what):
        suite_rpc, pool = _chain(rpc)
        async with History(suite_rpc, pool, 0) as history:
            calldata = await history.calldata(bytes.fromhex(what[2:]))
        try:
            call = decode_call(Submit, calldata)
        except InvalidInput as error:
            raise InvalidInput(f"transaction {what} submits no update: {error.message}", reason="NoUpdate") from error
        return join(call.header, call.groups), None
    path = Path(what)
    if not path.is_file():
        raise InvalidConfig(
            f"{shown(what)} is neither a file, nor a transaction (0x and 64 hex digits), nor `last`",
            facts={"argument": "what"},
        )
    if path.stat().st_size > MOST_FILE_BYTES:
        raise InvalidInput(f"{shown(what)} has {path.stat().st_size:,} bytes, more than any update")
    return path.read_bytes(), None


def _chain(rpc: str | None) -> tuple[str, bytes]:
    """A node's URL, and the pool where a suite says it; which pool does not matter for one transaction."""
    if rpc is not None:
        return rpc, bytes(20)
    suite = Suite.read(home())
    return suite.rpc_url, address(suite.pool)


def _document(encoded: bytes, found: Anatomy, privacy: PrivacySpent | None) -> dict[str, Any]:
    update = found.update
    return {
        "bytes": len(encoded),
        "digest": "0x" + found.digest.hex(),
        "task": update.task,
        "base_version": update.base_version,
        "encoding": update.encoding.name,
        "pages": [page for page, _ in update.pages],
        "bits_per_weight": found.bits,
        "norm": found.norm,
        "values": {str(value): count for value, count in found.values},
        "tensors": [asdict(tensor) for tensor in found.tensors],
        "parts": [
            {
                "offset": part.offset,
                "length": len(part.data),
                "name": part.name,
                "meaning": part.meaning,
                "hex": part.data.hex(),
            }
            for part in found.parts
        ],
        "privacy": None if privacy is None else asdict(privacy),
        "not_in_it": UNSEEN,
        "may_be_inferred": INFERRED,
    }


def _print(encoded: bytes, task: Task, found: Anatomy, privacy: PrivacySpent | None) -> None:
    sent = sum(tensor.sent for tensor in found.tensors)
    show(
        Format.TEXT,
        {
            "update": f"{len(encoded):,} bytes for task {found.update.task} ({task.spec.name}), made from version "
            f"{found.update.base_version}",
            "digest": "0x" + found.digest.hex(),
            "weights": f"{sent:,} of {task.shape.weight_count:,} travel, {found.bits:.2f} bits each; {len(found.update.pages)} of "
            f"{task.shape.page_count} pages",
            "length": f"{found.norm:.4g} in real units (the norm of the whole delta)",
            "privacy": privacy_in_words(privacy)
            if privacy
            else "not known from the bytes; ask the trainer (`update inspect last`)",
        },
    )
    out = console(Format.TEXT)
    out.print("\n[bold]Every byte[/bold]")
    show(
        Format.TEXT,
        [
            {
                "offset": Shown(part.offset, str(part.offset)),
                "bytes": len(part.data),
                "what": part.name,
                "hex": _hex(part),
                "meaning": part.meaning,
            }
            for part in found.parts
        ],
    )
    out.print("\n[bold]What it adds to the weights[/bold]")
    show(
        Format.TEXT,
        [
            {
                "tensor": tensor.name,
                "weights": tensor.length,
                "travel": tensor.sent,
                "one_step": Shown(tensor.step, f"{tensor.step:g}"),
                "length": tensor.norm,
            }
            for tensor in found.tensors
        ],
    )
    out.print("\n[bold]How often each value occurs[/bold]")
    most = max((count for _, count in found.values), default=1)
    for low, high, count in _bins(found.values):
        label = str(low) if low == high else f"{low} to {high}"
        out.print(
            f"{label:>13}  {count:>9,}  " + "▇" * max(1, round(40 * count / max(most, count)))
            if count
            else f"{label:>13}  {0:>9}"
        )
    out.print(f"\n{UNSEEN}\n{INFERRED}", soft_wrap=True)


def _hex(part: Part) -> str:
    return part.data[:SHOWN_BYTES].hex(" ") + (" …" if len(part.data) > SHOWN_BYTES else "")


def _bins(values: tuple[tuple[int, int], ...], most: int = 16) -> list[tuple[int, int, int]]:
    """(low, high, count): each value, or runs of 16 where there are many."""
    if len(values) <= most:
        return [(value, value, count) for value, count in values]
    runs: dict[int, int] = {}
    for value, count in values:
        runs[value // 16] = runs.get(value // 16, 0) + count
    return [(16 * run, 16 * run + 15, count) for run, count in sorted(runs.items())]
