"""A Python file of the user's own, run in this process: the one that makes a task, and the one that brings samples.

This runs a program: the file that whoever started this process named, as that user, and nothing that comes by the chain or by the wire.
What goes wrong in it is shown as its author's: file, line and error.
"""

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

from linklearner.domain.errors import InvalidConfig, LinkLearnerError

MODULE: Final = "linklearner_own_file"
"""What the file is called while it runs: `if __name__ == "__main__":` does not hold in it."""
MOST_SHOWN: Final = 300
"""Characters of an error."""


@contextmanager
def running(path: Path) -> Iterator[Mapping[str, Any]]:
    """What the file defines, after running it. What is called of it belongs into the block: its imports find what lies beside it, as if it
    had been started itself. What it prints goes to standard error: the other one may be a program's.

    Raises InvalidConfig for what is no Python file and, with the line, for whatever the file raises, exit included; the cause stays.
    """
    if not path.is_file():
        raise InvalidConfig(f"{path} is no file: name a Python file")
    file = path.absolute()
    spec = importlib.util.spec_from_file_location(MODULE, file)
    if spec is None or spec.loader is None:
        raise InvalidConfig(f"{path} is no Python file: its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[MODULE] = module  # dataclasses look their module up
    try:
        with blamed(file), redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
            yield vars(module)
    finally:
        sys.modules.pop(MODULE, None)
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def blamed(file: Path) -> Iterator[None]:
    """Whatever is raised over what the file gives is its author's, as InvalidConfig: it may be of any kind."""
    try:
        yield
    except LinkLearnerError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidConfig(_blamed(file, error)) from error


def _blamed(file: Path, error: BaseException) -> str:
    """The error with the innermost line of the file."""
    where = ""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        where = f" at line {error.lineno}"
    elif own := [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]:
        where = f" at line {own[-1].lineno} ({own[-1].line!s:.80})"
    said = " ".join(str(error).split())[:MOST_SHOWN]
    return f"{file} failed{where}: {type(error).__name__}{': ' if said else ''}{said}"
