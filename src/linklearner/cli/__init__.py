"""`linklearner …`: a gRPC and JSON-RPC client for people, and nothing more."""

from linklearner.cli.commands import app

__all__ = ["app"]
