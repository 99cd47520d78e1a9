"""A federation with NVFlare: its server averages what MONAI's client learns at each site.

Without ``--site`` it makes two sites with phantoms on this machine and runs them in NVFlare's simulator. With NVFlare's
own options ``--export --export-dir jobs`` it writes the job for a real federation. See ``docs/federated.md``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from nvflare.app_opt.pt import PTFileModelPersistor
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import ExchangeFormat
from nvflare.recipe import SimEnv
from nvflare.recipe.utils import set_per_site_config

from monai_e2e.shipped.bundles import copy_bundle
from monai_e2e.shipped.models import find_model


def make_sites(root: Path) -> dict[str, str]:
    """Two sites on this machine, each with phantoms of its own in the form of INbreast."""
    sites = {name: root / name for name in ("north", "south")}
    for seed, folder in enumerate(sites.values()):
        if not folder.exists():
            copy_bundle("inbreast_transfer", folder)
        settings = {"recipe": "phantom", "phantom#patients": 60, "phantom#seed": seed}
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return {name: str(folder.resolve()) for name, folder in sites.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", default="phantom-whole", help="the server's first model (default: %(default)s)")
    parser.add_argument("--site", action="append", metavar="NAME=FOLDER", help="a site, and its folder there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local-epochs", type=int, default=2, help="epochs of a round (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/nvflare"), help="(default: %(default)s)")
    arguments, _ = parser.parse_known_args()  # NVFlare reads its own
    if wrong := [site for site in arguments.site or () if not re.fullmatch(r"[\w.-]+=\S+", site)]:
        parser.error(f"--site {wrong[0]}: give NAME=FOLDER, without blanks")

    sites = dict(site.split("=", 1) for site in arguments.site) if arguments.site else make_sites(arguments.out)
    script = str(Path(__file__).with_name("nvflare_site.py"))
    recipe = FedAvgRecipe(
        name="monai-e2e",
        min_clients=len(sites),
        num_rounds=arguments.rounds,
        train_script=script,
        server_expected_format=ExchangeFormat.PYTORCH,
        model_persistor=PTFileModelPersistor(
            source_ckpt_file_full_name=str(find_model(arguments.start).resolve()), allow_numpy_conversion=False
        ),
        key_metric="val_auc",
    )
    set_per_site_config(
        recipe,
        {
            name: {"train_args": f"--local-epochs {arguments.local_epochs} --folder {folder}"}
            for name, folder in sites.items()
        },
    )
    # NVFlare lets a server's app without code use listed classes alone, and its own persistor for PyTorch isn't listed.
    recipe.add_server_file(script)
    environment = SimEnv(clients=list(sites), workspace_root=str(arguments.out.resolve()), log_config="concise")
    run = recipe.execute(environment)
    if run is not None:  # None: exported
        models = Path(run.get_result()) / "server/simulate_job/app_server"
        print(f"The average of the last round: {models / 'FL_global_model.pt'}")


if __name__ == "__main__":
    main()
