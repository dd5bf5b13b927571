"""Federated learning of one task by many contributors in one place: `linklearner simulate`.

What a chain, a gateway and trainers do in rounds is done here by the same code of the domain, without them: local training by
`services.trainer.training`, quantised with the residual of each contributor and written as the byte string that a transaction would carry,
read back, judged and merged by the task's rule. Float averaging runs beside it. `engine` knows the rounds, `executors` where the local
training runs, `tasks` what is trained, `courses` how it is averaged.
"""
