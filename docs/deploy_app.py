"""A MONAI Deploy app: the mammograms of one DICOM study in, a DICOM SR with their probabilities out.

``python docs/deploy_app.py --input STUDY --model MODELS --output OUT``; ``MODELS`` is a folder with an exported
``model.ts``. See ``docs/deploy.md``. For research, not for diagnosis.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.data import load_net_with_metadata
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec
from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator, DICOMTextSRWriterOperator
from monai.deploy.operators.dicom_text_sr_writer_operator import EquipmentInfo, ModelInfo

from monai_e2e.bundle import user_error
from monai_e2e.data.images.headers import read_header

SERIES = "study_selected_series_list"
MAMMOGRAMS = {"selections": [{"name": "mammograms", "conditions": {"Modality": "MG"}}]}


class ClassifyMammograms(Operator):
    """The probabilities of each image of a study, as text, by the network and the transforms of an exported model."""

    def __init__(self, fragment: Fragment, *args, model: Path, **kwargs):
        network, self.about, files = load_net_with_metadata(str(model), more_extra_files=("inference.json",))
        if self.about["network_data_format"]["outputs"]["pred"]["channel_def"] != {"0": "negative", "1": "positive"}:
            raise ValueError(f"{model} is a {self.about['name']}; export a whole-image classifier")
        self.network = network.eval()
        parser = ConfigParser(json.loads(files["inference.json"]))
        parser["checkpoint"] = str(model)
        self.preprocessing = parser.get_parsed_content("preprocessing")
        self.inferer = parser.get_parsed_content("inferer")
        self.postprocessing = parser.get_parsed_content("postprocessing")
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input(SERIES)
        spec.output("text")

    def compute(self, op_input, op_output, context) -> None:
        studies = op_input.receive(SERIES)
        if len(studies) != 1:
            raise ValueError(f"the input has {len(studies)} studies with mammograms; give one")
        instances = [
            instance.get_native_sop_instance()
            for selected in studies[0].selected_series
            for instance in selected.series.get_sop_instances()
        ]
        lines = [self.describe(Path(image.filename)) for image in instances]
        title = f"{self.about['name']} {self.about['version']}: probability of malignancy"
        op_output.emit("\n".join([title, *sorted(lines), "For research, not for diagnosis."]), "text")

    def describe(self, path: Path) -> str:
        """A line of the report. One image that can't be read doesn't keep the others from being reported."""
        header = read_header(path)
        name = f"{header.laterality[:1] or 'side unknown'} {header.view or 'view unknown'}"
        try:
            return f"{name}: {self.classify(path):.3f}"
        except RuntimeError as error:
            if user_error(error) is None:
                raise
            return f"{name}: NOT READ"

    def classify(self, path: Path) -> float:
        image = self.preprocessing({"image": path})["image"]
        with torch.inference_mode():
            logits = self.inferer(image[None].as_tensor(), self.network)[0]
        return float(self.postprocessing({"pred": logits})["pred"][1])


class MammogramApp(Application):
    """Load a study, choose its mammograms, classify each, and write the result for the PACS."""

    def compose(self) -> None:
        context = Application.init_app_context(self.argv)
        model = Path(context.model_path)
        model = model / "model.ts" if model.is_dir() else model
        loader = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="loader"
        )
        selector = DICOMSeriesSelectorOperator(self, rules=json.dumps(MAMMOGRAMS), all_matched=True, name="selector")
        classifier = ClassifyMammograms(self, model=model, name="classifier")
        writer = DICOMTextSRWriterOperator(
            self,
            output_folder=Path(context.output_path),
            model_info=ModelInfo("monai-e2e", classifier.about["name"], classifier.about["version"]),
            equipment_info=EquipmentInfo(),
            custom_tags={"SeriesDescription": "Research result, not for diagnosis"},
            name="writer",
        )
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, classifier, {(SERIES, SERIES)})
        self.add_flow(classifier, writer, {("text", "text")})
        self.add_flow(selector, writer, {(SERIES, SERIES)})


if __name__ == "__main__":
    MammogramApp().run()
