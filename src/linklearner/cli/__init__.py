"""`linklearner …`: what people type.

Most commands are a few gRPC or JSON-RPC calls; `up`, `demo` and `devchain` start programs of the checkout. The commands are grouped by
noun, a module each; what they share is in `calls`, what is typed after them in `arguments`.
"""

from linklearner.cli.app import app

__all__ = ["app"]
