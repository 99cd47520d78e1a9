"""Staged unfreezing inside MONAI's own trainer: what moves in each stage, how fast, and what must not move at all."""

import io
import logging
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Loss
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler, from_engine
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.errors import UserError
from monai_e2e.handlers import StagedTraining, train_only
from monai_e2e.networks import PatchClassifier, WholeImageClassifier


class Toy(nn.Module):
    """Two convolutions with BatchNorm and a head, small enough for many epochs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(3, 2)
        self.stages = {"body.low": ("low.0", "low.1"), "body.high": ("high",), "head": ("head",)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.high(self.low(x)).mean(dim=(2, 3))))


ALL, HIGH, HEAD = ["*"], ["body.high", "head"], ["head"]
LOGGER = "monai_e2e.handlers.stages"
BUFFERS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def stage(trainable: list[str], epochs: int = 1, lr: float = 0.1, **more) -> dict:
    return {"name": "a stage", "trainable": trainable, "lr": lr, "epochs": epochs, **more}


def adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=1.0)


def make_trainer(network, optimizer, stages, set_to_none=True, batches=2, size=8, **arguments) -> SupervisedTrainer:
    channels = next(network.parameters()).shape[1]
    handler = StagedTraining(network, optimizer, stages, **arguments)
    generator = torch.Generator().manual_seed(1)
    data = [
        {"image": torch.randn(4, channels, size, size, generator=generator) + 1, "label": torch.tensor([0, 1, 0, 1])}
        for _ in range(batches)
    ]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=StagedTraining.total_epochs(stages),
        train_data_loader=data,
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[handler],
        decollate=False,
        optim_set_to_none=set_to_none,
    )
    trainer.stages = handler
    return trainer


def test_batch_normalisations_can_be_trained_alone_with_the_head(caplog):
    network = Toy()
    before = state_of(network)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        make_trainer(network, adam(network), train_only([stage(ALL)], "batchnorm + head")).run()
    changed = moved(before, network.state_dict())
    norms = {f"{part}.1.{name}" for part in ("low", "high") for name in BUFFERS}
    assert changed == norms | {"head.weight", "head.bias"}
    assert caplog.messages == [
        "No training stage trains these parts (only their batch normalisation): body.low, body.high."
    ]


def test_parts_that_are_trained_alone_take_the_place_of_each_stages_own():
    plan = [stage(HEAD, lr=0.1), stage(ALL, lr=0.2)]
    assert train_only(plan, None) == plan
    only = train_only(plan, "batchnorm+head")
    assert [one["trainable"] for one in only] == [["batchnorm", "head"]] * 2
    assert [one["lr"] for one in only] == [0.1, 0.2]
    with pytest.raises(UserError, match="join the network's parts by"):
        train_only(plan, "head+")


def make_watched_trainer(scores, stages, network=None, optimizer=None, metric="val_loss", **arguments):
    """Trainer after each epoch of which a validator finds that epoch's score."""
    network = network or Toy()
    validator = Engine(lambda _engine, _batch: None)
    arguments = {"validator": validator, "batches": 1, **arguments}
    trainer = make_trainer(network, optimizer or adam(network), stages, **arguments)

    def validate(engine) -> None:
        validator.add_event_handler(Events.EPOCH_COMPLETED(once=1), score)
        validator.run([0])

    def score(engine) -> None:
        engine.state.metrics = {metric: scores[trainer.state.epoch - 1]}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    return trainer


def watch(trainer: SupervisedTrainer, look: Callable[[], object]) -> list:
    """What ``look`` returns after each epoch of the runs that follow."""
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _engine: seen.append(look()))
    return seen


def by_epoch(trainer: SupervisedTrainer, look: Callable[[], object]) -> list:
    seen = watch(trainer, look)
    trainer.run()
    return seen


def stages_by_epoch(trainer: SupervisedTrainer) -> list[int]:
    return by_epoch(trainer, lambda: trainer.state.stage)


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def states_by_epoch(trainer: SupervisedTrainer, network: nn.Module) -> list[dict[str, torch.Tensor]]:
    """State dict before training and after each epoch."""
    return [state_of(network), *by_epoch(trainer, lambda: state_of(network))]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def is_statistic(key: str) -> bool:
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def parameters_of(state: dict[str, torch.Tensor], *prefixes: str) -> set[str]:
    return {key for key in state if key.startswith(prefixes) and not is_statistic(key)}


