"""How samples meet a task: which array is which input, in whose element type and dimensions, and what y means to the loss.

Nothing is guessed that could be wrong in silence. What has one meaning only is done (and logged where it moves numbers); what has two is
refused, with what to write instead.
"""

from __future__ import annotations

import re
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput
from linklearner.domain.graph import Signature
from linklearner.domain.inputs import RANGE_MISMATCH, arranged, check_training_data
from linklearner.domain.model import Loss, ModelSpec

if TYPE_CHECKING:
    from services.trainer.data.samples import Samples

MOST_CHANNELS: Final = 4
"""More lengths of the last dimension than this are no channels."""
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Grey out of red, green and blue: ITU-R 601-2, as Pillow's convert("L")."""
BYTES: Final = 255

log = structlog.get_logger()


def inputs(samples: Samples, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """See Samples.inputs_of."""
    wanted = spec.inputs
    found = {}
    for signature in wanted:
        key = (signature, len(wanted) == 1)  # its range, too: another task may know fewer words
        values = samples._fitted.get(key)
        if values is None:
            values = _input(samples, signature, alone=len(wanted) == 1)
            samples._fitted[key] = values
        found[signature.name] = values
    return found


def _input(samples: Samples, signature: Signature, *, alone: bool) -> NDArray[Any]:
    values = _chosen(samples, signature, alone)
    what = "the task's model" if alone else f"input '{signature.name}' of the task's model"
    if samples.pictures:
        values = _in_colours(values, signature.dimensions, what)
    elif _channels_are_last(values.shape[1:], signature.dimensions):
        log.info(
            "channels_moved_first",
            input=signature.name,
            data=list(values.shape[1:]),
            task=list(signature.dimensions),
        )
        values = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    try:
        values = arranged(values, signature.dimensions, what)
    except InvalidInput as error:
        raise InvalidInput(f"{error.message}{_remedy(samples, values.shape[1:], signature.dimensions)}") from None
    return _as_type(values, signature)


def _chosen(samples: Samples, signature: Signature, alone: bool) -> NDArray[Any]:
    """The array of an input: the one of its name; the only one, for a task of one input; columns of its name, of a table."""
    if signature.name in samples.inputs:
        return samples.inputs[signature.name]
    if alone and len(samples.inputs) == 1:
        return next(iter(samples.inputs.values()))
    if samples.columns:
        (table,) = samples.inputs.values()
        place = {name: number for number, name in enumerate(samples.columns)}
        count = prod(signature.dimensions)
        if count == 1 and signature.name in place:
            return table[:, [place[signature.name]]]
        several = (f"{signature.name}{number}" for number in range(min(count, len(place) + 1)))
        places = [place[name] for name in several if name in place]
        if len(places) == count:
            return table[:, places]
        raise InvalidInput(
            f"the task's model takes an input '{signature.name}' of {count} numbers; the table has neither a column of that name nor "
            f"{signature.name}0 to {signature.name}{count - 1}, but {', '.join(samples.columns)!s:.200}: rename its columns"
        )
    raise InvalidInput(
        f"the task's model takes an input '{signature.name}', the data has {', '.join(samples.inputs)!s:.200}: name the array as the task "
        "names its input (linklearner task show)"
    )


def _channels_are_last(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether (…, C) can be nothing but what the task takes as (C, …).

    Few channels, and no other dimension as short: then no other order of the dimensions gives the task's, rows and columns aside.
    """
    return (
        len(given) == len(wanted) >= 3
        and given != wanted
        and given == (*wanted[1:], wanted[0])
        and given[-1] <= MOST_CHANNELS < min(given[:-1])
    )


def _in_colours(values: NDArray[Any], wanted: tuple[int, ...], what: str) -> NDArray[Any]:
    """values: (n, channels, rows, columns) pictures; the same with as many channels as the task takes, if it takes pictures."""
    plane = values.shape[2] * values.shape[3]
    if prod(wanted) % plane or prod(wanted) // plane not in (1, 3, 4):
        return values  # of another size: `arranged` says so
    asked = prod(wanted) // plane
    values = _with_channels(values, asked, what)
    if wanted == (*values.shape[2:], asked) != values.shape[1:]:  # as TensorFlow has them
        values = np.ascontiguousarray(np.moveaxis(values, 1, -1))
    return values


def _with_channels(values: NDArray[Any], asked: int, what: str) -> NDArray[Any]:
    """values: (n, channels, rows, columns). Returns (n, asked, rows, columns). Raises InvalidInput where that loses something."""
    have = values.shape[1]
    if asked == have:
        return values
    if asked == 4:
        raise InvalidInput(f"{what} takes pictures with an alpha channel, these have none: save them as RGBA")
    if have == 4:
        if (values[:, 3] != BYTES).any():
            raise InvalidInput(
                f"{what} takes pictures of {asked} channels, and some of these are transparent: put them on a background first"
            )
        values = values[:, :3]
    log.info("pictures_converted", channels=have, task_channels=asked)
    if asked == 1 and values.shape[1] == 3:
        grey = np.tensordot(values, LUMA, axes=(1, 0))[:, None]
        return np.rint(grey).astype(values.dtype)
    return np.ascontiguousarray(np.broadcast_to(values, (len(values), asked, *values.shape[2:])))


def _remedy(samples: Samples, given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if samples.columns:
        return f". The table's columns are {', '.join(samples.columns)!s:.200}: choose with columns=… or without=…"
    if samples.pictures:
        return ": bring the pictures to that size with a program for pictures, all in the same way"
    if len(given) >= 2 and sorted(given) == sorted(wanted):
        return ": transpose the array (numpy.moveaxis) into the task's order"
    return ""


def _as_type(values: NDArray[Any], signature: Signature) -> NDArray[Any]:
    """The same numbers as the input's element type. Raises InvalidInput for those that it, or the input, does not have."""
    dtype = signature.datatype.dtype
    if dtype.kind != "f" and values.size:
        if values.dtype.kind == "f" and not (values == np.rint(values)).all():
            raise InvalidInput(
                f"input '{signature.name}' of the task's model takes whole numbers ({signature.datatype}), the data has others: "
                "round them, or number the words or categories that they stand for"
            )
        low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        if signature.range is not None:  # of integers, there is no other: an embedding has no row for it
            low, high = max(low, ceil(signature.range[0])), min(high, floor(signature.range[1]))
        least, most = int(values.min()), int(values.max())
        if least < low or most > high:
            raise InvalidInput(
                f"input '{signature.name}' of the task's model takes {signature.datatype} from {low} to {high}, the data lies between "
                f"{least} and {most}: use the task's own numbering of words or categories, or leave these samples out",
                reason=RANGE_MISMATCH,
                facts={"least": least, "most": most, "low": low, "high": high},
            )
    return values if values.dtype == dtype else np.require(values, dtype, ["C", "W"])


def check_range(samples: Samples, spec: ModelSpec) -> None:
    """See Samples.check_range. Of whole numbers, `inputs` has refused all that are outside."""
    found = inputs(samples, spec)
    for signature in spec.inputs:
        values = found[signature.name]
        if values.dtype.kind == "f":
            check_training_data(
                values,
                model=spec.name if len(spec.inputs) == 1 else f"{spec.name} (input {signature.name})",
                input_range=signature.range,
                remedy="set LINKLEARNER_TRAINER_ALLOW_RANGE=true (`linklearner train --allow-range` for one round)",
                scaling=_scaling(values, signature.range),
            )


def _scaling(values: NDArray[Any], span: tuple[float, float] | None) -> str:
    """How to scale: `?scale=` at the source, with the factor where the numbers leave no doubt about it, as pixels do."""
    if span is not None and span[0] == 0 and values.size and values.min() >= 0 and BYTES / 2 < values.max() <= BYTES:
        return f" (at the end of LINKLEARNER_TRAINER_DATA: ?scale={span[1]:g}/{BYTES})"
    return " (at the end of LINKLEARNER_TRAINER_DATA: ?scale=FACTOR)"


def targets(samples: Samples, spec: ModelSpec) -> NDArray[np.int64] | NDArray[np.float32]:
    """See Samples.targets_of."""
    if spec.loss is Loss.CROSS_ENTROPY:
        return _labels(samples, spec)
    wanted = spec.answer.dimensions
    if samples.names:
        raise InvalidInput(
            f"the task learns numbers ({spec.loss}), y is text ({samples.names[0]!r:.40} …): give numbers, or 0 and 1"
        )
    y = samples.y.reshape(len(samples), -1)
    if y.shape[1] != prod(wanted):
        raise InvalidInput(
            f"the task learns {prod(wanted)} numbers of each sample, y has {y.shape[1]}: give y as (n, {prod(wanted)})"
        )
    if spec.loss is Loss.BINARY_CROSS_ENTROPY and y.size and not (y.min() >= 0 and y.max() <= 1):
        raise InvalidInput(
            f"the task learns yes or no, 1 or 0 ({spec.loss}); y lies between {y.min():g} and {y.max():g}: write 0 for no and 1 for yes"
        )
    return np.require(y.reshape(len(samples), *wanted), np.float32, ["C", "W"])


def _labels(samples: Samples, spec: ModelSpec) -> NDArray[np.int64]:
    """(n,) int64: indices into the task's labels."""
    known = spec.labels
    if not samples.labelled:
        raise InvalidInput(_no_labels(samples.y, len(known)))
    if samples.names:
        return _by_name(samples, known)
    y = samples.y.astype(np.int64, copy=False)
    if _called_by_numbers(known):
        place = {int(label): index for index, label in enumerate(known)}
        strangers = sorted(set(np.unique(y).tolist()) - place.keys())
        if strangers:
            raise InvalidInput(
                f"the task's labels are called {', '.join(known)!s:.200}, the data has {strangers[0]}: write the labels by these numbers"
            )
        table = np.zeros(max(place) + 1, dtype=np.int64)
        table[list(place)] = list(place.values())
        return table[y]
    if y.size and y.max() >= len(known):
        remedy = "leave those samples out, or join the task that has these labels"
        if y.max() == len(known) and y.min() >= 1:
            remedy = "these seem to count from 1: subtract 1 from y"
        raise InvalidInput(f"the task has labels 0..{len(known) - 1}, the samples go up to {y.max()}: {remedy}")
    return y


def _called_by_numbers(labels: tuple[str, ...]) -> bool:
    """Whether the task's labels are numbers in text, other than 0, 1, 2 …: then y holds these, and not their places in the list."""
    plain = re.compile(r"0|[1-9][0-9]{0,5}")
    return all(map(plain.fullmatch, labels)) and labels != tuple(map(str, range(len(labels))))


def _by_name(samples: Samples, known: tuple[str, ...]) -> NDArray[np.int64]:
    place = {label: index for index, label in enumerate(known)}
    used = np.unique(samples.y).tolist()
    strangers = [samples.names[index] for index in used if samples.names[index] not in place]
    if strangers:
        raise InvalidInput(
            f"the data has the label {strangers[0]!r:.60}, the task knows {', '.join(known)!s:.200}: rename it, or leave those samples out"
        )
    table = np.array([place.get(name, 0) for name in samples.names], dtype=np.int64)
    return table[samples.y]


def _no_labels(y: NDArray[Any], count: int) -> str:
    """Why the (n, k) numbers are no labels, and what would be."""
    if y.shape[1] > 1:
        if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            return f"the task learns one label of each sample, y is one-hot {list(y.shape)}: give y.argmax(axis=1)"
        return f"the task learns one label of each sample, y has {y.shape[1]} numbers: give one label, 0 to {count - 1}, or a text"
    if y.size and (y != np.rint(y)).any():
        odd = y[y != np.rint(y)][0]
        return f"the task learns labels, whole numbers from 0 to {count - 1} or text, y has {odd:g}: is another column or array meant?"
    if y.size and y.min() < 0:
        hint = ": for -1 and 1 give (y + 1) // 2" if set(np.unique(y).tolist()) == {-1.0, 1.0} else ": number them anew"
        return f"labels count from 0; the smallest here is {y.min():g}{hint}"
    if y.size and y.max() >= count:
        return f"the task has labels 0..{count - 1}, the samples go up to {y.max():g}: number them anew from 0"
    return "the task learns labels, y holds floats: give y.astype(int)"
