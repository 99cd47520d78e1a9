"""The pages speak of commands, options, files and links that exist, and the tutorial runs."""

import argparse
import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from monai_e2e.cli.main import _parser

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("bundles/*/docs/README.md"),
    )
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: Paths below these folders are files of the repository, wherever a page names them.
OURS = ("monai_e2e", "bundles", "docs", "tests", "benchmarks", ".ci")
#: What is there only after something was run.
MADE = re.compile(r"bundles/[^/]+/(models|eval)(/|$)|docs/(benchmarks|gpu)\.(md|json)$|\*|<|…")

#: Options of other programs, and those that a page names because they don't exist.
OTHERS = {
    *("--config_file", "--args_file", "--tracking", "--standalone"),  # MONAI, torchrun
    *("--shm-size", "--network", "--user", "--extra-index-url"),  # docker, pip
    *("--key", "--lr", "--epochs"),
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)), {})


def shell_lines(page: str) -> list[str]:
    """The commands of a page's shell blocks, continued lines joined and comments cut off."""
    blocks = "".join(block for language, block in BLOCK.findall(text_of(page)) if language == "sh")
    return [re.sub(r"\s+#.*", "", line) for line in blocks.replace("\\\n", " ").splitlines()]


def snippets(page: str) -> list[str]:
    """Whatever may be a command: shell lines, and code within sentences."""
    prose = BLOCK.sub("", text_of(page))
    return [*shell_lines(page), *(code.replace("\n", " ") for code in INLINE.findall(prose))]


def calls(page: str, program: str) -> Iterator[list[str]]:
    """The words after ``program`` of each call of it on a page."""
    for snippet in snippets(page):
        for part in re.split(r"&&|;|\||(?<!\S)do(?!\S)", snippet):
            words = shlex.split(part) if part.count('"') % 2 == 0 and part.count("'") % 2 == 0 else part.split()
            words = words[next((n for n, word in enumerate(words) if "=" not in word), 0) :]  # NAME=value before it
            if words[: len(program.split())] == program.split():
                yield words[len(program.split()) :]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_are_the_parsers(page):
    for words in calls(page, "monai-e2e"):
        parser, rest = _parser(), words
        while rest and subcommands(parser):
            known = subcommands(parser)
            if rest[0].startswith("-") or not rest[0].islower():  # an option of the program, or a placeholder
                break
            assert rest[0] in known, f"{page}: monai-e2e {' '.join(words)}"
            parser, rest = known[rest[0]], rest[1:]
        options = [word.split("=")[0] for word in rest if re.match(r"--[a-z]", word)]
        unknown = [option for option in options if option not in parser._option_string_actions]
        assert not unknown, f"{page}: monai-e2e {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES)
def test_options_in_sentences_are_some_commands(page):
    """An option alone, as in "with ``--heatmap``": of a command, a bundle's key, a script or another known program."""
    known = {option for command in subcommands(_parser()).values() for option in command._option_string_actions}
    keys = {f"--{key}" for config in ROOT.glob("bundles/*/configs/*.json") for key in keys_of(config)}
    files = [*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("docs/*.py")]
    scripts = "".join(path.read_text(encoding="utf-8") for path in files)
    prose = BLOCK.sub("", text_of(page))
    for code in INLINE.findall(prose):
        if code.startswith("--") and not MADE.search(code.split()[0]):
            option = re.split(r"[\s=#]", code)[0]
            assert option in known | keys | OTHERS or f'"{option}"' in scripts, f"{page}: {option}"


def keys_of(config: Path) -> set[str]:
    """Keys that may stand on the command line of a bundle: top-level ones, and those of its recipes."""
    values = json.loads(config.read_text(encoding="utf-8"))
    recipes = values.get("recipes", {}).values()
    return {*values, *(key for recipe in recipes for key in recipe), "optimizer_name"}


@pytest.mark.parametrize("page", PAGES)
def test_bundles_commands_name_configs_and_keys_that_exist(page):
    home = (ROOT / page).parent.parent if page.startswith("bundles") else ROOT
    for words in calls(page, "python -m monai.bundle run"):
        if "--config_file" not in words:
            continue
        value = words[words.index("--config_file") + 1]
        files = ast.literal_eval(value) if value.startswith("[") else [value]
        paths = [home / re.sub(r"^(published|mine)/", "bundles/ddsm_whole/", file) for file in files]  # copies of it
        for path in paths:
            assert path.is_file(), f"{page}: {value}"
        known = set().union(*map(keys_of, paths))
        given = [word.split("=")[0] for word in words if word.startswith("--") and word != "--config_file"]
        for option in given:
            assert option[2:].split("#")[0] in known | {"…"}, f"{page}: {option}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(BLOCK.sub("", text_of(page))):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.is_file(), f"{page}: {link}"
        if heading:
            assert heading in headings(target), f"{page}: {link}"


def headings(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    home = (ROOT / page).parent.parent  # of a bundle's page: the bundle, whose commands are run there
    for snippet in snippets(page):
        for word in re.findall(r"[^\s'\",\[\]()=]+", snippet):
            path = word.rstrip(".:;")
            if path.split("/")[0] in OURS and "/" in path and not MADE.search(path):
                assert (ROOT / path).exists() or (home / path).exists(), f"{page}: {path}"


def test_no_page_has_a_placeholder_for_an_address_or_a_path_of_one_machine():
    mounted = ("/data/", "/results", "/runs/", "/opt/monai-e2e/")  # what a container sees, wherever it lies outside
    for page in PAGES:
        text = text_of(page)
        assert not re.search(r"ADDRESS_OF|example\.com", text), page
        absolute = re.findall(r"(?<=[\s`'\"(=:])/(?=[A-Za-z])[\w.-]+/[\w./-]*", text)
        assert [path for path in absolute if not path.startswith(mounted)] == [], page


def test_the_readme_is_short_and_begins_with_the_demo_and_the_tests():
    assert len(text_of("README.md").splitlines()) <= 150
    commands = [line for line in shell_lines("README.md") if line.strip()]
    assert [line.split()[:2] for line in commands[:2]] == [["make", "demo"], ["make", "test"]]


def tutorial():
    """The module docs/tutorial.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs/tutorial.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_what_the_tutorials_script_writes():
    pytest.importorskip("nbclient")
    kept = json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    assert ["".join(cell["source"]) for cell in kept] == [cell.source for cell in tutorial().notebook().cells]
    assert (ROOT / "docs/tutorial.ipynb").stat().st_size < 600e3


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    pytest.importorskip("nbclient")
    module = tutorial()
    made = module.run(module.notebook(), tmp_path)
    printed = "".join(output.get("text", "") for cell in made.cells for output in cell.get("outputs", []))
    assert "AUC" in printed
    assert "error:" not in printed
