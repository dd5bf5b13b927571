"""What a gateway does for those who hold no key, one module for each group of use cases.

Everything that sends goes through the outbox under the caller's request_id; everything that reads names the block it was read at or comes
from the event index.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.chain_gateway.chain import Chain
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.events import EventIndex
from services.chain_gateway.ledger.drops import Drops
from services.chain_gateway.ledger.money import Money
from services.chain_gateway.ledger.openings import Openings
from services.chain_gateway.ledger.queries import Queries
from services.chain_gateway.ledger.sealing import Sealing
from services.chain_gateway.ledger.sending import Sending
from services.chain_gateway.ledger.settlements import Settlements
from services.chain_gateway.ledger.submissions import Submissions
from services.chain_gateway.ledger.tasks import Tasks
from services.chain_gateway.ledger.views import Views
from services.chain_gateway.ledger.wallets import Wallets
from services.chain_gateway.outbox import Outbox


class Ledger:
    """All that a gateway does with one deployment."""

    def __init__(
        self,
        chain: Chain,
        outbox: Outbox,
        events: EventIndex,
        deployment: Deployment,
        *,
        max_head_age_s: float = 0.0,
        on_demand: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """max_head_age_s: refuse to work on a chain whose newest block is older; 0 for a chain that makes blocks on demand only.

        on_demand: it is known to be one, so that nobody waits to see whether its clock stands still."""
        self.chain = chain
        self.deployment = deployment
        self.events = events
        self._outbox = outbox
        self.views = Views(chain, deployment, max_head_age_s, clock)
        sending = Sending(outbox, self.views, clock, on_demand=on_demand)
        self.tasks = Tasks(self.views, events)
        self.drops = Drops(self.tasks, sending)
        sealing = Sealing(self.tasks, sending, outbox.salt, clock)
        self.submissions = Submissions(self.tasks, sending, self.drops, clock, sealing)
        self.settlements = Settlements(self.tasks, self.submissions, sending)
        self.openings = Openings(self.tasks, sending)
        self.money = Money(self.tasks, sending)
        self.wallets = Wallets(self.tasks, sending)
        self.queries = Queries(self.tasks, self.submissions)

    @property
    def accounts(self) -> tuple[bytes, ...]:
        """Whose keys are held."""
        return self._outbox.accounts
