"""The built page: files of the package, in memory, each with the headers that a browser needs."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from linklearner import artifacts

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".bin": "application/octet-stream",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html page",
    )
)
"""No code but our own files', none in the markup, nothing from or to elsewhere, in nobody's frame. data: the icons of wallets."""
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page. packed: the same with gzip, where that is shorter."""

    body: bytes = field(repr=False)
    packed: bytes | None = field(repr=False)
    headers: Mapping[str, str]


def static_files() -> dict[str, StaticFile]:
    """By path, `/` for the document. What carries its digest in its name may be kept by browsers for a year, the rest is asked for anew."""
    found = {}
    for name, body in artifacts.page().items():
        suffix = name[name.rfind(".") :]
        stem, _, digest = name[: -len(suffix)].rpartition("-")
        hashed = bool(stem) and len(digest) == 8 and digest.isalnum() and digest.isupper()
        packed = gzip.compress(body, 9, mtime=0)
        found[f"/{name}"] = StaticFile(
            body,
            packed if len(packed) < len(body) else None,
            {
                "Content-Type": TYPES[suffix],
                "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
                "Cache-Control": "public, max-age=31536000, immutable" if hashed else "no-cache",
                "Vary": "Accept-Encoding",
            },
        )
    found["/"] = found["/index.html"]
    return found
