"""The embedded chain: an EVM with Aspects that answers as an Artela node does."""

from devchain.server import Devchain

__all__ = ["Devchain"]
