"""One page of HTML that says how a task went: `linklearner report`, and `linklearner simulate --report`.

`markup` escapes whatever anybody wrote, `charts` draws, `page` puts a page together: it loads nothing, runs no script, and every chart has
its numbers in a table behind it. `facts` says what there is to know of a task, `collect` finds it out from a chain (and a trainer, if one
answers), `of_task` and `simulated` say what goes on the page.
"""
