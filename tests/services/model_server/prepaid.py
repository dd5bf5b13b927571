"""The admission that docs/recipes/gate.md adds: rows paid for in advance, by a name in the metadata. A test's, not a product's."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated

from prometheus_client import CollectorRegistry, Counter

from linklearner.domain.errors import Exhausted, InvalidInput, Unauthenticated
from linklearner.settings import Between
from services.model_server.admission.admission import (
    Admission,
    AdmissionSettings,
    Grant,
    Guarded,
    InferenceCall,
    Metadata,
)


@dataclass(frozen=True, kw_only=True)
class Prepaid(AdmissionSettings):
    """Its settings."""

    rows_each: Annotated[int, Between(0, 1_000_000)] = 10
    """Rows that every name may ask for."""

    def admission(self, server: Guarded) -> "PrepaidAdmission":
        return PrepaidAdmission(self.rows_each, server.registry)


class PrepaidAdmission(Admission):
    extensions = ("test_prepaid",)
    takes_digest = True

    def __init__(self, rows_each: int, registry: CollectorRegistry) -> None:
        self.left = {"ann": rows_each, "bob": rows_each}
        self.digests: list[bytes] = []
        self.rows = Counter("test_prepaid_rows", "Rows paid for", registry=registry)

    async def enter(self, metadata: Metadata) -> Hashable:
        name = dict(metadata).get("prepaid-name")
        if name not in self.left:
            raise Unauthenticated("say who you are in the metadata `prepaid-name`", reason="NoName")
        return name

    def admit(self, call: InferenceCall) -> Grant:
        self.digests.append(call.digest)
        return PrepaidGrant(self, str(call.party), call.rows)


class PrepaidGrant(Grant):
    def __init__(self, admission: PrepaidAdmission, name: str, rows: int) -> None:
        self._admission = admission
        self._name = name
        self._rows = rows

    async def debit(self) -> None:
        if self._admission.left[self._name] < self._rows:
            raise Exhausted(f"{self._name} has {self._admission.left[self._name]} rows left", reason="NoRowsLeft")
        self._admission.left[self._name] -= self._rows

    async def settle(self) -> None:
        self._admission.rows.inc(self._rows)

    async def release(self, error: BaseException) -> None:
        if not isinstance(error, InvalidInput):  # what was the caller's own fault stays paid for
            self._admission.left[self._name] += self._rows
