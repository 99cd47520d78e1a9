"""MkDocs hooks: the site includes pages and files of the repository that are outside ``docs``.

A page in ``docs`` may link to any file of the repository by its relative path, as on GitHub. These files get the same
path in the site, and links to them are rewritten. The notebook becomes a page.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    *(f"bundles/{name}/docs/README.md" for name in ("ddsm_patch", "ddsm_whole", "inbreast_transfer")),
)
#: Files → the pages of the site that links to them lead to.
INSTEAD = {ROOT / "docs/tutorial.ipynb": "tutorial.md", ROOT / "README.md": "index.md"}
ROLE = re.compile(r":(?:class|func|data|mod|attr|meth):<code>(~?)([\w.]+)</code>")
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, the notebook as one, and each file outside ``docs`` that a page links to."""
    for page in PAGES:
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    files.append(File.generated(config, "tutorial.md", content=notebook_page(ROOT / "docs/tutorial.ipynb")))
    for page in [file for file in files if file.is_documentation_page()]:
        for _, link, _ in LINK.findall(page.content_string):
            path = target(page.src_uri, link)
            if path and files.get_file_from_path(path) is None and (ROOT / path).is_file():
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links to the place of their file in the site."""
    folder = os.path.dirname(page.file.src_uri) or "."

    def rewritten(found: re.Match[str]) -> str:
        path = target(page.file.src_uri, found[2])
        return found[0] if path is None else f"{found[1]}{os.path.relpath(path, folder)}{found[3]}"

    return LINK.sub(rewritten, markdown)


def target(page: str, link: str) -> str | None:
    """Path in the site of the file that ``page`` links to; None for web addresses and missing files."""
    if "://" in link or link.startswith("mailto:"):
        return None
    home = ROOT if page in PAGES else ROOT / "docs"
    path = Path(os.path.normpath(home / Path(page).parent / link))
    if path in INSTEAD:
        return INSTEAD[path]
    if path.is_relative_to(ROOT / "docs"):
        return None if home == ROOT / "docs" else path.relative_to(ROOT / "docs").as_posix()
    return path.relative_to(ROOT).as_posix() if path.is_file() and path.is_relative_to(ROOT) else None


def on_page_content(html: str, **_: Any) -> str:
    """Show names in docstrings, which Sphinx would link, as plain code."""
    return ROLE.sub(lambda found: f"<code>{found[2].rpartition('.')[2] if found[1] else found[2]}</code>", html)


def notebook_page(notebook: Path) -> str:
    """A notebook's cells as Markdown, with their saved output, text and pictures."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/jpeg" in data:
                picture = "".join(data["image/jpeg"]).replace("\n", "")
                parts.append(f"![What this cell draws](data:image/jpeg;base64,{picture})")
            else:
                text = "".join(output.get("text", data.get("text/plain", [])))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
