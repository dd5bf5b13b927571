"""Attackers against rule `evidence`: who gets what for sending what, on the product's own rule code.

    python -m bench.attack_lab --cells digits50/iid,digits50/skew --attacks clean,noise --seeds 1402,1403

    tasks      three tasks and how their samples are spread over contributors
    learning   local training of all contributors at once, float32, as an honest or a dishonest trainer does it
    attacks    one strategy each: what an attacker sees, and what it sends
    course     the rounds: encode, judge, merge, remember, pay: `linklearner.domain.rules.evidence` throughout
    measures   controls, the honest-only oracle, Shapley values
    report     the table and the heat map

Ten contributors with equal stake, 40 % of them attackers, 20 rounds. The figures are of simulation: no chain, no fees, no time.
"""
