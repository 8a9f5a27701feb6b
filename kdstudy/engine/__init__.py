"""Where and how runs are trained: what is missing, in stacks, on this machine or a cluster, teachers first.

Not here: the training itself (train), what is asked (study), where answers lie (store). Read `ask`, then `stacks`.
"""

from kdstudy.core import plugins

plugins.load()
