"""What travels with a job: what git would keep, what is named, and not more than may."""

import os
import shutil
import subprocess

import pytest

from jobs.cluster import package
from jobs.cluster.package import files_to_send, pack
from rlpeft.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """A folder with an ignored one, and an ignored file below."""
    for name in ("a.toml", "runs/x/card.json", "below/b.py", "below/big.bin", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("runs/\n")
    (tmp_path / "below" / ".gitignore").write_text("*.bin\n")
    return tmp_path


KEPT = [".gitignore", "a.toml", "below/.gitignore", "below/b.py"]


def test_without_a_repository_the_patterns_hold(folder):
    shutil.rmtree(folder / ".git")
    assert [*files_to_send(folder)] == KEPT


def test_without_git_the_patterns_hold(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert [*files_to_send(folder)] == KEPT


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_repository_says_itself_what_it_ignores(folder):
    shutil.rmtree(folder / ".git")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".git" / "info" / "exclude").write_text("a.toml\n")
    subprocess.run(["git", "-C", str(folder), "add", "-f", "below/big.bin"], check=True)
    assert [*files_to_send(folder)] == [".gitignore", *KEPT[2:], "below/big.bin"]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_repository_that_git_refuses_is_told(folder):
    with pytest.raises(ConfigError, match="git must tell which files"):
        files_to_send(folder)  # its .git holds nothing that git knows


def test_what_is_named_travels_though_it_is_ignored(folder):
    shutil.rmtree(folder / ".git")
    assert "runs/x/card.json" in files_to_send(folder, ["./runs/x"])


def test_too_much_is_refused_with_the_limit_and_the_largest(folder, monkeypatch):
    shutil.rmtree(folder / ".git")
    monkeypatch.setattr(package, "MOST_BYTES", 2 * 2**20)
    with (folder / "weights").open("wb") as file:
        file.truncate(3 * 2**20)
    with pytest.raises(
        ConfigError, match=r"at most 2 MiB .* has 3; the largest: weights \(3 MiB\)"
    ):
        files_to_send(folder)


def test_too_many_are_refused(folder, monkeypatch):
    shutil.rmtree(folder / ".git")
    monkeypatch.setattr(package, "MOST_FILES", 3)
    with pytest.raises(ConfigError, match=r"at most 3 files"):
        files_to_send(folder)


def test_the_same_files_are_the_same_archive(folder):
    files = {"a": folder / "a.toml", "b/c": folder / "below" / "b.py"}
    pack(files, folder / "one.zip")
    os.utime(folder / "a.toml", (10**9, 10**9))
    pack(files, folder / "two.zip")
    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()


def test_a_link_to_a_folder_stays_and_is_told(folder, capsys):
    shutil.rmtree(folder / ".git")
    (folder / "linked").symlink_to(folder / "below")
    assert [*files_to_send(folder)] == KEPT
    assert "linked' stays here" in " ".join(capsys.readouterr().err.split())
