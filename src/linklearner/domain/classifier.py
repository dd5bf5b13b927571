"""Classifiers that a few words describe: a kind of network (`kinds`), labels, and what one input looks like.

    {"name":"digits","kind":"mlp","layers":[64,32,10],"activation":"relu","input":{"name":"pixels","scale":0.0625,"range":[0,16]},"labels":[…]}

is how people write one in a plan. What the chain keeps is the graph that it stands for.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from linklearner.domain.errors import InvalidModel
from linklearner.domain.fields import demand, exactly, number, several
from linklearner.domain.graph import Constant, Graph, Node, Signature
from linklearner.domain.kinds import KINDS, Architecture
from linklearner.domain.model import LOGITS, Loss, ModelSpec
from linklearner.domain.operators import Datatype

SCALE, SCALED = "input_scale", "scaled"

_COMMON: Final = frozenset({"name", "kind", "input", "labels"})


def classifier(
    name: str,
    architecture: Architecture,
    labels: tuple[str, ...],
    input_name: str = "x",
    input_scale: float = 1.0,
    input_range: tuple[float, float] | None = None,
) -> ModelSpec:
    """Of one input: x * input_scale, then what the architecture makes of it; the last layer gives logits, one a label.

    input_scale: 1/16 for pixels 0..16; rounded to float32. input_range: least and greatest value of an unscaled input that the task was
    made for, None: not said. Raises InvalidModel.
    """
    if not isfinite(input_scale) or not 2.0**-120 <= input_scale <= 2.0**120:
        raise InvalidModel(f"the input scale is a positive number, not {input_scale}")
    graph = Graph(
        inputs=(Signature(input_name, Datatype.FP32, architecture.input_dimensions, input_range),),
        outputs=(Signature(LOGITS, Datatype.FP32, architecture.output_dimensions),),
        parameters=architecture.parameters(),
        constants=(Constant(SCALE, (), (float(Datatype.FP32.dtype.type(input_scale)),)),),
        nodes=(Node("Mul", (input_name, SCALE), SCALED), *architecture.nodes(SCALED, LOGITS)),
    )
    return ModelSpec(name, graph, Loss.CROSS_ENTROPY, labels)


def from_fields(fields: Any) -> ModelSpec:
    """fields: a JSON value of any kind. Raises InvalidModel for what this program would not run exactly as written."""
    demand(fields, dict, "the description")
    demand(fields.get("kind"), str, "kind")
    kind = KINDS.get(fields["kind"])
    if kind is None:
        raise InvalidModel(f"a {fields['kind']!r:.40} is unknown; {', '.join(KINDS)} are known")
    exactly(fields, _COMMON | kind.FIELDS, "the description")
    demand(fields["name"], str, "name")
    demand(fields["input"], dict, "input")
    exactly(fields["input"], {"name", "scale"}, "input", may={"range"})
    demand(fields["input"]["name"], str, "input.name")
    span = fields["input"].get("range")
    if span is not None and (not isinstance(span, list) or len(span) != 2):
        raise InvalidModel("input.range is the least and the greatest input, two numbers")
    return classifier(
        name=fields["name"],
        architecture=kind.from_fields({name: fields[name] for name in kind.FIELDS}),
        labels=several(fields["labels"], str, "labels", "a label"),
        input_name=fields["input"]["name"],
        input_scale=number(fields["input"]["scale"], "input.scale"),
        input_range=None if span is None else (number(span[0], "input.range"), number(span[1], "input.range")),
    )
