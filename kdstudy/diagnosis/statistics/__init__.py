"""Numbers that say what kind of teacher left its logits, and what its targets hold.

Not here: what follows from them (`rules`) and where they are compared with limits (`predicates`).
Read first: `all`, which puts together what the other modules measure.
"""
