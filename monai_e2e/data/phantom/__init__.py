"""Made-up mammograms in the formats of the real data sets.

They have the folders, files, tags, tables and oddities of CBIS-DDSM and INbreast and enough of a mammogram's looks to
train on, so that the whole way from download to AUC can be tried, tested and shown without any patient's data. What a
network reaches on them says nothing of what it reaches on patients.
"""

from monai_e2e.data.phantom.cbis_ddsm import write_cbis_ddsm
from monai_e2e.data.phantom.inbreast import write_inbreast
from monai_e2e.data.phantom.storage import rows_for

__all__ = ["rows_for", "write_cbis_ddsm", "write_inbreast"]
