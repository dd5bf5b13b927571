"""Who may ask, and for what.

Three kinds of stranger reach a port on loopback. A web page, by a cross-origin request: it carries an `Origin`, and a body that it can send
without asking first is text/plain or a form. A web page whose own name points to this machine (DNS rebinding): the `Host` is its name. A
program on this machine: nothing distinguishes it from the user's own, so it may do what the user may.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from devchain.config import InvalidChainConfig
from devchain.rpc import codec
from devchain.rpc.codec import RpcError

LOOPBACK_NAMES: Final = frozenset({"localhost"})
"""Names in `Host` that are always served, beside plain IP addresses: nobody can point these at another machine."""
CONTENT_TYPES: Final = frozenset({"application/json", "application/json-rpc", "application/jsonrequest"})
"""Of a POST, as on every node. A page cannot send these across origins without asking first (OPTIONS)."""

OPEN_TO_PAGES: Final = ("eth_", "net_", "web3_", "txpool_", "linklearner_", "debug_trace")
"""Prefixes of what a request with an Origin may call at all. evm_, hardhat_, anvil_, personal_, admin_ … are not among them."""
UNLOCKED: Final = re.compile(
    r"eth_(?:accounts|requestAccounts|sign.*|sendTransaction.*|sendUnsigned.*|fillTransaction|resend)"
)
"""Methods of an open prefix that act for, or list, the accounts whose keys the chain holds."""
NO_ACCOUNTS: Final = frozenset({"eth_accounts", "eth_requestAccounts"})
"""Of these, what answers an empty list: wallets ask it at every start."""

_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9_.\[\]:-]+")


class NotServed(Exception):
    """A request is refused before it is read: HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Requester:
    """What a request's headers say of who sent it. origin: of the page, None for a program."""

    origin: str | None = None
    is_page: bool = False

    def refusal(self, method: str) -> RpcError | None:
        """Why a page may not call `method`; None if it may, and for programs."""
        if not self.is_page or (method.startswith(OPEN_TO_PAGES) and not UNLOCKED.fullmatch(method)):
            return None
        return RpcError(
            codec.SERVER_ERROR,
            f"{method[:64]} is not open to web pages: send signed transactions (eth_sendRawTransaction), or call from a program",
        )


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """Which hosts and origins are served. hosts: names beside the loopback's. origins: `scheme://host[:port]`, none by default."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> HttpAccess:
        """Raises InvalidChainConfig."""
        for host in hosts:
            if not _NAME.fullmatch(host.lower()):
                raise InvalidChainConfig(
                    f"allow-host {host!r:.80}: use a host name without scheme and port, as devchain.chain"
                )
        for origin in origins:
            if not _ORIGIN.fullmatch(origin.lower()):
                raise InvalidChainConfig(
                    f"allow-origin {origin!r:.80}: use scheme://host or scheme://host:port, as http://localhost:5173; "
                    "there is no wildcard"
                )
        return cls(frozenset(host.lower() for host in hosts), frozenset(map(_canonical, origins)))

    def caller(self, headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> Requester:
        """Raises NotServed for a host or an origin that is not on the list."""
        given = headers.getall("Host", [])
        if len(given) > 1 or (given and not self._serves(given[0])):
            raise NotServed(
                403,
                f"host {given[0]!r:.80} is not served here: start the devchain with --allow-host to serve that name\n",
            )
        origins = headers.getall("Origin", [])
        if not origins:
            # a page's own GETs carry no Origin; browsers add this one to everything, programs (Node's fetch, too) do not
            return Requester(None, "Sec-Fetch-Site" in headers)
        if len(origins) > 1 or _canonical(origins[0]) not in self.origins:
            raise NotServed(
                403,
                f"origin {origins[0]!r:.80} is not allowed: start the devchain with --allow-origin to allow that page\n",
            )
        return Requester(origins[0], True)

    def _serves(self, host: str) -> bool:
        name = _without_port(host).lower().removesuffix(".")
        if name in LOOPBACK_NAMES or name.endswith(".localhost") or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True  # an address is nobody's name: no page can make it point elsewhere


def check_content_type(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> None:
    """Raises NotServed for what a page may send unasked, no type at all included, and for compressed bodies."""
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NotServed(415, "compressed requests are not supported\n")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() not in CONTENT_TYPES:
        raise NotServed(415, "invalid content type, only application/json is supported\n")


def cross_origin_headers(caller: Requester, asked: CIMultiDictProxy[str] | None = None) -> dict[str, str]:
    """What lets the page of an allowed origin read the answer; for programs nothing. asked: the headers of a preflight."""
    if caller.origin is None:
        return {"Vary": "Origin"}
    headers = {"Access-Control-Allow-Origin": caller.origin, "Vary": "Origin"}
    if asked is not None:
        headers |= {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type",
            "Access-Control-Max-Age": "600",
        }
        if "Access-Control-Request-Private-Network" in asked:
            headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _canonical(origin: str) -> str:
    """Lower case, without the scheme's own port, as browsers send it."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port
    except ValueError:
        return origin.lower()
    if not parts.hostname:
        return origin.lower()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if port in (None, own) else f":{port}")
