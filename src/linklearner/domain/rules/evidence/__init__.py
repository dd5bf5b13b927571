"""Rule `evidence`: an update is merged if it helps on examples that its author could not know, and paid for what it adds.

    network   the integer forward pass of a multilayer perceptron
    loss      cross-entropy by table
    verdicts  trial step, gain, record, verdict, and the guarded merge of a round
    memory    what public knowledge explains of an update
    credit    pay: `gain` at settlement, `novel` and `fair` later
    sets      all examples of a task, before they are opened
    tables    the loss tables, written by tools/loss_tables.py

Fixed point throughout: Q12 stands for steps of 2**-12, Q14 for 2**-14. `>>` is the arithmetic shift (towards minus infinity); "rounded"
means to nearest, ties away from zero. All of it is pure.
"""
