"""The container stack from the outside: `make up`, `down`, `logs`, `demo-stack` and `stack-test`."""
