"""Networks of the paper: backbones, the patch classifier, the whole-image classifier, and their weights."""

from monai_e2e.checkpoints.files import read_state
from monai_e2e.networks.architecture import ARCHITECTURE, PREPARATION, architecture
from monai_e2e.networks.backbones import (
    BACKBONES,
    VGG16,
    VGG19,
    Backbone,
    DenseNet121,
    EfficientNetLite0,
    ResNet50,
    ResNet50Keras,
    YaroslavNet,
    find_backbone,
    make_backbone,
)
from monai_e2e.networks.classifiers import (
    PatchClassifier,
    WholeImageClassifier,
    make_classifier,
    operating_point,
)
from monai_e2e.networks.distributed import synchronize_batchnorm
from monai_e2e.networks.imagenet import load_imagenet
from monai_e2e.networks.memory import checkpoint_activations
from monai_e2e.networks.start import (
    check_preparation,
    choose_architecture,
    choose_preparation,
    describe_start,
    initialize,
)
from monai_e2e.networks.top import BottleneckUnit, PatchHeatmap, make_top, make_top_block
from monai_e2e.networks.weights import (
    find_checkpoint,
    load_classifier,
    load_weights,
    read_architecture,
    read_patients,
    read_pixel_mean,
)

__all__ = [
    "ARCHITECTURE",
    "BACKBONES",
    "PREPARATION",
    "VGG16",
    "VGG19",
    "Backbone",
    "BottleneckUnit",
    "DenseNet121",
    "EfficientNetLite0",
    "PatchClassifier",
    "PatchHeatmap",
    "ResNet50",
    "ResNet50Keras",
    "WholeImageClassifier",
    "YaroslavNet",
    "architecture",
    "check_preparation",
    "checkpoint_activations",
    "choose_architecture",
    "choose_preparation",
    "describe_start",
    "find_backbone",
    "find_checkpoint",
    "initialize",
    "load_classifier",
    "load_imagenet",
    "load_weights",
    "make_backbone",
    "make_classifier",
    "make_top",
    "make_top_block",
    "operating_point",
    "read_architecture",
    "read_patients",
    "read_pixel_mean",
    "read_state",
    "synchronize_batchnorm",
]
