"""The limits of a diagnosis, fitted on teachers of known kind, and how often its findings are right.

Not here: the rules that the limits are of (diagnosis.rules).
Read first: `teachers` (kinds), then `table` (their statistics), then `fit`.
"""
