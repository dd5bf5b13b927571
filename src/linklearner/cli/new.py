"""`new`: a task's Python file to start from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from linklearner.cli.calls import FormatOption
from linklearner.cli.checkout import checkout
from linklearner.domain.errors import InvalidConfig
from linklearner.output import Format, reporting, show


class Kind(StrEnum):
    """The examples in `examples/tasks`, each of which runs as it is."""

    CNN = "cnn"
    MLP = "mlp"
    TEXT = "text"
    REGRESSION = "regression"
    LORA = "lora"


def new(
    file: Annotated[Path, typer.Argument(help="the Python file to write")] = Path("my_task.py"),
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind",
            help="cnn, mlp: images; text: an embedding and a transformer layer; regression: numbers; lora: adapters on a frozen base",
        ),
    ] = Kind.CNN,
    format: FormatOption = Format.TEXT,
) -> None:
    """Write a task of your own to start from: a torch module and its data, in 40 lines or fewer. Needs no network and no chain."""
    with reporting(format):
        text = (checkout() / "examples" / "tasks" / f"{kind}.py").read_text()
        try:
            with file.open("x") as opened:
                opened.write(text)
        except FileExistsError:
            raise InvalidConfig(f"{file} is there already: name another file") from None
        except OSError as error:
            raise InvalidConfig(f"cannot write {file}: {error.strerror or error}") from error
    show(
        format,
        {
            "file": str(file),
            "next": f"edit it, then `linklearner task plan {file}` to look at what becomes of it, and `linklearner task create {file}` to "
            "open it on a chain",
        },
    )