def test_epochs_belong_to_stages_in_order():
    stages = [stage(HEAD, 2), stage(HIGH, 1), stage(ALL, 3)]
    network = Toy()
    assert stages_by_epoch(make_trainer(network, adam(network), stages)) == [1, 1, 2, 3, 3, 3]
    assert StagedTraining.total_epochs(stages) == 6


def test_nothing_is_trained_past_the_plan():
    trainer = make_trainer(network := Toy(), adam(network), [stage(HEAD, 2), stage(ALL, 1)])
    trainer.state.max_epochs = 10
    assert stages_by_epoch(trainer) == [1, 1, 2]
    assert trainer.stages.over
    before = state_of(network)
    trainer.run()
    assert trainer.state.epoch == 3
    assert not moved(before, network.state_dict())


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
    first, second = by_epoch(trainer, lambda: {name for name, p in network.named_parameters() if p.requires_grad})
    every = {name for name, _ in network.named_parameters()}
    assert first == {name for name in every if name.startswith("head")}
    assert second == every - first


@pytest.mark.parametrize("named", [True, False])
def test_learning_rate_and_weight_decay_of_each_stage_reach_their_groups(named):
    network = Toy()
    decay, rest = list(network.head.parameters()), [*network.low.parameters(), *network.high.parameters()]
    names = ({"name": "decay"}, {"name": "no decay"}) if named else ({}, {})
    optimizer = torch.optim.Adam([{"params": decay, **names[0]}, {"params": rest, **names[1], "weight_decay": 0.0}])
    stages = [stage(HEAD, 1, 0.01, weight_decay=0.3), stage(HEAD, 2, 0.02, weight_decay=0.4), stage(HEAD, 1, 0.03)]
    trainer = make_trainer(network, optimizer, stages)

    def settings() -> tuple:
        groups = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
        return trainer.state.stage, trainer.state.learning_rate, groups

    plan = [(1, 0.01, 0.3), (2, 0.02, 0.4), (2, 0.02, 0.4), (3, 0.03, 0.0)]
    assert by_epoch(trainer, settings) == [(n, lr, [(lr, wd), (lr, 0.0 if named else wd)]) for n, lr, wd in plan]


def test_moments_are_dropped_at_a_change_of_stage_and_kept_within_one():
    network = Toy()
    optimizer = adam(network)
    trainer = make_trainer(network, optimizer, [stage(ALL, 2), stage(HEAD, 2)])
    seen = by_epoch(trainer, lambda: (int(optimizer.state[network.head.weight]["step"]), len(optimizer.state)))
    everything = len(list(network.parameters()))
    assert seen == [(2, everything), (4, everything), (2, 2), (4, 2)]


def test_a_trainer_that_resumes_later_finds_the_stage_of_its_epoch():
    network = Toy()
    optimizer = adam(network)
    handler = StagedTraining(network, optimizer, [stage(HEAD, 2, 0.1), stage(ALL, 2, 0.2)])
    engine = SimpleNamespace(state=SimpleNamespace(epoch=4))
    handler(engine)
    assert engine.state.stage == 2
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_each_run_of_a_federations_trainer_is_a_round_with_the_whole_plan_and_a_new_optimizer():
    network = Toy()
    optimizer = adam(network)
    trainer = make_trainer(network, optimizer, [stage(HEAD, 2), stage(ALL, 2, warmup=1)], rounds=True)
    state = trainer.state
    seen = watch(trainer, lambda: (state.epoch, state.stage, int(optimizer.state[network.head.weight]["step"])))
    for epochs in (2, 2, 1):
        state.max_epochs = state.epoch + epochs
        trainer.run()
    assert seen == [(1, 1, 2), (2, 2, 2), (3, 1, 2), (4, 2, 2), (5, 1, 2)]


def test_patience_counts_within_a_round():
    trainer = make_watched_trainer([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [stage(ALL, 9)], patience=1, rounds=True)
    ends = []
    for _ in range(2):
        trainer.state.max_epochs = trainer.state.epoch + 4
        trainer.run()
        ends.append(trainer.state.epoch)
    assert ends == [2, 4]


def rates_of(stages, batches=4) -> list[float]:
    """Learning rate of each iteration."""
    network = Toy()
    optimizer = adam(network)
    trainer = make_trainer(network, optimizer, stages, batches=batches)
    rates: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: rates[-1] == engine.state.learning_rate or pytest.fail("untold")
    )
    trainer.run()
    return rates


