"""Experiments: run the rows of a plan by the commands that users type, and make a table of the results."""

from monai_e2e.experiment.plan import Plan, plan_names, read_plan
from monai_e2e.experiment.runner import Outcome, Settings, run_experiment

__all__ = ["Outcome", "Plan", "Settings", "plan_names", "read_plan", "run_experiment"]
