"""What every other package builds on: frozen values, random streams, paths, the registry, findings.

Nothing of the study itself lives here; nothing here imports another package of kdstudy, nor torch before it is needed.
Read first: `spec`, whose values name a run.
"""
