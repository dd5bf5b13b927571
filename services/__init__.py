"""The deployments: one folder, one heavy dependency, one image each."""
