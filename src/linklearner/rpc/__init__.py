"""gRPC plumbing that all services share: status table, server life cycle, channels."""
