"""Everything that LinkLearner itself raises.

LinkLearnerError
├── InvalidInput            the caller's bytes, numbers or settings are wrong; the same call can never succeed
│   ├── InvalidShape, InvalidUpdate, InvalidModel, NotFinite, OutOfRange
│   ├── InvalidConfig       a setting, file or password; raised before anything starts
│   └── RequestIdReused     one request_id, two different contents
├── NotFound                no such task, version, account or model
├── BaseMoved               the weights moved on: pull and train again
├── Refused                 the chain said no; `reason` is the contract's or the Aspect's own name for it
├── Unauthenticated         who are you?
│   └── UntrustedChallenge  asked of a server: its text is not what signing in there takes, and was not signed
├── PermissionDenied        known, but not enough $LL locked
├── Exhausted               too many of something just now
├── Unavailable             a chain or service cannot be reached: retry
├── TimedOut                no receipt in time: repeat with the same request_id
└── DataLoss                bytes that do not give the announced digest, history that does not add up
    └── Divergence          the chain's history says one thing, replaying it another

`linklearner.rpc.status` maps each branch to one gRPC status code.
"""

from collections.abc import Mapping


class LinkLearnerError(Exception):
    """What happened and what to do about it, as a sentence, with the facts as attributes.

    reason: a stable CamelCase name for machines; the class name unless a chain gave its own.
    facts: small values, shown in google.rpc.ErrorInfo.metadata.
    """

    def __init__(self, message: str, *, reason: str | None = None, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__
        self.facts = {key: str(value) for key, value in (facts or {}).items()}


class InvalidInput(LinkLearnerError):
    """Can never succeed as it stands."""


class InvalidShape(InvalidInput):
    """A task's tensors, pages or bounds are out of range or not canonical."""


class InvalidUpdate(InvalidInput):
    """Update bytes that are truncated, over-long, not canonical, or of another task's shape."""


class InvalidModel(InvalidInput):
    """A model description that this version cannot read."""


class NotFinite(InvalidInput):
    """NaN or infinity where a number belongs."""


class OutOfRange(InvalidInput):
    """A number beyond its documented bounds."""


class InvalidConfig(InvalidInput):
    """A setting, a file or a password is wrong; nothing was started."""


class RequestIdReused(InvalidInput):
    """The request_id stands for another request already."""


class NotFound(LinkLearnerError):
    """No such task, version, account or model."""


class BaseMoved(LinkLearnerError):
    """The weights moved on while an update was made: pull and train again."""


class Refused(LinkLearnerError):
    """The chain refused; `reason` is its own word for why."""


class Unauthenticated(LinkLearnerError):
    """No valid session or signature."""


class UntrustedChallenge(Unauthenticated):
    """A server's text was not signed: it is not exactly what signing in to that server takes."""


class PermissionDenied(LinkLearnerError):
    """A known caller without enough $LL locked."""


class Exhausted(LinkLearnerError):
    """A bound on open challenges, sessions or requests is reached."""


class Unavailable(LinkLearnerError):
    """The chain or a service cannot be reached."""


class TimedOut(LinkLearnerError):
    """No answer in time; repeating the same request_id is safe."""


class DataLoss(LinkLearnerError):
    """Bytes do not give their digest, or history does not add up."""


class Divergence(DataLoss):
    """Replaying the chain's history gives something else than the chain announced; facts: block, transaction, field."""
