"""Where results come from, as a run's record states it."""

import subprocess
from pathlib import Path

import pytest

from monai_e2e import provenance
from monai_e2e.provenance import git_state


def test_revision_and_whether_the_package_was_changed(tmp_path):
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "--quiet")
    assert git_state(package) == {"revision": "unknown", "modified": None}
    git("add", "package")
    git("commit", "--quiet", "--message", "first")
    (tmp_path / "beside the package.txt").write_text("")
    assert git_state(package) == {"revision": git("rev-parse", "HEAD"), "modified": False}
    (package / "new.py").write_text("")
    assert git_state(package)["modified"] is True


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)])
def test_without_git_or_its_answer_the_revision_is_unknown(error, monkeypatch):
    def run(*_arguments, **_keywords) -> None:
        raise error

    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert git_state(Path(__file__).parent) == {"revision": "unknown", "modified": None}
