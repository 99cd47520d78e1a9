"""A site of an NVFlare federation: MONAI's client, called by NVFlare's.

``docs/nvflare_job.py`` sends this script to the sites. Each has a folder with its copy of a bundle, and in it a file
``settings.json`` with the config's keys at that site. See ``docs/federated.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nvflare.client as flare
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from nvflare.apis.dxo import MetaKey

from monai_e2e.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the site's folder")
    parser.add_argument("--local-epochs", type=int, required=True, help="epochs of a round")
    arguments = parser.parse_args()
    settings = arguments.folder / "settings.json"
    if not settings.is_file():
        raise UserError(f"{settings} is missing: write the config's keys at this site into it, {{}} for none")
    keys = json.loads(settings.read_text(encoding="utf-8"))

    flare.init()
    site = MonaiAlgo(
        str(arguments.folder.resolve()),
        local_epochs=arguments.local_epochs,
        send_weight_diff=False,
        train_kwargs=dict(keys),
        eval_kwargs=dict(keys),
    )
    site.initialize({ExtraItems.CLIENT_NAME: flare.get_site_name()})
    while flare.is_running():
        server = ExchangeObject(weights=flare.receive().params)
        metrics = site.evaluate(server).metrics  # of the server's weights: by these NVFlare chooses its best model
        site.train(server)
        images = len(site.train_workflow.train_dataset_data)
        update = site.get_weights().weights
        flare.send(flare.FLModel(params=update, metrics=dict(metrics), meta={MetaKey.NUM_STEPS_CURRENT_ROUND: images}))
    site.finalize()


if __name__ == "__main__":
    main()