def test_cosine_falls_from_the_stages_rate_towards_zero_and_each_stage_has_its_own():
    rates = rates_of([stage(HEAD, 1, 0.5), stage(ALL, 2, 0.1, schedule="cosine")])
    assert rates[:4] == [0.5] * 4
    assert rates[4:] == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_warmup_rises_in_equal_steps_to_the_rate_and_the_schedule_follows():
    rates = rates_of([stage(ALL, 2, 0.1, warmup=0.5), stage(ALL, 2, 0.2, warmup=1, schedule="cosine")])
    assert rates[:8] == pytest.approx([0.05, *[0.1] * 7])
    assert rates[8:12] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert rates[12:] == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_start_of_a_stage_is_logged_with_what_it_trains(caplog):
    network = Toy()
    with caplog.at_level(logging.INFO, logger=LOGGER):
        make_trainer(network, adam(network), [stage(HEAD, 2), stage(ALL)]).run()
    lines = [record.message for record in caplog.records if record.name == LOGGER]
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
        ({"trainable": [1]}, r"'trainable'.*got \[1\]"),
        ({"trainable": []}, "trainable"),
        ({"schedule": "cosin"}, "'schedule' of training stage 2 .* is 'cosin'; choose one of: constant, cosine"),
        ({"epochs": 2, "warmup": 2}, "'warmup' .* less than its 2 epochs, got 2"),
        ({"warmup": -1.0}, "'warmup' .* got -1.0"),
        ({"warmup": "1"}, "'warmup' of training stage 2 .* must be of type float"),
        ({"lr": math.inf}, "lr > 0"),
        ({"dropout": "0.5"}, "'dropout'.*float, got '0.5'"),
        ({"dropout": 1}, "dropout from 0 to below 1"),
        ({"dropout": -0.1}, "dropout from 0 to below 1"),
        ({"patience": 0}, "patience ≥ 1"),
        ({"patience": 2.5}, "'patience'.*int, got 2.5"),
        ({"reset_optimizer": 1}, "'reset_optimizer'.*bool, got 1"),
        ({"reset_optimizer": None}, "'reset_optimizer'.*bool, got None"),
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
    with pytest.raises(UserError, match="mode must be 'min' or 'max', got 'lowest'"):
        StagedTraining(network, adam(network), [stage(ALL)], mode="lowest")


# Dropout, optimizer, frozen layers


def test_dropout_of_each_stage_reaches_all_dropout_layers_and_none_leaves_them():
    network = WholeImageClassifier(
        PatchClassifier("vgg16", width=0.0625), ["[4-4-8]x1", "FC8"], dropout=0.1, image_size=(64, 64)
    )
    plan = [stage(ALL), stage(ALL, dropout=0.5), stage(ALL), stage(ALL, dropout=0), stage(ALL, dropout=None)]
    trainer = make_trainer(network, adam(network), plan, size=64)
    seen = by_epoch(trainer, lambda: [module.p for module in network.modules() if isinstance(module, nn.Dropout)])
    assert seen == [[p, p] for p in (0.1, 0.5, 0.5, 0, 0)]


def test_dropout_for_a_network_without_dropout_is_an_error():
    network = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"dropout 0\.5.*no dropout"):
        StagedTraining(network, adam(network), [stage(ALL, dropout=0.5)])


def test_moments_are_kept_by_a_stage_that_does_not_reset_the_optimizer():
    network = Toy()
    optimizer = adam(network)
    plan = [stage(ALL), stage(ALL, reset_optimizer=False), stage(ALL), stage(HEAD, reset_optimizer=False)]
    trainer = make_trainer(network, optimizer, plan)
    weights = network.low[0].weight, network.head.weight
    steps = watch(trainer, lambda: tuple(int(optimizer.state[weight]["step"]) for weight in weights))
    states = states_by_epoch(trainer, network)
    assert steps == [(2, 2), (4, 4), (2, 2), (2, 4)]
    assert {key.split(".")[0] for key in moved(states[3], states[4])} == {"head"}  # kept moments move nothing frozen


