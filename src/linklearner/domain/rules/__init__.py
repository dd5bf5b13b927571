"""A task's rule: which phases a round has, what a verdict is, how updates are merged and what is paid. One module a rule.

`rule` says what a rule is, `table` which there are. The Aspect and the pool have the same rooms: `aspects/aggregator/rules/`,
`contracts/rules/`.
"""
