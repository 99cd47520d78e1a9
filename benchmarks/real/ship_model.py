"""Put a trained model into the package: ``python benchmarks/real/ship_model.py CHECKPOINT NAME CARD.json``.

The checkpoint is written in half precision, as plain tensors, to ``monai_e2e/shipped/weights/NAME.pt``, and the card
beside it with its SHA-256 filled in. ``--patients PREPARED`` adds whom it was trained on, where the training didn't
write that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch

from monai_e2e.checkpoints.files import save_atomically
from monai_e2e.networks import load_classifier
from monai_e2e.networks.patients import record_patients, recorded_patients
from monai_e2e.seen import describe_patients
from monai_e2e.shipped.models import FOLDER


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Kernels in half precision; biases, normalisations, mean and threshold, which take no room, stay as they are."""
    return {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value for key, value in state.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name")
    parser.add_argument("card", type=Path)
    parser.add_argument("--patients", type=Path, metavar="PREPARED")
    arguments = parser.parse_args()
    network = load_classifier(arguments.checkpoint)
    if arguments.patients is not None and not recorded_patients(network):
        record_patients(network, describe_patients(arguments.patients), {})
    path = FOLDER / f"{arguments.name}.pt"
    save_atomically(halved(network.state_dict()), path)
    card = json.loads(arguments.card.read_text(encoding="utf-8"))
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {card['sha256']}")


if __name__ == "__main__":
    main()
