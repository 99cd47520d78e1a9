"""A federation of two sites on one machine: MONAI's client at each site, and a server that averages, in a few lines.

Without ``--site`` the sites have phantoms. ``docs/federated.md`` explains federations.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"

Weights = Mapping[str, torch.Tensor]


def join(bundle: str | Path, name: str, folder: Path, settings: Mapping[str, Any], local_epochs: int = 1) -> MonaiAlgo:
    """Make a site: a bundle that MONAI's client runs, with the site's own config keys and its own folder."""
    keys = {"output_dir": str(folder), "model_dir": str(folder), **settings}
    client = MonaiAlgo(
        str(bundle),
        local_epochs=local_epochs,
        send_weight_diff=False,
        train_kwargs=dict(keys),
        eval_kwargs=dict(keys),
        best_model_filepath=str(folder / "model.pt"),
        final_model_filepath=str(folder / "model_final.pt"),
    )
    client.initialize({ExtraItems.CLIENT_NAME: name})
    return client


def average(sites: Sequence[tuple[int, Weights]]) -> Weights:
    """Mean of the sites' weights, weighted by their numbers of images (FedAvg, McMahan et al. 2017)."""
    total = sum(images for images, _ in sites)
    first = sites[0][1]
    return {
        key: sum(images / total * weights[key].double() for images, weights in sites).to(first[key].dtype)
        for key in first
    }


def federate(clients: Sequence[MonaiAlgo], rounds: int) -> tuple[Weights, list[list[dict[str, float]]]]:
    """Train together, starting from the first site's weights.

    Returns:
        The server's final weights; and for each round, for each site, the metrics of the averaged weights on the site's
        own validation images.
    """
    server = copy.deepcopy(clients[0].get_weights().weights)  # what the client gives are the network's own tensors
    history = []
    for _ in range(rounds):
        trained = []
        for client in clients:
            client.train(ExchangeObject(weights=server))
            trained.append((len(client.train_workflow.train_dataset_data), client.get_weights().weights))
        server = average(trained)
        history.append([dict(client.evaluate(ExchangeObject(weights=server)).metrics) for client in clients])
    for client in clients:
        client.finalize()
    return server, history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="ddsm_whole", help="name of a bundle (default: %(default)s)")
    parser.add_argument("--site", action="append", help="prepared folder of a site, once for each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local-epochs", type=int, default=2, help="epochs of a round (default: %(default)s)")
    parser.add_argument("--settings", type=json.loads, default={}, help="keys of the bundle's config as JSON")
    parser.add_argument("--out", type=Path, default=Path("runs/two_sites"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, force=True)
    if arguments.site:
        own = [{"recipe": "small", "dataset_dir": folder} for folder in arguments.site]
    else:
        own = [{"recipe": "phantom", "phantom#patients": 120, "phantom#seed": seed} for seed in (0, 1)]
    if arguments.bundle != "ddsm_patch":
        own[0]["weights"] = "checkpoint"  # as without a federation; the other sites start from its weights
    clients = []
    for index, keys in enumerate(own, start=1):
        name = f"site-{index}"
        settings = {**keys, **arguments.settings}
        clients.append(join(BUNDLES / arguments.bundle, name, arguments.out / name, settings, arguments.local_epochs))
    _, history = federate(clients, arguments.rounds)
    for number, metrics in enumerate(history, start=1):
        print(f"round {number}:", *(f"{key} {value:.3f}" for site in metrics for key, value in site.items()))


if __name__ == "__main__":
    main()