def bytes_saved_for_backward(function) -> int:
    saved = []

    def pack(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(saved)


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_frozen_front_keeps_no_activations(mode):
    """What a stage of the top layers saves for the backward pass is what the top layers alone save."""
    torch.manual_seed(0)
    network = WholeImageClassifier(PatchClassifier("resnet50", width=0.0625), ["[8-8-16]x1"])
    arguments = {"batches": 1, "size": 64, "frozen_batchnorm": mode}
    top = make_trainer(network, adam(network), [stage(["top.*", "head"])], **arguments)
    in_stage = bytes_saved_for_backward(top.run)

    batch = top.data_loader[0]
    with torch.no_grad():
        features = network.backbone(batch["image"])

    def top_alone() -> None:
        logits = network.head(network.dropout(network.pool(network.top(features)).flatten(1)))
        nn.functional.cross_entropy(logits, batch["label"])

    assert in_stage == bytes_saved_for_backward(top_alone)
    everything = make_trainer(network, adam(network), [stage(ALL)], **arguments)
    assert bytes_saved_for_backward(everything.run) > 3 * in_stage


def test_frozen_layers_of_the_whole_image_network_stay_bit_identical():
    torch.manual_seed(0)
    network = WholeImageClassifier(PatchClassifier("resnet50", width=0.0625), ["[8-8-16]x1"])
    plan = [stage(["top.*", "head"], 2, weight_decay=0.1), stage(ALL), stage(["backbone.stage5", "head"], 2)]
    optimizer = torch.optim.Adam(network.parameter_groups())
    states = states_by_epoch(make_trainer(network, optimizer, plan, size=64), network)
    assert {key.split(".")[0] for key in moved(states[0], states[2])} == {"top", "head"}
    assert {key for key in states[0] if key.startswith("backbone")} <= moved(states[2], states[3])
    changed = moved(states[3], states[5])
    stage5 = {f"{module}." for module in network.stages["backbone.stage5"]}
    assert changed == {key for key in states[0] if key.startswith(("head.", *stage5))}
    assert "pixel_mean" not in moved(states[0], states[5])


def test_batchnorm_without_parameters_is_frozen_with_its_part_alone():
    network = nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    network.stages = {"front": ("0", "1"), "head": ("3",)}
    before, first, second = states_by_epoch(make_trainer(network, adam(network), [stage(HEAD), stage(ALL)]), network)
    assert "0.running_mean" not in moved(before, first)
    assert "0.running_mean" in moved(first, second)


@pytest.mark.usefixtures("one_process_group")
def test_distributed_wrapper_trains_as_the_network_alone():
    plan = [stage(HEAD, weight_decay=0.1), stage(ALL), stage(HIGH)]
    alone, inner = Toy(), Toy()
    wrapper = DistributedDataParallel(inner, find_unused_parameters=True)
    expected = states_by_epoch(make_trainer(alone, adam(alone), plan), alone)
    actual = states_by_epoch(make_trainer(wrapper, adam(inner), plan), inner)
    assert len(actual) == 4
    assert not any(moved(one, other) for one, other in zip(actual, expected, strict=True))


def test_parts_that_no_stage_trains_are_reported_once(caplog):
    network = Toy()
    network.extra = nn.Parameter(torch.zeros(1))
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        StagedTraining(network, adam(network), [stage(HEAD), stage(HEAD, 3)])
        assert [record.message for record in caplog.records] == [
            "No training stage trains these parts: extra, body.low, body.high."
        ]
        caplog.clear()
        del network.extra
        StagedTraining(network, adam(network), [stage(HEAD), stage(["body.*"])])
    assert not caplog.records


# Early stopping


def test_stalled_stage_ends_and_the_next_begins_with_the_next_epoch(caplog):
    # Stage 1: best in epoch 2, nothing better in 3 and 4. Stage 2 starts its own count and has its epochs in full.
    scores = [0.9, 0.5, 0.6, 0.5, 0.8, 0.7, 0.6, 0.1]
    plan = [stage(HEAD, 5, patience=2), stage(ALL, 3, patience=2), stage(HIGH, 1)]
    trainer = make_watched_trainer(scores, plan)
    with caplog.at_level(logging.INFO, logger=LOGGER):
        assert stages_by_epoch(trainer) == [1, 1, 1, 1, 2, 2, 2, 3]
    assert "val_loss has not improved on 0.5 of epoch 2: stage 1 ends." in caplog.messages
    assert trainer.state.epoch == 8  # of 9: training ends with the last stage


def test_end_of_a_stage_early_changes_what_is_trained():
    network = Toy()
    plan = [stage(HEAD, 4, 0.1, patience=1), stage(ALL, 1, 0.2)]
    optimizer = adam(network)
    trainer = make_watched_trainer([1, 1, 1], plan, network, optimizer)
    rates = watch(trainer, lambda: trainer.state.learning_rate)
    states = states_by_epoch(trainer, network)
    assert rates == [0.1, 0.1, 0.2]
    assert parameters_of(states[0], "low") <= moved(states[2], states[3])
    assert not moved(states[0], states[2]) & parameters_of(states[0], "low")
    assert int(optimizer.state[network.head.weight]["step"]) == 1


def test_stalled_last_stage_ends_training(caplog):
    trainer = make_watched_trainer([3, 2, 2, 2], [stage(HEAD, 1), stage(ALL, 9, patience=2)])
    with caplog.at_level(logging.INFO, logger=LOGGER):
        assert stages_by_epoch(trainer) == [1, 2, 2, 2]
    assert trainer.stages.over
    assert trainer.state.epoch == 4
    assert caplog.messages[-2:] == [
        "val_loss has not improved on 2 of epoch 2: stage 2 ends.",
        "The training stages ended with epoch 4.",
    ]


def test_patience_over_all_stages_ends_training_within_any():
    plan = [stage(HEAD, 3), stage(HIGH, 3), stage(ALL, 3)]
    trainer = make_watched_trainer([5, 4, 4.5, 4.4, 4.3, 4.2, 4.1, 4.05, 3], plan, patience=3)
    assert stages_by_epoch(trainer) == [1, 1, 1, 2, 2]
    assert trainer.stages.over


@pytest.mark.parametrize(
    ("mode", "scores", "epochs"),
    [
        ("min", [3, 2, 1, 2, 2], 5),
        ("max", [0.5, 0.6, 0.6, 0.6], 4),
        ("max", [0.5, 0.4, 0.3], 3),
        ("min", [1, math.nan, 0.5, math.nan, math.nan], 5),
        ("max", [math.nan, math.nan], 2),
        ("min", [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(1.0)], 3),
    ],
)
def test_what_counts_as_improvement(mode, scores, epochs):
    for arguments, patience in (({"patience": 2}, None), ({}, 2)):
        trainer = make_watched_trainer(scores, [stage(ALL, 9, patience=patience)], mode=mode, **arguments)
        assert len(stages_by_epoch(trainer)) == epochs


def test_improvement_in_the_last_epoch_in_time_goes_on():
    trainer = make_watched_trainer([1, 2, 0.9, 2, 0.8, 2], [stage(ALL, 6, patience=2)], patience=2)
    assert len(stages_by_epoch(trainer)) == 6
    assert not trainer.should_terminate  # the plan and the trainer ended together


def test_patience_counts_epochs_also_where_validation_is_rarer():
    network = Toy()
    validator = Engine(lambda _engine, _batch: None)
    validator.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(val_loss=1.0))
    trainer = make_trainer(network, adam(network), [stage(ALL, 20)], validator=validator, patience=5, batches=1)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=3), lambda _engine: validator.run([0]))
    assert len(stages_by_epoch(trainer)) == 9  # best in epoch 3; in epoch 6 three, in epoch 9 six epochs ago


