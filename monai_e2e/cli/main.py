"""The command ``monai-e2e``, for everything before and after training."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from monai_e2e import __version__
from monai_e2e.cli import check as cli_check
from monai_e2e.cli import experiment as cli_experiment
from monai_e2e.cli import labels as cli_labels
from monai_e2e.cli import prepare as cli_prepare
from monai_e2e.cli import validate as cli_validate
from monai_e2e.cli.options import add_bundles, add_seed, image_size, whole_number
from monai_e2e.cli.results import add_parsers
from monai_e2e.errors import UserError, of_the_system
from monai_e2e.work.interrupt import STATUS, end_on_interrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="monai-e2e",
        description="Whole-image breast-cancer classifiers on mammograms. For research, not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"monai-e2e {__version__}")
    commands = parser.add_subparsers(metavar="command")

    phantom = commands.add_parser("phantom", help="draw a phantom data set with the folders and tables of the real one")
    phantom.description = (
        "Draw mammograms by a program, with lesions, labels and tables, in the form of a download of CBIS-DDSM or "
        "INbreast."
    )
    phantom.add_argument("dataset", choices=["cbis-ddsm", "inbreast"], help="data set whose form the files have")
    phantom.add_argument("out", type=Path, metavar="OUT", help="new or empty folder")
    phantom.add_argument("--patients", type=int, default=40, help="number of patients (default: 40)")
    add_seed(phantom, "the same seed gives the same files")
    phantom.add_argument(
        "--rows", type=int, default=768, help="approximate height of the images in pixels (default: 768)"
    )
    phantom.add_argument(
        "--layout",
        choices=["descriptive", "classic", "jpeg"],
        default="descriptive",
        help="CBIS-DDSM: folders named as by NBIA Data Retriever (default), as in the tables, or the JPEG re-release",
    )
    phantom.add_argument("--defects", action="store_true", help="add the faults that real downloads have")
    phantom.add_argument(
        "--workers", type=whole_number(0), metavar="N", help="number of processes (default: one per core)"
    )

    phantom.set_defaults(run=_phantom)

    cli_prepare.add_parser(commands)

    cli_check.add_parser(commands)
    cli_labels.add_parser(commands)

    describe = commands.add_parser("describe", help="show the networks of the paper's Table 2, or the layers of one")
    describe.description = (
        "Show the networks of the paper's Table 2 with their parameters and map sizes, or the layers of one network."
    )
    describe.add_argument(
        "network",
        nargs="?",
        metavar="ROW|CONFIG|CHECKPOINT",
        help="a row's name or number, a bundle's config (a.json, or a.json,b.json) or a checkpoint (default: all rows)",
    )
    describe.add_argument("--json", action="store_true", help="print JSON")
    describe.add_argument(
        "--image-size", type=image_size, metavar="ROWSxCOLUMNS", help="size of the images (default: the network's own)"
    )
    add_bundles(describe)

    describe.set_defaults(run=_describe)

    bundle = commands.add_parser("bundle", help="copy one of the MONAI bundles, to run and change it")
    bundle.description = (
        "Copy a bundle that comes with the package, without results of earlier runs. `python -m monai.bundle run` runs "
        "the copy."
    )
    bundle.add_argument("name", metavar="NAME", help="ddsm_patch, ddsm_whole or inbreast_transfer")
    bundle.add_argument("out", type=Path, metavar="DIR", help="folder of the copy, new or empty")
    bundle.add_argument("--model", metavar="MODEL", help="checkpoint or shipped model to put in, as models/model.pt")

    bundle.set_defaults(run=_bundle)

    convert = commands.add_parser(
        "convert-keras", help="convert one of the author's published Keras models to a checkpoint"
    )
    convert.description = (
        "Convert a Keras model that the paper's author published to a checkpoint of this package. The weights stay "
        "under their author's licence, CC BY-NC-SA."
    )
    convert.add_argument("model", type=Path, metavar="MODEL.h5", help="Keras model, written by Keras 2.0's model.save")
    convert.add_argument("out", type=Path, metavar="OUT.pt", help="checkpoint to write")
    convert.add_argument("--bundle", type=Path, metavar="DIR", help="also put it into this bundle, as models/model.pt")
    convert.add_argument(
        "--pixel-mean",
        type=float,
        help="mean (0-255) subtracted from the images (default: 44.33 where MODEL's name has 'inbreast', else 52.18)",
    )

    convert.set_defaults(run=_convert_keras)

    add_parsers(commands)
    cli_validate.add_parser(commands)
    cli_experiment.add_parser(commands)

    demo = commands.add_parser("demo", help="run the whole pipeline on phantoms, with a report")
    demo.description = (
        "Draw phantoms, train the three bundles on them, evaluate each, and write a page with the results. It takes 5 "
        "to 8 minutes on two cores. For research, not for diagnosis."
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results (default: runs/demo)")
    add_bundles(demo)
    add_seed(demo, "first of the demo's two seeds")
    demo.set_defaults(run=_demo)
    return parser


# Each command imports what it needs itself, since that is a part only and torch takes seconds to load.


def _phantom(arguments: argparse.Namespace) -> int:
    from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast

    common = {name: getattr(arguments, name) for name in ("seed", "rows", "workers", "defects")}
    if arguments.dataset == "cbis-ddsm":
        planted = write_cbis_ddsm(arguments.out, arguments.patients, layout=arguments.layout, **common)
    else:
        planted = write_inbreast(arguments.out, arguments.patients, **common)
    if arguments.defects:
        print("Faults added: " + ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in planted.items()))
    print(f"{arguments.dataset} phantoms of {arguments.patients} patients: {arguments.out}")
    print(f"Next: monai-e2e prepare {arguments.dataset} {quote(str(arguments.out))} PREPARED")
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from monai_e2e.describe.text import report

    print(report(arguments.network, arguments.image_size, arguments.bundles, arguments.json))
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    from monai_e2e.shipped.bundles import copy_bundle

    out = copy_bundle(arguments.name, arguments.out, arguments.model)
    print(f"Bundle: {out} (its settings: configs/train.json, its page: docs/README.md)")
    action, config = ("training", "train") if arguments.model is None else ("inferring", "inference")
    print(f"Next: python -m monai.bundle run {action} --config_file {quote(str(out))}/configs/{config}.json")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from monai_e2e.demo.run import format_summary, run_demo

    print(format_summary(run_demo(arguments.out, arguments.bundles, arguments.seed)))
    return 0


def _convert_keras(arguments: argparse.Namespace) -> int:
    from monai_e2e.checkpoints.files import save_atomically
    from monai_e2e.networks import PatchClassifier
    from monai_e2e.networks.keras_convert import convert_keras, install_in_bundle, summarize

    network = convert_keras(arguments.model, arguments.pixel_mean)
    if arguments.bundle is not None:
        installed = install_in_bundle(network, arguments.bundle)
    save_atomically(network.state_dict(), arguments.out)
    print(f"{arguments.out}: {summarize(network)}")
    print("The weights stay under their author's licence (CC BY-NC-SA). For research, not for diagnosis.")
    if arguments.bundle is not None:
        print(f"{installed}: a copy, for this bundle's configs evaluate.json and inference.json")
    bundle, key = "inbreast_transfer", "whole_checkpoint"
    if isinstance(network, PatchClassifier):
        bundle, key = "ddsm_whole", "patch_checkpoint"
    print(f"Next: python -m monai.bundle run training --config_file bundles/{bundle}/configs/train.json \\")
    print(f"    --{key} {quote(str(arguments.out))} --dataset_dir PREPARED")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 2 for a user's mistake, 1 where some images failed, 130 for
    Ctrl-C.

    Args:
        argv: the words after the program's name; None: this process's own.
    """
    if argv is None:  # this is the program
        end_on_interrupt("run the same command again; prepare, predict and experiment continue where they stopped")
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "run" not in arguments:  # no command
        parser.print_help(sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # It logs a traceback for each damaged file, which here is a line of excluded.csv.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # in a new home it tells of its list of fonts
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return STATUS
    except BrokenPipeError:  # who reads it, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest when it ends
        return 1
    except (UserError, OSError) as error:
        mistake = error if isinstance(error, UserError) else of_the_system(error, vars(arguments).get("out"))
        if mistake is None:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return 2
