"""Samples out of a Python function of the contributor's own: of the file that this machine's own settings name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig
from services.trainer.data import named
from services.trainer.data.samples import ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source
from services.trainer.own_file import running

FUNCTION: Final = "data"
SHAPES: Final = (
    "(x, y), (x, y, x_test, y_test), ((x, y), (x_test, y_test)) or a dict of arrays by name; x may be a dict of inputs"
)


def read(path: Path, options: Options) -> Found:
    """What FUNCTION of the file gives. Raises InvalidConfig for what it raises and for another answer than SHAPES."""
    name = options.get("function", FUNCTION)
    with running(path) as said:
        if name not in said:
            raise InvalidConfig(f"{path} defines no function {name}(): add one that returns {SHAPES}")
        given = said[name]
        answer = given() if callable(given) else given
    return samples_of(answer, f"{name}() of {path}")


def samples_of(answer: Any, what: str) -> Found:
    """The samples in what such a function returned. what: the function, for messages. Raises as `read`."""
    if isinstance(answer, Mapping):
        given = {str(name): _array(values, what) for name, values in answer.items() if _is_array(values)}
        return named.samples(given, named.roles(given, what), given, what)
    if not isinstance(answer, tuple | list) or len(answer) not in (2, 4):
        raise InvalidConfig(f"{what} must return {SHAPES}, not {type(answer).__name__:.60}")
    if len(answer) == 4:
        return named.together(_pair(answer[:2], what), _pair(answer[2:], f"{what} (test set)"), what)
    if all(isinstance(half, tuple) and len(half) == 2 for half in answer) and _is_array(answer[0][0]):
        return named.together(_pair(answer[0], what), _pair(answer[1], f"{what} (test set)"), what)
    return _pair(answer, what), None


def _is_array(values: Any) -> bool:
    """A dict of arrays, like scikit-learn's, holds texts about them, too."""
    return isinstance(values, list | tuple | np.ndarray | Mapping) or hasattr(values, "__array__")


def _pair(pair: Any, what: str) -> Samples:
    x, y = pair
    inputs = x if isinstance(x, Mapping) else {ONE_ARRAY: x}
    return Samples.of({str(name): _array(values, what) for name, values in inputs.items()}, _array(y, what), what)


def _array(values: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; a tensor with a gradient, or elsewhere
        said = " ".join(str(error).split())[:200]
        raise InvalidConfig(
            f"{what} returns what is no array ({said}): pad rows to one length, detach tensors"
        ) from error


PYTHON = Source(
    read=read,
    place="FILE.py",
    about=f"what the function `{FUNCTION}()` of a Python file of yours returns: {SHAPES}. Arrays, lists or tensors; the file that made a "
    "task (`linklearner task create`) has one. The file is run by the trainer, as you, and only because your own settings name it.",
    example="python:mine.py",
    options={"function": f"Another function than `{FUNCTION}`."},
)
