"""Attackers against rule `evidence`: who gets what for sending what, on the product's own rule code.

    python -m bench.attack_lab --cells digits50/iid,digits50/skew --attacks clean,noise --seeds 1402,1403

    measures   controls, the honest-only oracle, Shapley values
    report     the table and the heat map

Tasks, training, attackers and rounds are the product's: `services.trainer.simulation.lab`, of which `linklearner simulate --attack` plays
one. Ten contributors with equal stake, 40 % of them attackers, 20 rounds. The figures are of simulation: no chain, no fees, no time.
"""
