"""The patch classifier in the form of the Model Zoo's ``ci/unit_tests``: every config runs, on small phantoms.

Where there is a folder ``models``, as in the Zoo, the bundle is looked for there, else in this checkout's ``bundles``.
"""

import os
import shutil
import tempfile
import unittest

from monai.bundle import ConfigWorkflow

NAME = "ddsm_patch"
ROOT = os.path.join("models", NAME)
if not os.path.isdir(ROOT):
    ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "bundles", NAME)
SMALL = {"image_size": [128, 96], "phantom#patients": 16, "width": 0.0625, "patch_size": 32}


class TestDdsmPatch(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.override = {**SMALL, "bundle_root": ROOT, "output_dir": self.folder}

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_workflow(self, kind, names, **override):
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=[os.path.join(ROOT, f"configs/{name}.json") for name in names],
            logging_file=os.path.join(ROOT, "configs/logging.conf"),
            meta_file=os.path.join(ROOT, "configs/metadata.json"),
            **{**self.override, **override},
        )
        workflow.initialize()
        self.assertEqual(workflow.check_properties() or [], [])
        workflow.run()
        workflow.finalize()

    def test_train_evaluate_and_infer(self):
        training = {"model_dir": self.folder, "train#trainer#max_epochs": 1}
        self.run_workflow("train", ["train"], **training)
        self.run_workflow("train", ["train", "evaluate"], model_dir=self.folder)
        self.assertTrue(os.path.isfile(os.path.join(self.folder, "score.json")))
        self.run_workflow("infer", ["inference"], checkpoint=os.path.join(self.folder, "model.pt"))


if __name__ == "__main__":
    unittest.main()
