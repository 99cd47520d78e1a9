"""Plans: those that come with the package, what they become, and what is refused."""

import json
from pathlib import Path

import pytest

from monai_e2e.describe.network import from_config
from monai_e2e.describe.stored import TABLE_2
from monai_e2e.errors import UserError
from monai_e2e.experiment.commands import Commands, recipe_of, train_config
from monai_e2e.experiment.plan import plan_names, read_plan
from monai_e2e.experiment.runs import Expansion

BUNDLES = Path(__file__).parents[2] / "bundles"
NO_FOLDS = {"cbis-ddsm": [None], "inbreast": [None]}


def expand(plan, recipe="paper", folds=NO_FOLDS, **changes):
    data = {name: Path("/data") / name for name in NO_FOLDS}
    return Expansion(read_plan(plan, recipe, changes), Commands(Path("/runs"), BUNDLES, recipe, data), folds)


def options(step):
    return dict(zip(step.argv[4::2], step.argv[5::2], strict=True))


@pytest.fixture
def write(tmp_path):
    def write(**content):
        (tmp_path / "own.json").write_text(json.dumps(content))
        return tmp_path / "own.json"

    return write


@pytest.mark.parametrize("recipe", ["paper", "small", "phantom"])
@pytest.mark.parametrize("name", plan_names())
def test_a_shipped_plan_sets_keys_that_its_bundles_have(name, recipe):
    expansion = expand(name, recipe, {"cbis-ddsm": [0, 1], "inbreast": [0, 1]} if name == "crossval" else NO_FOLDS)
    names = [step.name for step in expansion.steps]
    assert len(set(names)) == len(names)
    trainings = [run for run in expansion.runs.values() if run.row.bundle]
    assert trainings
    for run in trainings:
        known = train_config(BUNDLES / run.row.bundle)
        assert {key.removeprefix("--") for key in options(run.steps[0])} - {"config_file"} <= set(known)
        for file in options(run.steps[0])["--config_file"].strip("[]").replace("'", "").split(","):
            assert Path(file).is_file()
        assert run.epochs > 0


def test_table_2_has_the_papers_ten_designs_and_what_it_says_beside_them():
    plan = read_plan("table2", "paper")
    overlays = [row.overlay.removeprefix("models/") for row in map(plan.rows.get, plan.select) if row.overlay]
    assert list(dict.fromkeys(overlays)) == list(TABLE_2)
    published = {name: plan.rows[name].published("auc") for name in plan.select}
    assert [published[name] for name in plan.select if plan.rows[name].predict] == [0.88, 0.86, 0.88, 0.91]
    assert published["hybrid-extended"] == 0.85
    (extended,) = [run for run in expand("table2").runs.values() if run.row.name == "hybrid-extended"]
    usual = sum(stage["epochs"] for stage in recipe_of(BUNDLES / "ddsm_whole", "paper")["stages"])
    assert extended.epochs == usual + 200


def test_the_phantoms_networks_can_be_built(tmp_path):
    plan = read_plan("table2", "phantom")
    for name in plan.select:
        row = plan.rows[name]
        if row.bundle is None:
            continue
        configs = BUNDLES / row.bundle / "configs"
        keys = {key: value for key, value in row.keys.items() if key not in ("stages", "weights")}
        (tmp_path / "keys.json").write_text(json.dumps({"width": 0.125, **keys}))
        found = from_config(
            [configs / "train.json", configs / f"{row.overlay}.json", tmp_path / "keys.json"], (288, 224), name
        )
        assert found.parameters < 3_000_000


def test_a_row_starts_from_the_run_that_it_needs_after_that_has_been_trained():
    runs = expand("table2", select=["vgg16_512x1-flips"]).runs
    assert list(runs) == ["vgg16-patch-seed0", "vgg16_512x1-seed0", "vgg16_512x1-flips-seed0"]
    patch, whole, flips = runs.values()
    assert options(whole.steps[0])["--patch_checkpoint"] == "/runs/vgg16-patch-seed0/model.pt"
    assert options(whole.steps[0])["--resume"] == "true"
    assert list(whole.steps[0].after) == [patch.steps[0]]
    assert flips.steps[0].command == (
        "monai-e2e predict /runs/vgg16_512x1-seed0/model.pt /data/cbis-ddsm /runs/vgg16_512x1-flips-seed0 --tta flips "
        "--workers 0"
    )


