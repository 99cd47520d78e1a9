"""NLBS: paths with backslashes, false positives."""

from pathlib import Path

from release_files import check_rows, prepared, reasons, write_csv, write_image

from monai_e2e.data.sources.nlbs import read_nlbs


def write_nlbs(folder: Path) -> Path:
    rows = []
    for case in range(12):
        kind = "cancer" if case < 5 else "fp" if case < 8 else "normal"
        for side in "LR":
            for view in ("CC", "MLO"):
                path = f"{kind}/{1000 + case}/{len(rows)}.dcm"
                write_image(folder / "images" / path, len(rows))
                row = {"File Path": path.replace("/", "\\"), "Image Laterality": side, "View Position": view}
                rows.append({**row, "Cancer": int(case < 5 and side == "L"), "False Positive": int(kind == "fp")})
    rows[-1]["File Path"] = ".\\" + str(rows[-1]["File Path"])  # as some programs write paths
    rows[-2]["File Path"] = "\\" + str(rows[-2]["File Path"])
    rows.append({**rows[0], "File Path": "stray.dcm"})
    write_csv(folder / "NLBSP-metadata.csv", rows)
    return folder


def test_cases_are_the_folders_and_false_positives_are_negative(tmp_path):
    catalogue = check_rows(read_nlbs(write_nlbs(tmp_path)))
    assert (len(catalogue.mammograms), sum(image.label for image in catalogue.mammograms)) == (48, 10)
    assert {image.patient_id for image in catalogue.mammograms} == {str(1000 + case) for case in range(12)}
    assert {image.label for image in catalogue.mammograms if image.patient_id == "1006"} == {0}
    assert catalogue.tables == {"rows": 49, "patients": 12, "files": 49, "views": None}
    assert reasons(catalogue) == {"no case in the path 'stray.dcm', such as normal\\1234\\image.dcm": 1}
    assert {image.vendor for image in catalogue.mammograms} == {"GE"}


def test_folder_is_prepared(tmp_path):
    _, datalist = prepared("nlbs", write_nlbs(tmp_path / "src"), tmp_path / "out")
    assert datalist["label_unit"] == "breast"
