"""`infer`: ask a model server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from linklearner import arrays
from linklearner.cli.arguments import host_port, number
from linklearner.cli.calls import FormatOption, account_of, run, service_address
from linklearner.cli.far_side import wrong_service
from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import InvalidConfig, InvalidInput
from linklearner.domain.notation import UINT64, shown
from linklearner.output import Format, show
from linklearner.suite import Suite, home

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--model-server",
        parser=host_port("--model-server"),
        help="host:port of a model server",
        envvar="LINKLEARNER_MODEL_SERVER",
    ),
]


def infer(
    inputs: Annotated[
        Path,
        typer.Argument(
            help="one row a question, as measured (digits: 64 pixels from 0 to 16; `task show` states the range): .npy of (B, n) numbers, "
            "or .csv; either also as .gz; - reads csv"
        ),
    ],
    key_file: Annotated[
        Path | None, typer.Option(help="key of an address with $LL locked; left out: ask without a session")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="password of an encrypted key file")] = None,
    model_name: Annotated[str, typer.Option("--model")] = "digits",
    format: FormatOption = Format.TEXT,
    server: ServerOption = None,
    allow_range: Annotated[
        bool,
        typer.Option(
            "--allow-range", help="ask even about numbers far outside of the range that the task was made for"
        ),
    ] = False,
    chain_id: Annotated[
        int | None,
        typer.Option(
            parser=number("--chain-id", 1, UINT64),
            help="sign in on this chain only; left out: the suite's, at the suite's server",
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="host:port by which the server knows itself, if a tunnel leads to it")
    ] = None,
) -> None:
    """Ask the model server; each answer names the weights that gave it.

    Inputs are unscaled, in the range that the task was made for: 0 to 16 for the pixels of the digits, and for every task as
    `linklearner task show` and the server (SessionService.GetTerms) state it. A row that lies further outside than the range is wide is
    refused, since its label would mean nothing.
    """

    async def work() -> list[dict[str, Any]]:
        if not model_name.isprintable():  # bytes that are no UTF-8, too: gRPC cannot send them
            raise InvalidInput(f"--model {shown(model_name)} is no model's name")
        values = arrays.inputs(inputs)
        caller = account_of(key_file, password_file)
        where = service_address(server, "model_server")
        chain = chain_id or _chain_at(where)
        async with (
            wrong_service(where, "a model server"),
            InferenceClient(where, caller, chain_id=chain, domain=domain) as client,
        ):
            answer = await client.infer(model_name, values, allow_range=allow_range)
        provenance = {"version": answer.version, "digest": "0x" + answer.digest.hex()}
        if answer.labels is None:  # no classifier: the model's first output as it is
            return [{"row": row, "answer": values.tolist()} | provenance for row, values in enumerate(answer.values)]
        return [
            {"row": row, "label": int(label), "logit": float(answer.values[row, label])} | provenance
            for row, label in enumerate(answer.labels)
        ]

    show(format, run(work(), format))


def _chain_at(server: str) -> int | None:
    """The chain of the suite here, if the server is the suite's."""
    try:
        suite = Suite.read(home())
    except InvalidConfig:
        return None
    return suite.chain_id if suite.model_server == server else None
