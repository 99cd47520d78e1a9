"""To be imported first by a process that others are forked from, and :mod:`monai_e2e.work.settled` last.

Garbage collections, of which imports leave nothing to find, would take a quarter of MONAI's import.
"""

import gc

gc.disable()
