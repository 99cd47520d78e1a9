"""To be imported last by a process that others are forked from: what it has is left out of their garbage collections.

These would look at all of it in each of them, and so copy its memory: a third of a second for MONAI.
"""

import gc

gc.enable()
gc.collect()
gc.freeze()