def test_validation_before_training_counts_for_nothing():
    trainer = make_watched_trainer([3, 2, 1], [stage(ALL, 3)], patience=1)
    validator = trainer.stages.validator
    trainer.add_event_handler(Events.STARTED, lambda _engine: validator.run([0]))
    assert len(stages_by_epoch(trainer)) == 3


def test_monai_validation_and_an_ignite_metric_are_watched():
    network = Toy()
    data = [{"image": torch.ones(2, 1, 8, 8), "label": torch.tensor([0, 1])}]
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=data,
        network=network,
        key_val_metric={"val_loss": Loss(nn.functional.cross_entropy, output_transform=from_engine(["pred", "label"]))},
        decollate=False,
    )
    plan = [stage(HEAD, 20, lr=1e-30, patience=2), stage(HEAD, 5, lr=1e-30, patience=3)]
    trainer = make_trainer(network, adam(network), plan, validator=validator)
    ValidationHandler(1, validator).attach(trainer)
    assert stages_by_epoch(trainer) == [1, 1, 1, 2, 2, 2, 2]


def test_metric_that_the_validator_lacks_names_those_it_has():
    trainer = make_watched_trainer([1], [stage(ALL)], metric="val_auc", patience=3)
    with pytest.raises(UserError, match=r"'val_loss'.*set monitor to one of val_auc"):
        trainer.run()


