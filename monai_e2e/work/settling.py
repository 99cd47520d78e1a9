"""Import this first in a process that others are forked from, and :mod:`monai_e2e.work.settled` last.

Garbage collections would find nothing during imports, and take a quarter of the time of MONAI's import.
"""

import gc

gc.disable()
