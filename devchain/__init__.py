"""The embedded chain: an EVM with Aspects that answers as an Artela node does."""

from devchain import libraries  # isort: skip  # before all that needs them: it undoes what they do to the process
from devchain.server import Devchain

__all__ = ["Devchain", "libraries"]
