"""Phantoms: drawn mammograms in the formats of the real data sets.

They have the folders, files, tags, tables and irregularities of CBIS-DDSM and INbreast, and look enough like mammograms
to train on. So everything from download to AUC can be tried, tested and shown without patients' data. A network's
results on phantoms say nothing about its results on patients.
"""

from monai_e2e.data.phantom.cbis_ddsm import write_cbis_ddsm
from monai_e2e.data.phantom.inbreast import write_inbreast
from monai_e2e.data.phantom.storage import rows_for

__all__ = ["rows_for", "write_cbis_ddsm", "write_inbreast"]