def test_seeds_are_those_of_the_selected_rows_alone_and_folds_of_all():
    folds = {"cbis-ddsm": [0, 1], "inbreast": [None]}
    expansion = expand("table2", folds=folds, select=["vgg16_512x1"], seeds=[3, 4])
    patches = [name for name in expansion.runs if "patch" in name]
    assert patches == ["vgg16-patch-seed3-fold0", "vgg16-patch-seed3-fold1"]
    whole = expansion.runs["vgg16_512x1-seed4-fold1"]
    assert options(whole.steps[0])["--patch_checkpoint"] == "/runs/vgg16-patch-seed3-fold1/model.pt"
    assert (options(whole.steps[0])["--fold"], options(whole.steps[0])["--seed"]) == ("1", "4")
    pooled = expansion.lines[0].pooled[4]
    assert pooled.command == (
        "monai-e2e score /runs/vgg16_512x1-seed4-fold0/predictions.csv /runs/vgg16_512x1-seed4-fold1/predictions.csv "
        "--out /runs/vgg16_512x1-seed4-folds"
    )
    single = expand("table2", select=["vgg16_512x1"], seeds=[4]).runs
    assert pooled.makes not in [run.score for run in single.values()]


def test_training_patients_are_those_of_the_selected_rows_with_the_papers_values():
    expansion = expand("table3", seeds=[0], patients=[20, 30])
    assert [(line.row.name, line.patients) for line in expansion.lines[:2]] == [
        ("resnet50-transfer", 20),
        ("resnet50-transfer", 30),
    ]
    assert [line.row.published("auc", line.patients) for line in expansion.lines[:2]] == [0.78, 0.78]
    for name, run in expansion.runs.items():
        assert ("--training_patients" in options(run.steps[0])) == ("transfer" in name)
        assert "--training_patients" not in options(run.steps[1])


def test_what_is_typed_changes_the_plan():
    (line,) = expand("table2", select=["vgg16_512x1"], set={"amp": True}).lines
    assert options(line.runs[0][0].steps[0])["--amp"] == "true"


ROW = {"bundle": "ddsm_patch"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rows": {"a": ROW}, "select": ["b"]}, "no row 'b': choose one of: a"),
        ({"rows": {"a": ROW}, "seed": 1}, "the plan: unknown key 'seed'; did you mean 'seeds'.*docs/experiments.md"),
        (
            {"rows": {"a": {**ROW, "from": "x"}}},
            "row 'a' has 'from', which is only for ddsm_whole and inbreast_transfer",
        ),
        ({"rows": {"a": {"bundle": "ddsm_whole", "from": "cbis-mas"}}}, "neither a file nor a shipped model; did you"),
        ({"rows": {"a": {"bundle": "ddsm_whole", "predict": ["a"]}}}, r"rows.a: .*valid under each of"),
        ({"rows": {"a": {**ROW, "overlai": "x"}}}, "rows.a: unknown key 'overlai'; did you mean 'overlay'"),
        ({"rows": {"a/b": ROW}}, "'a/b' does not match"),
        ({"extends": "own.json"}, "it extends itself"),
        ({"extends": "table9"}, "no such plan; did you mean 'table"),
        ({}, "it has no rows"),
    ],
)
def test_what_a_plan_may_not_have_is_refused(write, content, message):
    with pytest.raises(UserError, match=message):
        read_plan(write(**content), "paper")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"set": {"batch_sise": 8}},
            "row 'a' sets 'batch_sise', which ddsm_whole doesn't have; did you mean 'batch_size'",
        ),
        ({"set": {"train#trainr": 8, "xyz": 1}}, "row 'a' sets 'xyz'.*docs/configuration.md"),
        (
            {"overlay": "models/vgg16_511x1"},
            "row 'a': ddsm_whole has no config models/vgg16_511x1; did you mean 'models/vgg",
        ),
    ],
)
def test_what_a_bundle_does_not_have_is_refused_before_any_training(write, row, message):
    with pytest.raises(UserError, match=message):
        expand(write(rows={"a": {"bundle": "ddsm_whole", **row}}))
