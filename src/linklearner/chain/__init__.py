"""The chain from outside: the contracts' calls and events as values, a node's answers, its limits, and how it is asked."""
