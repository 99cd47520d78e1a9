"""Statistics of predictions: AUC with intervals, operating points, calibration, breasts and exams, reports."""

from monai_e2e.metrics.aggregate import BREAST_COLUMNS, EXAM_COLUMNS, aggregate_breasts, aggregate_exams
from monai_e2e.metrics.auc import compare_aucs, compare_clustered, delong_covariance, roc_auc
from monai_e2e.metrics.bootstrap import patient_bootstrap, weighted_areas
from monai_e2e.metrics.calibration import brier_score, calibration_line, reliability
from monai_e2e.metrics.challenge import best_f1, partial_auc, probabilistic_f1, sensitivity_at_recall_rate
from monai_e2e.metrics.comparison import compare_rows, correct_by_holm, holm
from monai_e2e.metrics.decision import decision_curve
from monai_e2e.metrics.files import format_scores, score_file, score_files, score_table
from monai_e2e.metrics.labels import join_labels, lesion_types, read_labels, require_labels
from monai_e2e.metrics.operating import (
    choose_threshold,
    performance_at,
    predictive_values,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    wilson_interval,
)
from monai_e2e.metrics.plots import draw_roc, plot_calibration, plot_decision, plot_pr, plot_roc
from monai_e2e.metrics.pooled import format_summary
from monai_e2e.metrics.recalibration import (
    Recalibration,
    fit_recalibration,
    read_recalibration,
    shift_prevalence,
    write_recalibration,
)
from monai_e2e.metrics.report import score_classes, score_rows, write_score
from monai_e2e.metrics.results import write_results
from monai_e2e.metrics.samples import level_samples
from monai_e2e.metrics.side_by_side import score_models
from monai_e2e.metrics.subgroups import heterogeneity, subgroup_members
from monai_e2e.metrics.tables import PREDICTION_COLUMNS, read_predictions, write_predictions, write_table
from monai_e2e.metrics.validation import MODEL_THRESHOLD

__all__ = [
    "BREAST_COLUMNS",
    "EXAM_COLUMNS",
    "MODEL_THRESHOLD",
    "PREDICTION_COLUMNS",
    "Recalibration",
    "aggregate_breasts",
    "aggregate_exams",
    "best_f1",
    "brier_score",
    "calibration_line",
    "choose_threshold",
    "compare_aucs",
    "compare_clustered",
    "compare_rows",
    "correct_by_holm",
    "decision_curve",
    "delong_covariance",
    "draw_roc",
    "fit_recalibration",
    "format_scores",
    "format_summary",
    "heterogeneity",
    "holm",
    "join_labels",
    "lesion_types",
    "level_samples",
    "partial_auc",
    "patient_bootstrap",
    "performance_at",
    "plot_calibration",
    "plot_decision",
    "plot_pr",
    "plot_roc",
    "predictive_values",
    "probabilistic_f1",
    "read_labels",
    "read_predictions",
    "read_recalibration",
    "reliability",
    "require_labels",
    "roc_auc",
    "score_classes",
    "score_file",
    "score_files",
    "score_models",
    "score_rows",
    "score_table",
    "sensitivity_at_recall_rate",
    "sensitivity_at_specificity",
    "shift_prevalence",
    "specificity_at_sensitivity",
    "subgroup_members",
    "weighted_areas",
    "wilson_interval",
    "write_predictions",
    "write_recalibration",
    "write_results",
    "write_score",
    "write_table",
]
