"""The list of packages; all else stands in pyproject.toml.

The bundles are a folder of their own in the checkout, and inside the package where that is installed.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["monai_e2e", "monai_e2e.*"]), "monai_e2e.bundles"])
