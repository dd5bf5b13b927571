"""Attackers against rule `evidence`: who gets what for sending what, on the product's own rule code.

    tasks      three tasks and how their samples are spread over contributors
    learning   local training of all contributors at once, float32, as an honest or a dishonest trainer does it
    attacks    one strategy each: what an attacker sees, and what it sends
    course     the rounds: encode, judge, merge, remember, pay: `linklearner.domain.rules.evidence` throughout

`linklearner simulate --attack NAME` plays one of them (`services.trainer.simulation.attack`), `python -m bench.attack_lab` all, beside
controls and an oracle; the demo's attackers (`services.trainer.rogues`) send them to a chain.
"""
