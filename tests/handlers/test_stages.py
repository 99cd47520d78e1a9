"""Staged unfreezing inside MONAI's own trainer: what moves in each stage, how fast, and what must not move at all."""

import logging
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.handlers import StagedTraining
from monai_e2e.networks import PatchClassifier, WholeImageClassifier


class Toy(nn.Module):
    """Two convolutions with BatchNorm and a head, small enough for many epochs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.head = nn.Linear(3, 2)
        self.stages = {"body.low": ("low.0", "low.1"), "body.high": ("high",), "head": ("head",)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.high(self.low(x)).mean(dim=(2, 3)))


ALL, HIGH, HEAD = ["*"], ["body.high", "head"], ["head"]


def stage(trainable: list[str], epochs: int = 1, lr: float = 0.1, **more) -> dict:
    return {"name": "a stage", "trainable": trainable, "lr": lr, "epochs": epochs, **more}


def adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=1.0)


def make_trainer(network, optimizer, stages, set_to_none=True, batches=2, size=8, **arguments) -> SupervisedTrainer:
    channels = next(network.parameters()).shape[1]
    generator = torch.Generator().manual_seed(1)
    data = [
        {"image": torch.randn(4, channels, size, size, generator=generator) + 1, "label": torch.tensor([0, 1, 0, 1])}
        for _ in range(batches)
    ]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=StagedTraining.total_epochs(stages),
        train_data_loader=data,
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[StagedTraining(network, optimizer, stages, **arguments)],
        decollate=False,
        optim_set_to_none=set_to_none,
    )


def states_by_epoch(trainer: SupervisedTrainer, network: nn.Module) -> list[dict[str, torch.Tensor]]:
    """State dict before training and after each epoch."""
    states = [{key: value.clone() for key, value in network.state_dict().items()}]

    def record(_engine) -> None:
        states.append({key: value.clone() for key, value in network.state_dict().items()})

    trainer.add_event_handler(Events.EPOCH_COMPLETED, record)
    trainer.run()
    return states


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def is_statistic(key: str) -> bool:
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def parameters_of(state: dict[str, torch.Tensor], *prefixes: str) -> set[str]:
    return {key for key in state if key.startswith(prefixes) and not is_statistic(key)}


def test_epochs_belong_to_stages_in_order_and_later_ones_to_the_last():
    stages = [stage(HEAD, 2), stage(HIGH, 1), stage(ALL, 3)]
    network = Toy()
    handler = StagedTraining(network, adam(network), stages)
    assert [handler.stage_of(epoch) for epoch in range(1, 9)] == [0, 0, 1, 2, 2, 2, 2, 2]
    assert StagedTraining.total_epochs(stages) == 6


def test_each_epoch_trains_exactly_the_parameters_of_its_stage():
    network = Toy()
    optimizer = adam(network)
    trainer = make_trainer(network, optimizer, [stage(HEAD, 2), stage(HIGH), stage(ALL), stage(HEAD)])
    states = states_by_epoch(trainer, network)
    parts = [("head",), ("head",), ("head", "high"), ("head", "high", "low"), ("head",)]
    assert len(states) == len(parts) + 1
    for before, after, prefixes in zip(states[:-1], states[1:], parts, strict=True):
        assert {key for key in moved(before, after) if not is_statistic(key)} == parameters_of(before, *prefixes)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_adam_does_not_move_what_is_frozen_after_it_was_trained(set_to_none, weight_decay):
    network = Toy()
    stages = [stage(ALL, 2, weight_decay=weight_decay), stage(HEAD, 2, weight_decay=weight_decay)]
    states = states_by_epoch(make_trainer(network, adam(network), stages, set_to_none), network)
    frozen = parameters_of(states[0], "low", "high")
    assert frozen <= moved(states[0], states[2])
    assert moved(states[2], states[4]) == parameters_of(states[0], "head")


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_statistics_of_frozen_batchnorm(mode):
    network = Toy()
    stages = [stage(HIGH), stage(ALL), stage(HIGH)]
    trainer = make_trainer(network, adam(network), stages, frozen_batchnorm=mode)
    before, first, second, third = states_by_epoch(trainer, network)
    low = {key for key in before if key.startswith("low") and is_statistic(key)}
    high = {key for key in before if key.startswith("high") and is_statistic(key)}
    assert len(low) == len(high) == 3
    assert high <= moved(before, first)
    assert low | high <= moved(first, second)
    assert low & moved(before, first) == (set() if mode == "eval" else low)
    assert low & moved(second, third) == (set() if mode == "eval" else low)


def test_frozen_batchnorm_normalises_by_its_running_statistics():
    network = Toy()
    network.low[1].running_mean.fill_(5.0)
    outputs = []
    network.low[1].register_forward_hook(lambda module, inputs, output: outputs.append((inputs[0], output)))
    make_trainer(network, adam(network), [stage(HEAD)], batches=1).run()
    inputs, output = outputs[0]
    torch.testing.assert_close(output, (inputs - 5) / (1 + network.low[1].eps) ** 0.5)


def test_requires_grad_follows_the_stages():
    network = Toy()
    trainer = make_trainer(network, adam(network), [stage(HEAD), stage(["body.*"])])
    seen = []

    def record(_engine) -> None:
        seen.append({name for name, p in network.named_parameters() if p.requires_grad})

    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), record)
    trainer.run()
    record(trainer)
    every = {name for name, _ in network.named_parameters()}
    assert seen[0] == {name for name in every if name.startswith("head")}
    assert seen[1] == every - seen[0]


@pytest.mark.parametrize("named", [True, False])
def test_learning_rate_and_weight_decay_of_each_stage_reach_their_groups(named):
    network = Toy()
    decay, rest = list(network.head.parameters()), [*network.low.parameters(), *network.high.parameters()]
    names = ({"name": "decay"}, {"name": "no decay"}) if named else ({}, {})
    optimizer = torch.optim.Adam([{"params": decay, **names[0]}, {"params": rest, **names[1], "weight_decay": 0.0}])
    stages = [stage(HEAD, 1, 0.01, weight_decay=0.3), stage(HEAD, 2, 0.02, weight_decay=0.4), stage(HEAD, 1, 0.03)]
    trainer = make_trainer(network, optimizer, stages)
    seen = []

    def record(engine) -> None:
        groups = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
        seen.append((engine.state.stage, engine.state.learning_rate, groups))

    trainer.add_event_handler(Events.EPOCH_COMPLETED, record)
    trainer.run()
    plan = [(1, 0.01, 0.3), (2, 0.02, 0.4), (2, 0.02, 0.4), (3, 0.03, 0.0)]
    assert seen == [(n, lr, [(lr, wd), (lr, 0.0 if named else wd)]) for n, lr, wd in plan]


def test_moments_are_dropped_at_a_change_of_stage_and_kept_within_one():
    network = Toy()
    optimizer = adam(network)
    trainer = make_trainer(network, optimizer, [stage(ALL, 2), stage(HEAD, 2)])
    steps, sizes = [], []

    def record(_engine) -> None:
        steps.append(int(optimizer.state[network.head.weight]["step"]))
        sizes.append(len(optimizer.state))

    trainer.add_event_handler(Events.EPOCH_COMPLETED, record)
    trainer.run()
    everything = len(list(network.parameters()))
    assert steps == [2, 4, 2, 4]
    assert sizes == [everything, everything, 2, 2]


def test_a_trainer_that_resumes_later_finds_the_stage_of_its_epoch():
    network = Toy()
    optimizer = adam(network)
    handler = StagedTraining(network, optimizer, [stage(HEAD, 2, 0.1), stage(ALL, 2, 0.2)])
    engine = SimpleNamespace(state=SimpleNamespace(epoch=4))
    handler(engine)
    assert engine.state.stage == 2
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_whole_image_network_trains_its_top_first_and_then_all_of_it():
    torch.manual_seed(0)
    network = WholeImageClassifier(PatchClassifier("resnet50", width=0.0625), ["8x1"])
    optimizer = torch.optim.Adam(network.parameter_groups())
    stages = [stage(["top.*", "head"], lr=1e-3, weight_decay=0.002), stage(ALL, lr=1e-3, weight_decay=0.002)]
    before, first, second = states_by_epoch(make_trainer(network, optimizer, stages, size=64), network)
    assert {key.split(".")[0] for key in moved(before, first)} == {"top", "head"}
    assert parameters_of(before, "backbone.layer1", "backbone.conv1") <= moved(first, second)
    assert "pixel_mean" not in moved(before, second)


def test_start_of_a_stage_is_logged_with_what_it_trains(caplog):
    network = Toy()
    with caplog.at_level(logging.INFO, logger="monai_e2e.handlers.stages"):
        make_trainer(network, adam(network), [stage(HEAD, 2), stage(ALL)]).run()
    lines = [record.message for record in caplog.records if record.name == "monai_e2e.handlers.stages"]
    assert [line.split(",")[0] for line in lines] == ["Stage 1 of 2", "Stage 2 of 2"]
    assert "from epoch 3" in lines[1]


def test_network_without_named_stages_is_addressed_by_its_children():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"'head'.*0, 1, 2"):
        StagedTraining(network, adam(network), [stage(HEAD)])
    StagedTraining(network, adam(network), [stage(["2"])])(engine := SimpleNamespace(state=SimpleNamespace(epoch=1)))
    assert engine.state.stage == 1
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True]


def test_pattern_that_matches_nothing_lists_the_parts():
    network = Toy()
    with pytest.raises(UserError, match=r"'tail'.*body\.low, body\.high, head"):
        StagedTraining(network, adam(network), [stage(ALL), stage(["head", "tail"])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 1}, r"stage 2 \('a stage'\).*unknown keys \['rate'\].*allowed are: name, trainable, lr, epochs"),
        ({"epochs": None}, "'epochs' of training stage 2.*int, got None"),
        ({"epochs": 1.5}, "'epochs'.*int, got 1.5"),
        ({"epochs": True}, "'epochs'.*int, got True"),
        ({"epochs": 0}, "epochs ≥ 1"),
        ({"lr": "1e-4"}, "'lr'.*float, got '1e-4'"),
        ({"lr": 0}, "lr > 0"),
        ({"weight_decay": -0.1}, "weight_decay ≥ 0"),
        ({"trainable": "*"}, r"'trainable'.*list, got '\*'"),
        ({"name": 3}, "'name'.*str, got 3"),
    ],
)
def test_bad_stage_says_which_and_what(change, message):
    network = Toy()
    with pytest.raises(UserError, match=message):
        StagedTraining(network, adam(network), [stage(ALL), {**stage(ALL), **change}])


@pytest.mark.parametrize("key", ["name", "trainable", "lr", "epochs"])
def test_missing_key_is_named_also_when_epochs_are_counted(key):
    broken = stage(ALL)
    del broken[key]
    with pytest.raises(UserError, match=rf"lacks \['{key}'\]"):
        StagedTraining.total_epochs([broken])


def test_whole_numbers_are_learning_rates_too():
    assert StagedTraining.total_epochs([stage(ALL, lr=1)]) == 1


def test_plan_and_batchnorm_mode_are_checked():
    network = Toy()
    with pytest.raises(UserError, match="empty"):
        StagedTraining(network, adam(network), [])
    with pytest.raises(UserError, match="'eval' or 'batch', got 'train'"):
        StagedTraining(network, adam(network), [stage(ALL)], frozen_batchnorm="train")


def test_stage_that_trains_nothing_is_refused():
    network = Toy()
    with pytest.raises(UserError, match="trainable"):
        StagedTraining(network, adam(network), [stage([])])
