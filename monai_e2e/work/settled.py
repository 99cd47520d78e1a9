"""Import this last in a process that others are forked from: their garbage collections then skip what it has loaded.

Else each of them would visit all of it, and so copy its memory, which takes a third of a second for MONAI.
"""

import gc

gc.enable()
gc.collect()
gc.freeze()
