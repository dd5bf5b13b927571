"""When background work goes on after a failure, and when the process had better end, so that whoever supervises it starts it afresh.

A gateway that is away, slow or wrong is waited for as long as it takes. Two kinds of failure do not pass by waiting: a gateway that
contradicts what this process has seen (another chain, another task under the same number, a chain that went back), because what was seen
is forgotten only by starting again; and a bug of our own that shows every time.
"""

import time
from collections.abc import Callable

from linklearner.domain.errors import DataLoss, LinkLearnerError

CONTRADICTED_S = 120.0
"""A restart of the gateway, or one behind a load balancer that lags, takes less."""
MAX_BUGS = 10
"""In a row."""
_CONTRADICTIONS = frozenset({"OtherChain", "OtherTask", "TwoDigests", "HeadWentBack", "VersionWentBack"})


class Endurance:
    """Counts failures of one piece of background work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._contradicted_since: float | None = None
        self._bugs = 0

    def succeeded(self) -> None:
        self._contradicted_since, self._bugs = None, 0

    def failed(self, error: Exception) -> None:
        """Returns if the work should be tried again. Raises DataLoss, or the bug itself, if the process should end."""
        if not isinstance(error, LinkLearnerError):
            self._bugs += 1
            if self._bugs >= MAX_BUGS:
                raise error
            return
        self._bugs = 0
        if error.reason not in _CONTRADICTIONS:
            return  # neither contradicted nor reconciled: the clock runs on
        now = self._clock()
        if self._contradicted_since is None:
            self._contradicted_since = now
        if now - self._contradicted_since >= CONTRADICTED_S:
            raise DataLoss(
                f"for {CONTRADICTED_S:g} s the gateway has contradicted what this server has seen; it ends, and follows the gateway "
                f"anew when it is started again: {error.message}",
                reason=error.reason,
            ) from error
