"""Which requests are answered at all: those of our own page, and of programs.

Two kinds of page that are not ours reach this port. Another origin's, which the browser marks with `Origin` and `Sec-Fetch-Site`. One whose
own name points here (DNS rebinding): its origin is its name, so names are a list. A wallet is not a page: an extension asks /rpc from an
origin that no web page can have.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from linklearner.domain.sign_in import page_domain

EXTENSIONS: Final = ("chrome-extension://", "moz-extension://", "safari-web-extension://")
"""What the background of a wallet asks from."""


class NotServed(Exception):
    """A request is refused before it is read. The text is what its sender sees."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """origins: beside those of loopback names and of plain addresses."""

    origins: frozenset[str] = frozenset()

    def check_host(self, headers: CIMultiDictProxy[str]) -> str:
        """The `Host` of a request, host[:port]. Raises NotServed for a name that is not ours."""
        given = headers.getall("Host", [])
        if len(given) != 1:
            raise NotServed("a request names one host")
        host = given[0].lower()
        if host not in {page_domain(origin) for origin in self.origins} and not _nobodys(host):
            raise NotServed(f"{host[:80]!r} is not served here: name it in LINKLEARNER_PAGE_ORIGINS")
        return host

    def check_sender(self, headers: CIMultiDictProxy[str], *, wallets: bool = False) -> None:
        """Raises NotServed for a call that another page makes. wallets: extensions may call, too."""
        host = self.check_host(headers)
        origins = headers.getall("Origin", [])
        if not origins:
            if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                raise NotServed("other pages are not answered")
            return
        if wallets and len(origins) == 1 and origins[0].startswith(EXTENSIONS):
            return
        if len(origins) != 1 or (
            origins[0] not in self.origins and origins[0] not in (f"http://{host}", f"https://{host}")
        ):
            raise NotServed(f"pages of {origins[0][:80]!r} are not answered here")


def _nobodys(host: str) -> bool:
    """Whether a host is one that no stranger's page can have: a loopback name, an address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