@pytest.mark.parametrize(("plan", "patience"), [([stage(ALL, patience=2)], None), ([stage(ALL)], 2)])
def test_patience_without_a_validator_is_an_error(plan, patience):
    network = Toy()
    with pytest.raises(UserError, match="patience needs a validator"):
        StagedTraining(network, adam(network), plan, patience=patience)


@pytest.mark.parametrize("patience", [0, -1, 2.0, True, "3"])
def test_patience_is_a_number_of_epochs(patience):
    with pytest.raises(UserError, match="patience must be a whole number"):
        make_watched_trainer([], [stage(ALL)], patience=patience)


# Resuming

#: Stage 1 is cut short by its patience in epoch 3, stage 2 has its epochs, stage 3 is cut short in epoch 9 of 11.
SCORES = [0.9, 1.0, 1.1, 0.8, 0.7, 0.6, 0.5, 0.6, 0.7]
PLAN = [
    stage(HEAD, 5, 0.01, patience=2, dropout=0.3, weight_decay=0.1),
    stage(HIGH, 3, 0.02, patience=2, reset_optimizer=False),
    stage(ALL, 3, 0.03, patience=2),
]


def run_of(snapshot: bytes | None, snapshots: dict | None = None, schedule: float = 1.0):
    """What each epoch began with, and the final weights, of a run from a snapshot or from the start."""
    network = Toy()
    optimizer = adam(network)
    trainer = make_watched_trainer(SCORES, PLAN, network, optimizer, batches=2)
    trainer.data_loader = trainer.data_loader[:1] * 2  # a loader's own state is not at issue here
    parts = {"network": network, "optimizer": optimizer, "trainer": trainer, "stages": trainer.stages}
    torch.manual_seed(0)
    if snapshot is not None:
        saved = torch.load(io.BytesIO(snapshot), weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["rng"])
    epochs, began = {}, {}

    def record(engine) -> None:
        trainable = tuple(name for name, p in network.named_parameters() if p.requires_grad)
        groups = tuple((group["lr"], group["weight_decay"]) for group in optimizer.param_groups)
        steps = tuple(int(state["step"]) for state in optimizer.state.values())
        place = (engine.state.stage, engine.state.learning_rate, network.dropout.p)
        epochs[engine.state.epoch] = (*place, groups, trainable, steps)
        began.setdefault("epoch", engine.state.epoch)

    def scheduler(_engine) -> None:
        for group in optimizer.param_groups:
            group["lr"] *= schedule

    def save(engine) -> None:
        states = {name: dict(part.state_dict()) for name, part in parts.items()}
        buffer = io.BytesIO()
        torch.save({**states, "rng": torch.get_rng_state()}, buffer)
        if snapshots is not None:
            snapshots[engine.state.iteration] = buffer.getvalue()

    trainer.add_event_handler(Events.EPOCH_STARTED, record)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, scheduler)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(event_filter=lambda _engine, event: event % 2), save)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, save)  # after the validation, as it has to be
    trainer.run()
    return epochs, network.state_dict(), began.get("epoch")


