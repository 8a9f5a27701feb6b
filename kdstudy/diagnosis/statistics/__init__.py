"""Numbers that say what kind of teacher left its logits, and what its targets hold.

Not here: the limits that they are held against, and what follows (`rules`).
Read first: `all`, which puts together what the other modules measure.
"""
