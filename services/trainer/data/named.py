"""The names that people give their arrays: which one is the input, which one the label, which ones are held out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig
from services.trainer.data.samples import Samples
from services.trainer.data.source import Found

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Names:
    """Capital letters make no difference. The test names are empty where nobody has any."""

    x: str
    y: str
    x_test: str
    y_test: str
    whose: str


NAMES: Final = (
    Names("x", "y", "x_test", "y_test", "ours, and `numpy.savez(file, x=x, y=y)`"),
    Names("x_train", "y_train", "x_test", "y_test", "Keras (`mnist.npz`, `boston_housing.npz` …)"),
    Names("train_images", "train_labels", "test_images", "test_labels", "MedMNIST"),
    Names("data", "target", "data_test", "target_test", "scikit-learn"),
    Names("images", "target", "", "", "scikit-learn, images alone"),
    Names("images", "labels", "images_test", "labels_test", "many"),
    Names("data", "labels", "data_test", "labels_test", "many"),
    Names("features", "labels", "features_test", "labels_test", "many"),
    Names("inputs", "targets", "inputs_test", "targets_test", "many"),
    Names("arr_0", "arr_1", "", "", "`numpy.savez(file, x, y)`"),
)
"""The first row whose x and y are there is taken."""

ANY_NAMES: Final = (("y", "y_test", "", "_test"), ("y_train", "y_test", "_train", "_test"))
"""Of several inputs: the names of y and of its held-out part, and what ends the names of the inputs and of their held-out parts."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which array is what; x and x_test: name of the input → name of the array. y_test is empty if nothing is held out."""

    x: Mapping[str, str]
    y: str
    x_test: Mapping[str, str]
    y_test: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arrays that have one."""
        return (*self.x.values(), self.y, *self.x_test.values(), *((self.y_test,) if self.y_test else ()))


def roles(names: Collection[str], what: object) -> Roles:
    """Raises InvalidConfig for names of which no row of NAMES is there, or half of a held-out pair."""
    found = _known(names) or _several_inputs(names)
    if found is None:
        listed = "; ".join(f"{row.x} and {row.y}" for row in NAMES)
        raise InvalidConfig(
            f"{what} must hold x and y (and x_test with y_test, if any), not {sorted(names)!s:.200}: rename the arrays. Understood are "
            f"{listed}; or y with inputs under the names that the task gives them"
        )
    for held_out, pair in ((found.y_test, found.x_test.values()), (found.y, found.x.values())):
        missing = [name for name in (held_out, *pair) if name and name not in names]
        if missing:
            raise InvalidConfig(
                f"{what} must hold x and y of its test set, too: {missing[0]} is missing, or leave the other out"
            )
    return found


def _known(names: Collection[str]) -> Roles | None:
    lower = {name.lower(): name for name in names}
    if len(lower) < len(names):  # x and X: only their exact names tell them apart
        lower = {name: name for name in names}
    if "arr_2" in lower:
        return None  # x, y, x_test, y_test or x, x_test, y, y_test?
    for row in NAMES:
        if row.x in lower and row.y in lower:
            has_test = bool(row.x_test) and (row.x_test in lower or row.y_test in lower)
            test = {"x": lower.get(row.x_test, row.x_test)} if has_test else {}
            return Roles({"x": lower[row.x]}, lower[row.y], test, lower.get(row.y_test, row.y_test) if has_test else "")
    return None


def _several_inputs(names: Collection[str]) -> Roles | None:
    for y, y_test, end, end_test in ANY_NAMES:
        if y not in names:
            continue
        x = {
            name.removesuffix(end): name
            for name in sorted(names)
            if name.endswith(end) and name not in (y, y_test) and not name.endswith((end_test, "_val", "_valid"))
        }
        if x:
            has_test = y_test in names
            return Roles(x, y, {name: name + end_test for name in x} if has_test else {}, y_test if has_test else "")
    return None


def samples(arrays: Mapping[str, NDArray[Any]], found: Roles, every: Collection[str], what: object) -> Found:
    """The arrays in their roles. every: the names of all that are there; those without a role are named in the log."""
    aside = sorted(set(every) - set(found.names))
    if aside:
        log.info("arrays_left_aside", source=str(what)[:200], arrays=aside)
    learn = Samples.of({name: arrays[array] for name, array in found.x.items()}, arrays[found.y], what)
    if not found.y_test:
        return learn, None
    held_out = {name: arrays[array] for name, array in found.x_test.items()}
    return together(learn, Samples.of(held_out, arrays[found.y_test], what), what)


def together(learn: Samples, held_out: Samples, what: object) -> Found:
    """Both with labels of the same names. Raises InvalidConfig if one has names or targets and the other has not."""
    if bool(learn.names) != bool(held_out.names) or learn.labelled != held_out.labelled:
        raise InvalidConfig(
            f"{what}: y of the test set is of another kind than y: write both alike, as text or as numbers"
        )
    if learn.names == held_out.names:
        return learn, held_out
    names = tuple(sorted({*learn.names, *held_out.names}))
    return learn.renamed(names), held_out.renamed(names)
