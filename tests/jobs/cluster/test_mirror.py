"""A run's folder in a mirror: whole at any kill, brought back as it was, and nothing believed."""

import hashlib
import json
import shutil

import fsspec
import pytest

from jobs.cluster.mirror import Mirror, mirroring
from rlpeft.errors import CheckpointError, ClusterError, ConfigError, FileError


class Killed(Exception):
    """Stands for whatever ends a driver."""


def written(folder, step):
    """A run after a step, as far as a mirror sees: what grows, what is replaced, what is new."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "fingerprint.json").write_text('{"method": "train"}')
    (folder / "metrics.jsonl").write_text("".join(f"{n}\n" for n in range(step + 1)))
    for old in (folder / "checkpoints").iterdir():
        (old / "state.json").unlink()
        old.rmdir()
    (folder / "checkpoints" / f"step_{step:08d}").mkdir()
    (folder / "checkpoints" / f"step_{step:08d}" / "state.json").write_text(f"state {step}")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=["file://{}/far/run", "memory://{}/far/run", "dir://run::file://{}/far"])
def url(request, tmp_path):
    (tmp_path / "far").mkdir()
    yield request.param.format(tmp_path)
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    written(folder, 1)
    return folder


def test_a_run_that_is_gone_is_brought_back_as_it_was(url, run, tmp_path):
    for step in (1, 2, 3):
        written(run, step)
        Mirror(url, run).keep()
    assert Mirror(url, tmp_path / "back").bring_back() == 3
    assert contents(tmp_path / "back") == contents(run)


def test_only_what_is_new_is_sent_and_what_is_gone_is_removed(url, run):
    mirror, sent = Mirror(url, run), []
    pipe = mirror.fs.pipe_file
    mirror.fs.pipe_file = lambda path, content: (sent.append(path), pipe(path, content))
    mirror.keep()
    assert len(sent) == 4
    sent.clear()
    written(run, 2)
    mirror.keep()
    assert len(sent) == 3
    assert len(mirror.fs.ls(mirror._at("files"))) == 3
    del mirror.fs.pipe_file


def test_a_kill_at_any_write_leaves_the_step_before_or_this_one(run, tmp_path):
    url, found = f"file://{tmp_path}/far", set()
    for kill in range(9):
        written(run, 1)
        Mirror(url, run).keep()
        steps = [contents(run)]
        written(run, 2)
        steps.append(contents(run))
        mirror, left = Mirror(url, run), [kill]

        def dying(call, left=left):
            def told(*args, **kwargs):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return call(*args, **kwargs)

            return told

        with pytest.MonkeyPatch.context() as patch:
            for name in ("pipe_file", "mv", "rm_file"):
                patch.setattr(mirror.fs, name, dying(getattr(mirror.fs, name)))
            try:
                mirror.keep()
            except Killed:
                found.add("killed")
            else:
                found.add("lived")
        back = tmp_path / f"back{kill}"
        Mirror(url, back).bring_back()
        assert contents(back) in steps
        found.add(steps.index(contents(back)))
    assert found == {"killed", "lived", 0, 1}


def test_what_a_kill_left_in_parts_is_sent_again(run, tmp_path):
    url = f"file://{tmp_path}/far"
    digest = hashlib.sha256(b"state 1").hexdigest()
    (tmp_path / "far" / "files").mkdir(parents=True)
    (tmp_path / "far" / "files" / digest).write_text("stat")
    (tmp_path / "far" / "files" / ("0" * 64)).write_text("of a file that has changed since")
    Mirror(url, run).keep()
    Mirror(url, tmp_path / "back").bring_back()
    assert contents(tmp_path / "back") == contents(run)
    assert len([*(tmp_path / "far" / "files").iterdir()]) == 3


def test_the_mirror_of_another_run_is_refused(run, tmp_path):
    Mirror(f"file://{tmp_path}/far", run).keep()
    (run / "fingerprint.json").write_text("{}")
    with pytest.raises(ConfigError, match="is another run's"):
        Mirror(f"file://{tmp_path}/far", run).bring_back()


def test_a_mirror_that_is_further_than_the_run_is_not_overwritten(run, tmp_path):
    written(run, 5)
    Mirror(f"file://{tmp_path}/far", run).keep()
    written(run, 2)
    with pytest.raises(ConfigError, match=r"is at step 2, its mirror .* at 5\. Move that folder"):
        Mirror(f"file://{tmp_path}/far", run).bring_back()


def test_an_evaluation_that_is_further_in_its_mirror_is_not_overwritten(run, tmp_path):
    shutil.rmtree(run / "checkpoints")
    (run / "completions").mkdir()
    for batch in (7, 3):  # answered in the order of engines, not of numbers
        (run / f"completions/batch_{batch:08d}.parquet").write_text(str(batch))
    Mirror(f"file://{tmp_path}/far", run).keep()
    (run / "completions/batch_00000003.parquet").unlink()
    with pytest.raises(ConfigError, match=r"is at batch 1, its mirror .* at 2\. Move that folder"):
        Mirror(f"file://{tmp_path}/far", run).bring_back()


def test_runs_of_one_place_lie_in_folders_of_their_names(url, run, tmp_path):
    Mirror(url, run, "one").keep()
    assert Mirror(url, tmp_path / "two", "two").bring_back() == 0
    assert Mirror(url, tmp_path / "one", "one").bring_back() == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file | {"name": "../../x"}, "must have plain names"),
        (lambda file: file | {"digest": "../x"}, "has no size and digest"),
        (lambda file: file | {"digest": "0" * 64}, "cannot be used: no such file"),
        (lambda file: file | {"size": -1}, "must have plain names"),
        (lambda file: [], "its mirror.json is none"),
    ],
)
def test_nothing_of_a_mirror_is_believed(run, tmp_path, change, said):
    Mirror(f"file://{tmp_path}/far", run).keep()
    manifest = tmp_path / "far" / "mirror.json"
    first, *others = json.loads(manifest.read_text())
    manifest.write_text(json.dumps([change(first), *others]))
    with pytest.raises((ClusterError, FileError), match=said):  # noqa: SIM117
        with mirroring(f"file://{tmp_path}/far", tmp_path / "back"):
            pass
    assert not (tmp_path / "back").exists()


def test_files_of_a_stranger_are_not_overwritten(run, tmp_path):
    Mirror(f"file://{tmp_path}/far", run).keep()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    with pytest.raises(CheckpointError, match="must be new or empty, or hold a run"):
        Mirror(f"file://{tmp_path}/far", tmp_path / "mine").bring_back()
    assert contents(tmp_path / "mine") == {"thesis.tex": "all of it"}


def test_content_that_is_another_is_refused(run, tmp_path):
    Mirror(f"file://{tmp_path}/far", run).keep()
    for blob in (tmp_path / "far" / "files").iterdir():
        blob.write_bytes(blob.read_bytes()[::-1])
    with pytest.raises(ClusterError, match="must arrive as it was listed"):
        Mirror(f"file://{tmp_path}/far", tmp_path / "back").bring_back()
    assert not (tmp_path / "back").exists()


def test_a_place_that_takes_nothing_stops_no_step_and_is_an_error_in_the_end(run, tmp_path, capsys):
    (tmp_path / "far").write_text("a file is in the way")
    with pytest.raises(FileError, match="did not take the run, which is whole in"):  # noqa: SIM117
        with mirroring(f"file://{tmp_path}/far", run) as keep:
            keep()
    assert "sent with the next" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("url", ["nonsense://x/y", "far/run"])
def test_a_place_that_cannot_be_is_refused(url, run):
    with pytest.raises(ConfigError, match="--mirror"):
        Mirror(url, run)


def test_no_secret_of_a_url_is_shown(run):
    assert Mirror("memory://me:secret@host/run", run).called == "memory://…@host/run"


def test_without_a_mirror_nothing_is_sent(run):
    with mirroring(None, run) as keep:
        keep()
