"""The limits of a diagnosis, fitted on teachers of known kind, and how often its findings are right.

Not here: the predicates that the limits are of (diagnosis.predicates) and the rules that ask them (diagnosis.rules).
Read first: `teachers` (kinds), then `table` (their statistics), then `fit`.
"""
