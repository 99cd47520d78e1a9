"""Networks of the paper: backbones, the patch classifier, the whole-image classifier, and their weights."""

from monai_e2e.networks.backbones import BACKBONES, VGG16, Backbone, ResNet50, make_backbone
from monai_e2e.networks.classifiers import PatchClassifier, WholeImageClassifier
from monai_e2e.networks.top import BottleneckUnit, make_top, make_top_block
from monai_e2e.networks.weights import initialize, load_imagenet, load_weights, read_pixel_mean, read_state

__all__ = [
    "BACKBONES",
    "VGG16",
    "Backbone",
    "BottleneckUnit",
    "PatchClassifier",
    "ResNet50",
    "WholeImageClassifier",
    "initialize",
    "load_imagenet",
    "load_weights",
    "make_backbone",
    "make_top",
    "make_top_block",
    "read_pixel_mean",
    "read_state",
]
