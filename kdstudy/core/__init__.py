"""What every other package builds on: frozen values, random streams, paths, the registry, findings.

Nothing of the study itself lives here, and nothing here imports torch or another package of kdstudy.
Read first: `spec`, whose values name a run.
"""
