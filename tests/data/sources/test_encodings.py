"""How tables are encoded: nothing says it but their bytes."""

from pathlib import Path

import pytest

from monai_e2e.data.sources.encodings import decode_table
from monai_e2e.errors import UserError


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("图像,诊断\na.png,恶性\n", "gb18030"),
        ("image,诊断\na.png,malignant\n", "gb18030"),
        ("Größe;Äußerung;Öffnung\nsüß;böse;früh\n", "cp1252"),
        ("créée;L’été;CÔTÉ\nà droite;bénin;n°\n", "cp1252"),
        ("côté\n", "utf-16"),
        ("image;côté\n", "utf-16-le"),
        ("image;côté\n", "utf-16-be"),
        ("诊断\n", "utf-8-sig"),
    ],
)
def test_chinese_and_european_bytes_are_told_apart(text, encoding):
    assert decode_table(Path("t.csv"), text.encode(encoding)) == text


def test_other_files_are_no_tables():
    with pytest.raises(UserError, match=r"t\.csv: not readable as a table"):
        decode_table(Path("t.csv"), b"\x00\x01\x02")
