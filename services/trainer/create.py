"""A task out of a Python file of one's own: `python -m services.trainer.create my_task.py --out FOLDER`.

`linklearner task create` and `task plan` run it. The file is run: it is the creator's own. It says

    model     a torch.nn.Module, or a function that makes one; parameters that require no gradient are frozen
    data      a function that gives (inputs, targets), as a trainer's data source `python:` takes it; inputs may be a dict by the names
              of forward's arguments
    name      text; loss "cross-entropy", "binary-cross-entropy" or "mean-squared-error"; labels; ranges {input: (low, high)};
              learning_rate, steps and batch_size, which are advice; terms {…} of the pool: all of them may be left out

and what comes of it is written into FOLDER: plan.json, weights.npy, and the file of frozen tensors if there are any. Nobody else ever
runs the file: what they get is the graph.
"""

import argparse
import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from linklearner.domain.errors import InvalidConfig, LinkLearnerError
from linklearner.domain.fixedpoint import dequantise_weights, quantise_weights
from linklearner.domain.model import ADVICE, MAX_LABELS, Loss, ModelSpec
from linklearner.domain.plan import TaskPlan
from linklearner.domain.shape import Shape
from linklearner.domain.sizing import shape_for
from linklearner.storage import write_atomically
from services.trainer.data.function import samples_of
from services.trainer.data.samples import ONE_ARRAY, Samples
from services.trainer.data.source import Found
from services.trainer.own_file import blamed, running

SEED = 0
PLAN, WEIGHTS = "plan.json", "weights.npy"


@dataclass(frozen=True, slots=True)
class Created:
    """What was made. difference: of answers, between module, executor and ONNX. rounded: the same, of what int16 weights change."""

    plan: TaskPlan
    frozen: Mapping[str, NDArray[np.float32]]
    difference: float
    rounded: float
    found: Found
    """The samples that the file's own data function gave."""


def created(path: Path) -> Created:
    """Raises InvalidConfig, InvalidInput and InvalidModel, which say what of the file to change."""
    import torch

    from services.trainer import training
    from services.trainer.export import export, input_names

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    with running(path) as said:
        made = _called(path, said, "model")
        if not isinstance(made, torch.nn.Module):
            raise InvalidConfig(
                f"{path}: model is a torch.nn.Module, or a function that makes one, not {type(made).__name__}"
            )
        for parameter, values in made.named_parameters():
            if not torch.isfinite(values).all():
                raise InvalidConfig(
                    f"{path}: parameter {parameter!r:.60} of model holds NaN or infinity: a task begins with numbers"
                )
        given = _called(path, said, "data")
    with blamed(path):
        loss, name = _loss(path, said), str(said.get("name", path.stem))
        names = input_names(made)
        found = samples_of(given, f"data of {path}")
        inputs = _inputs(path, found[0], names)
        labels = _labels(path, said, loss, found[0])
        ranges = _ranges(path, said, names)
        advice = {key: float(said[key]) for key in ADVICE if key in said}
        terms = json.loads(json.dumps(said.get("terms", {}), allow_nan=False))
    exported = export(
        made,
        inputs,
        name=name,
        loss=loss,
        labels=labels,
        ranges=ranges,
        file_digest=lambda tensors: hashlib.sha256(frozen_bytes(tensors)).digest(),
    )
    model = ModelSpec(exported.spec.name, exported.spec.graph, loss, labels, advice)
    shape = shape_for(model, exported.weights)
    plan = TaskPlan.from_json(json.dumps(_settings(model, shape, terms)), lambda _: exported.weights)
    some = {one.name: inputs[one.name][:256].astype(one.datatype.dtype) for one in model.inputs}
    kept = dequantise_weights(quantise_weights(exported.weights, shape), shape)
    before, after = (training.answers(model, weights, some, exported.frozen) for weights in (exported.weights, kept))
    rounded = float(np.abs(before - after).max(initial=0.0))
    return Created(plan, exported.frozen, exported.difference, rounded, found)


def written(made: Created, folder: Path) -> dict[str, str]:
    """Writes the files into `folder`, made if absent; the frozen one first, the plan last. Returns their names by what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    if made.frozen:
        content = frozen_bytes(made.frozen)
        files["frozen"] = f"{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        write_atomically(folder / files["frozen"], content)
    weights = made.plan.weights
    assert weights is not None
    files["weights"], files["plan"] = WEIGHTS, PLAN
    write_atomically(folder / WEIGHTS, _npy(weights))
    settings = _settings(made.plan.model, made.plan.shape, {}) | {"terms": _terms(made.plan)}
    write_atomically(folder / PLAN, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode())
    return files


def frozen_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The safetensors file; the same tensors give the same bytes."""
    return save({name: np.ascontiguousarray(values) for name, values in sorted(tensors.items())})


