"""AUC with its interval each epoch, among the metrics, and the threshold that the best model carries."""

import math

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import ROCAUC, StatsHandler, TensorBoardStatsHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.handlers import AucInterval, BestModel, binary_scores
from monai_e2e.metrics import choose_threshold, roc_auc
from monai_e2e.networks import operating_point

LOGITS = [[2.0, -1.0], [0.5, 0.0], [0.0, 1.0], [1.0, 1.2], [-3.0, 4.0]]
LABELS = [0, 0, 0, 1, 1]
SCORES = [positive - negative for negative, positive in LOGITS]


class Shown(nn.Module):
    """Returns the logits that the samples carry; has the buffer of a whole-image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(0.0))
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x


def make_evaluator(handlers=(), logits=LOGITS, labels=LABELS, metric=None) -> SupervisedEvaluator:
    samples = [{"image": torch.tensor(values), "label": label} for values, label in zip(logits, labels, strict=True)]
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(samples, batch_size=2),
        network=Shown(),
        key_val_metric=metric or {"val_auc": ROCAUC(output_transform=binary_scores)},
        val_handlers=list(handlers),
        decollate=False,
    )


def metrics_of(evaluator) -> list[float]:
    return [evaluator.state.metrics[name] for name in ("val_auc", "val_auc_low", "val_auc_high")]


def test_auc_and_limits_of_all_batches_are_metrics():
    evaluator = make_evaluator([AucInterval()])
    evaluator.run()
    assert metrics_of(evaluator) == pytest.approx(roc_auc(LABELS, SCORES), abs=1e-6)


def test_it_may_be_the_key_metric_itself():
    evaluator = make_evaluator(metric={"val_auc": AucInterval()})
    evaluator.run()
    assert metrics_of(evaluator) == pytest.approx(roc_auc(LABELS, SCORES), abs=1e-6)
    assert evaluator.state.best_metric == evaluator.state.metrics["val_auc"]


def test_threshold_of_the_validation_becomes_the_networks():
    network = Shown()
    make_evaluator([AucInterval(network)]).run()
    assert network.threshold.item() == pytest.approx(choose_threshold(LABELS, SCORES), abs=1e-6)
    assert network.threshold.shape == ()


def test_threshold_of_exactly_0_is_one_too():
    network = Shown()
    scores = [-2.0, -1.0, -1.0, 1.0, 1.0]
    make_evaluator([AucInterval(network)], [[0.0, score] for score in scores]).run()
    assert choose_threshold(LABELS, scores) == 0
    assert operating_point(network) == pytest.approx(0, abs=1e-30)
    assert operating_point(network) <= 0  # a score of 0 is positive


def test_best_model_that_is_saved_carries_the_threshold_of_its_validation(tmp_path):
    network = Shown()
    make_evaluator([AucInterval(network), BestModel(tmp_path, network)]).run()
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert state["threshold"].item() == pytest.approx(choose_threshold(LABELS, SCORES), abs=1e-6)


@pytest.mark.parametrize("as_metric", [False, True])
def test_handlers_after_it_log_the_limits(tmp_path, as_metric):
    """As a handler it stands before them in the list; as a metric it may stand anywhere."""
    logged: list[dict] = []
    writer = TensorBoardStatsHandler(log_dir=str(tmp_path), iteration_log=False)
    loggers = [
        StatsHandler(iteration_log=False, epoch_print_logger=lambda engine: logged.append(dict(engine.state.metrics))),
        writer,
    ]
    handlers = loggers if as_metric else [AucInterval(), *loggers]
    make_evaluator(handlers, metric={"val_auc": AucInterval()} if as_metric else None).run()
    writer.close()
    _, low, high = roc_auc(LABELS, SCORES)
    assert [(m["val_auc_low"], m["val_auc_high"]) for m in logged] == [pytest.approx((low, high), abs=1e-6)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"val_auc", "val_auc_low", "val_auc_high"} <= set(events.Tags()["scalars"])
    assert events.Scalars("val_auc_low")[0].value == pytest.approx(low, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[0.0, math.nan], *LOGITS[1:]], LABELS, "1 of 5 scores are NaN or infinite"),
        (LOGITS, [1, 1, 1, 1, 1], "one class only"),
    ],
)
def test_validation_that_says_nothing_is_a_warning_and_no_end(caplog, logits, labels, message):
    network = Shown()
    network.threshold.fill_(0.7)
    evaluator = make_evaluator(logits=logits, labels=labels, metric={"val_auc": AucInterval(network)})
    evaluator.state.metrics |= {"val_auc_low": 0.4, "val_auc_high": 0.6}  # of an earlier epoch
    evaluator.run()
    assert message in caplog.text
    assert math.isnan(evaluator.state.metrics["val_auc"])
    assert not {"val_auc_low", "val_auc_high"} & set(evaluator.state.metrics)
    assert network.threshold.item() == pytest.approx(0.7)


def test_second_validation_starts_anew():
    evaluator = make_evaluator([AucInterval()])
    evaluator.run()
    first = metrics_of(evaluator)
    evaluator.run()
    assert metrics_of(evaluator) == first


def test_network_without_the_buffer_is_a_users_mistake():
    with pytest.raises(UserError, match="Linear has no buffer 'threshold'"):
        AucInterval(nn.Linear(1, 1))


def test_any_ignite_engine_will_do():
    engine = Engine(lambda _engine, batch: batch)
    AucInterval().attach(engine)
    engine.run([{"pred": torch.tensor(LOGITS), "label": torch.tensor(LABELS)}])
    assert engine.state.metrics["val_auc"] == pytest.approx(roc_auc(LABELS, SCORES)[0], abs=1e-6)
