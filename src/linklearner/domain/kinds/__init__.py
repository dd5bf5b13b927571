"""The kinds of model that a description may name: a new one is one file here and one row of KINDS.

A kind says which fields its description has, which tensors it trains, and which nodes turn the (scaled) input into the output. What is
common to all kinds (name, input, labels) is `linklearner.domain.model`'s; what executes the nodes knows no kind.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol, Self

from linklearner.domain.graph import Node, TensorSpec
from linklearner.domain.kinds.cnn import Cnn
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.operators import Dimensions


class Architecture(Protocol):
    """A value of a frozen dataclass whose constructor raises InvalidModel."""

    KIND: ClassVar[str]
    """The description's `kind`."""
    FIELDS: ClassVar[frozenset[str]]
    """The description's keys that are this kind's."""

    @property
    def input_dimensions(self) -> Dimensions:
        """Of one sample."""

    @property
    def output_dimensions(self) -> Dimensions:
        """Of one sample's answer."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """fields: JSON values of FIELDS, of any type. Raises InvalidModel for what this program would not run exactly as written."""

    def parameters(self) -> tuple[TensorSpec, ...]:
        """The trainable tensors, in the order of the flat vector; those of two dimensions or more have the output's dimension first."""

    def nodes(self, source: str, result: str) -> tuple[Node, ...]:
        """From the value named `source` to the one named `result`."""


KINDS: Final[dict[str, type[Architecture]]] = {kind.KIND: kind for kind in (Mlp, Cnn)}
