"""A key that leaves out a training's pictures: more than half the time of a tiny one; tests of pictures have them."""

import json
from pathlib import Path

_HANDLERS = json.loads((Path(__file__).parents[2] / "bundles/ddsm_whole/configs/train.json").read_text())["train"][
    "handlers"
]
#: For each of the bundles, which have the same handlers.
WITHOUT_PICTURES = {
    f"train#handlers#{index}#_disabled_": True
    for index, handler in enumerate(_HANDLERS)
    if handler["_target_"].endswith("TrainingPictures")
}