def _settings(model: ModelSpec, shape: Shape, terms: Any) -> dict[str, Any]:
    return {
        "model": json.loads(model.to_json()),
        "exponents": [tensor.exponent for tensor in shape.tensors],
        "page_length": shape.page_length,
        "group_pages": shape.group_pages,
        "norm_bound": shape.norm_bound,
        "weights": WEIGHTS,
        "terms": terms,
    }


def _terms(plan: TaskPlan) -> dict[str, Any]:
    return {name: getattr(plan.terms, name) for name in plan.terms.__dataclass_fields__ if name != "rule"}


def _npy(array: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _called(path: Path, said: Mapping[str, Any], name: str) -> Any:
    """What the file calls so; a function of it (not a module) is called."""
    if name not in said:
        raise InvalidConfig(f"{path} defines no {name!r}: a task needs model and data")
    value = said[name]
    if isinstance(value, type) or (callable(value) and not hasattr(value, "parameters")):
        return value()
    return value


def _loss(path: Path, said: Mapping[str, Any]) -> Loss:
    try:
        return Loss(said.get("loss", Loss.CROSS_ENTROPY))
    except ValueError:
        raise InvalidConfig(f"{path}: loss is one of {', '.join(Loss)}, not {said['loss']!r:.40}") from None


def _inputs(path: Path, samples: Samples, names: list[str]) -> dict[str, NDArray[Any]]:
    """By the names of forward's arguments, in their order."""
    given = samples.inputs
    if len(names) == 1 and list(given) == [ONE_ARRAY]:
        return {names[0]: given[ONE_ARRAY]}
    if sorted(given) != sorted(names):
        raise InvalidConfig(
            f"{path}: forward takes {names}, data gives {sorted(given)}: give the inputs as a dict by the names of forward's arguments"
        )
    return {name: given[name] for name in names}


def _labels(path: Path, said: Mapping[str, Any], loss: Loss, samples: Samples) -> tuple[str, ...]:
    if "labels" in said:
        return tuple(map(str, said["labels"]))
    if loss is not Loss.CROSS_ENTROPY:
        return ()
    if not samples.labelled:
        raise InvalidConfig(
            f"{path}: targets of cross-entropy are labels that count from 0, one integer a sample, not numbers {samples.y.shape}"
        )
    most = int(samples.y.max())
    if most >= MAX_LABELS:
        raise InvalidConfig(
            f"{path}: a model has labels 0 to {MAX_LABELS - 1} at most, the targets go to {most}: number them anew"
        )
    return samples.names or tuple(map(str, range(most + 1)))


def _ranges(path: Path, said: Mapping[str, Any], names: list[str]) -> dict[str, tuple[float, float]]:
    given = said.get("ranges", {})
    if isinstance(given, tuple) and len(names) == 1:
        given = {names[0]: given}
    if not isinstance(given, Mapping) or not set(given) <= set(names):
        raise InvalidConfig(f"{path}: ranges are (low, high) by the names of inputs, {names}, not {given!r:.60}")
    return {name: (float(low), float(high)) for name, (low, high) in given.items()}


def main(answer: TextIO) -> int:
    """answer: where the one document is written, and nothing of what the file prints."""
    parser = argparse.ArgumentParser(
        prog="services.trainer.create", description="Make a task's plan out of a Python file."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        made = created(options.file)
        files = written(made, options.out)
    except LinkLearnerError as error:
        print(json.dumps({"error": error.message, "reason": error.reason}), file=answer, flush=True)
        return 1
    except OSError as error:
        why = f"cannot write into {options.out}: {error.strerror or error}"
        print(json.dumps({"error": why, "reason": "OSError"}), file=answer, flush=True)
        return 1
    spec, shape = made.plan.model, made.plan.shape
    print(
        json.dumps(
            {
                "name": spec.name,
                "loss": spec.loss,
                "graph": str(spec.graph),
                "weights": shape.weight_count,
                "tensors": len(shape.tensors),
                "frozen_numbers": sum(one.length for one in spec.graph.frozen),
                "description_bytes": len(spec.to_json().encode()),
                "exponents": sorted({tensor.exponent for tensor in shape.tensors}),
                "pages": shape.page_count,
                "groups": shape.group_count,
                "samples": len(made.found[0]),
                "difference": made.difference,
                "rounded": made.rounded,
                "files": files,
            },
            allow_nan=False,
        ),
        file=answer,
        flush=True,
    )
    return 0


if __name__ == "__main__":
    # the file may print, from C or at its end, too: all of that goes where people read
    with os.fdopen(os.dup(1), "w") as only_us:
        os.dup2(2, 1)
        sys.exit(main(only_us))