@pytest.mark.parametrize("schedule", [1.0, 0.5])
def test_run_resumed_at_any_moment_goes_on_as_the_uninterrupted_one(schedule):
    """Also in the midst of an epoch, and with a scheduler that changes the learning rate within a stage."""
    snapshots: dict[int, bytes] = {}
    epochs, weights, _ = run_of(None, snapshots=snapshots, schedule=schedule)
    assert [epochs[epoch][0] for epoch in sorted(epochs)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert sorted(snapshots) == list(range(1, 19))
    for iteration, snapshot in snapshots.items():
        resumed, resumed_weights, began = run_of(snapshot, schedule=schedule)
        assert not moved(weights, resumed_weights), iteration
        assert began == (iteration // 2 + 1 if iteration < 18 else None)
        if iteration % 2:
            assert resumed.pop(began)[:-1] == epochs[began][:-1]  # in its midst it has made more steps
        assert resumed == {epoch: epochs[epoch] for epoch in epochs if epoch > -(-iteration // 2)}


def test_state_holds_plain_numbers_only():
    trainer = make_watched_trainer([torch.tensor(1.0), 2], [stage(ALL, 2)], patience=5)
    trainer.run()
    assert {type(value) for value in trainer.stages.state_dict().values()} == {int, float}
    assert trainer.stages.state_dict()["best"] == 1.0


def test_finished_run_that_is_resumed_trains_nothing():
    """Not even where Ignite, asked to resume a run that has had all its epochs, would begin from the first."""
    plan = [stage(ALL, 2)]
    trainer = make_trainer(network := Toy(), adam(network), plan)
    trainer.run()
    other = make_trainer(fresh := Toy(), adam(fresh), plan)
    other.load_state_dict(trainer.state_dict())
    other.stages.load_state_dict(trainer.stages.state_dict())
    assert other.stages.over
    assert stages_by_epoch(other) == []
    assert not moved(Toy().state_dict(), fresh.state_dict())


def test_trainer_that_resumes_past_the_plan_trains_nothing():
    network = Toy()
    trainer = make_trainer(network, adam(network), [stage(HEAD, 2), stage(ALL, 1)])
    trainer.load_state_dict({"epoch": 3, "epoch_length": 2, "max_epochs": 5})
    assert stages_by_epoch(trainer) == []


def test_state_may_be_loaded_into_a_handler_that_has_run():
    network = Toy()
    handler = StagedTraining(network, adam(network), [stage(HEAD, 3)])
    handler(SimpleNamespace(state=SimpleNamespace(epoch=1)))
    network.requires_grad_(True)
    handler.load_state_dict(handler.state_dict())
    handler(SimpleNamespace(state=SimpleNamespace(epoch=2)))
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_longer_plan_or_patience_lets_a_finished_run_go_on():
    plan = [stage(ALL, 9, patience=1)]
    trainer = make_watched_trainer([1, 1, 0.5, 1, 1], plan)
    assert stages_by_epoch(trainer) == [1, 1]
    state, engine_state = trainer.stages.state_dict(), trainer.state_dict()
    other = make_watched_trainer([1, 1, 0.5, 1, 1], [stage(ALL, 9, patience=2)])
    other.load_state_dict(engine_state)
    other.stages.load_state_dict(state)
    assert stages_by_epoch(other) == [1, 1, 1]


def test_learning_rate_that_was_changed_in_the_plan_holds_after_a_resume():
    trainer = make_trainer(network := Toy(), adam(network), [stage(ALL, 4, 0.1)])
    handler = trainer.stages
    handler(SimpleNamespace(state=SimpleNamespace(epoch=2)))
    other = StagedTraining(network, optimizer := adam(network), [stage(ALL, 4, 0.1)])
    other.load_state_dict(handler.state_dict())
    other(engine := SimpleNamespace(state=SimpleNamespace(epoch=3)))
    assert engine.state.learning_rate == optimizer.param_groups[0]["lr"] == 1.0  # as the optimizer was restored
    other = StagedTraining(network, optimizer, [stage(ALL, 4, 0.2)])
    other.load_state_dict(handler.state_dict())
    other(engine)
    assert engine.state.learning_rate == optimizer.param_groups[0]["lr"] == 0.2


def test_state_of_something_else_or_of_another_plan_is_refused():
    network = Toy()
    handler = StagedTraining(network, adam(network), [stage(HEAD), stage(ALL)])
    handler(SimpleNamespace(state=SimpleNamespace(epoch=2)))
    shorter = StagedTraining(network, adam(network), [stage(ALL)])
    with pytest.raises(UserError, match="stage 2 of training, but the plan has 1"):
        shorter.load_state_dict(handler.state_dict())
    with pytest.raises(UserError, match=r"must hold .*'stage'.*checkpoint of this version"):
        shorter.load_state_dict({"epoch": 3})
