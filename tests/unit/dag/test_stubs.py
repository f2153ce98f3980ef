"""The folder of stubs: what is in it, that nothing of a pipeline file becomes code, and whom it trusts."""

from __future__ import annotations

import ast
import errno
import os
import stat
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.dag.stubs import MOST_SHOWN, stub_text, write_stubs
from airflow_provider_pipetrack.errors import PipetrackError

GOOD = "stage_transfers: [{name: a}]\n"
CODE = ["load_pipeline", "load_pipeline(globals(), '/p/a.yaml', '/p')"]


@pytest.fixture
def source(tmp_path) -> Path:
    made = tmp_path / "pipelines"
    made.mkdir()
    return made


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "stubs"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def code_of(text: str) -> list[str]:
    tree = ast.parse(text)
    imported, called = tree.body
    assert isinstance(imported, ast.ImportFrom)
    return [imported.names[0].name, ast.unparse(called)]


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_whatever_a_file_holds_is_no_code(data):
    assert code_of(stub_text(Path("/p/a.yaml"), Path("/p"), data)) == CODE


@pytest.mark.parametrize(
    "data",
    [
        b"a\nimport os\n",
        b"a\rimport os\r",
        b"a\x0cimport os",
        b"a\x0bimport os\x1cimport os\xc2\x85import os\xe2\x80\xa8import os",
        b'"""\nimport os\n"""',
        b"\\\nimport os",
        b"# coding: utf-7\n+AAo-import os",
        b"\x00import os",
        b"\xef\xbb\xbfimport os",
        b"\xff\xfe\nimport os",
    ],
)
def test_tricks_to_leave_a_comment_fail(data, tmp_path):
    text = stub_text(Path("/p/a.yaml"), Path("/p"), data)
    assert code_of(text) == CODE
    file = tmp_path / "a.py"
    file.write_bytes(text.encode())
    compile(file.read_bytes(), file, "exec")  # the bytes too, with whatever encoding Python reads in them
    assert all(line.startswith("#") for line in text.split("\n")[2:-1])


def test_a_file_that_looks_like_an_archive_does_not_make_its_stub_one(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("evil.py", "import os  # airflow dag")
    stub = tmp_path / "a.yaml.py"
    stub.write_text(stub_text(tmp_path / "a.yaml", tmp_path, b"stage_transfers:\n" + archive.read_bytes()))
    assert zipfile.is_zipfile(archive)
    assert not zipfile.is_zipfile(stub)


@pytest.mark.parametrize("name", ['it\'s "quoted".yaml', "new\nline.yaml", "umlaut-\udcfc.yaml", "名前.yaml"])
def test_whatever_a_file_is_called_its_stub_names_it(source, target, name):
    try:
        (source / name).write_text(GOOD)
    except UnicodeEncodeError:
        pytest.fail("the file system takes no such name")
    write_stubs(source, target)
    (stub,) = target.iterdir()
    called = ast.parse(stub.read_bytes()).body[1].value
    assert [ast.literal_eval(argument) for argument in called.args[1:]] == [str(source / name), str(source)]


def test_airflow_takes_a_stub_for_a_dag_file():
    text = stub_text(Path("/p/a.yaml"), Path("/p"), b"stage_transfers: []").lower()
    assert "airflow" in text
    assert "dag" in text


def test_an_endless_file_is_cut():
    text = stub_text(Path("/p/a.yaml"), Path("/p"), b"x" * (MOST_SHOWN + 1))
    assert len(text) < MOST_SHOWN + 1000
    assert text.endswith("\n# (the rest is left out here)\n")


def test_stubs_follow_the_files(source, target):
    (source / "deep").mkdir()
    (source / "a.yaml").write_text(GOOD)
    (source / "deep" / "b.json").write_text('{"stage_transfers": []}')
    (source / "compose.yaml").write_text("services: {}\n")
    (source / "functions.py").write_text("")
    write_stubs(source, target)
    assert names(target) == {"a.yaml.py", "deep/b.json.py"}
    (source / "deep" / "b.json").unlink()
    (source / "c.yml").write_text(GOOD)
    write_stubs(source, target)
    assert names(target) == {"a.yaml.py", "c.yml.py"}
    assert not (target / "deep").exists()


def test_only_what_changes_is_written(source, target):
    for name in ("a", "b"):
        (source / f"{name}.yaml").write_text(GOOD)
    write_stubs(source, target)
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    (source / "b.yaml").write_text(GOOD + "# more\n")
    write_stubs(source, target)
    after = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    assert after["a.yaml.py"] == before["a.yaml.py"]
    assert after["b.yaml.py"] != before["b.yaml.py"]


def test_what_does_not_belong_there_is_removed(source, target):
    (source / "a.yaml").write_text(GOOD)
    write_stubs(source, target)
    (target / "foreign.py").write_text("import os")
    (target / "folder").mkdir()
    (target / "folder" / "x.py").write_text("")
    (target / "link").symlink_to(source, target_is_directory=True)
    (target / "a.yaml.py").unlink()
    (target / "a.yaml.py").symlink_to(source / "a.yaml")
    (target / "__pycache__").mkdir()
    write_stubs(source, target)
    assert names(target) == {"a.yaml.py"}
    assert not (target / "a.yaml.py").is_symlink()
    assert (source / "a.yaml").read_text() == GOOD


def test_many_at_once_agree(source, target):
    failures = []

    def work(number):
        try:
            for turn in range(10):
                (source / f"{number}.yaml").write_text(f"{GOOD}# {turn}\n")
                write_stubs(source, target)
                assert (target / f"{number}.yaml.py").exists()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(target) == {f"{number}.yaml.py" for number in range(4)}
    assert all("# # 9" in path.read_text() for path in target.iterdir())


def test_a_missing_folder_is_said_and_removes_nothing(source, target):
    (source / "a.yaml").write_text(GOOD)
    write_stubs(source, target)
    source.rename(source.with_name("elsewhere"))
    with pytest.raises(PipetrackError, match=f"^there is no folder {source} with pipeline files$"):
        write_stubs(source, target)
    assert names(target) == {"a.yaml.py"}


def test_the_stubs_of_a_folder_that_cannot_be_read_for_now_stay(source, target, monkeypatch):
    for folder in ("a", "b", "b/deep", "c"):
        (source / folder).mkdir()
        (source / folder / "p.yaml").write_text(GOOD)
    write_stubs(source, target)
    (source / "a" / "p.yaml").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", _unread(source / "b"))
        write_stubs(source, target)
    assert names(target) == {"b/p.yaml.py", "b/deep/p.yaml.py", "c/p.yaml.py"}
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", _unread(source))
        with pytest.raises(
            PipetrackError, match=f"^the folder {source} with pipeline files cannot be read: Stale file"
        ):
            write_stubs(source, target)
    assert names(target) == {"b/p.yaml.py", "b/deep/p.yaml.py", "c/p.yaml.py"}


def test_the_stubs_behind_a_link_to_a_file_server_that_is_away_stay(source, target, tmp_path, monkeypatch):
    for folder in ("server", "server/deep", "here"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.yaml").write_text(GOOD)
    (source / "teams").mkdir()
    (source / "teams" / "a").symlink_to(tmp_path / "server")
    (source / "b").symlink_to(tmp_path / "here")
    write_stubs(source, target)
    all_of_them = {"b/p.yaml.py", "teams/a/p.yaml.py", "teams/a/deep/p.yaml.py"}
    assert names(target) == all_of_them
    looked_at, away = Path.stat, source / "teams" / "a"

    def stat_of(path, **how):
        if path.is_relative_to(away):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), str(path))
        return looked_at(path, **how)

    with monkeypatch.context() as patched:
        away.unlink()  # as it looks to who lists the folder above it
        patched.setattr(Path, "stat", stat_of)
        write_stubs(source, target)
        assert names(target) == all_of_them
    write_stubs(source, target)
    assert names(target) == {"b/p.yaml.py"}


def _unread(folder):
    """Return a ``scandir`` for which a folder is one of a file server that is away."""
    scandir = os.scandir

    def listed(path):
        if not isinstance(path, int) and Path(path) == folder:  # files are removed by descriptors
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return scandir(path)

    return listed


def test_a_folder_that_others_may_write_to_is_refused(source, target):
    target.mkdir()
    target.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write to the folder of stubs"):
        write_stubs(source, target)


def test_a_folder_of_another_user_is_refused(source, target, monkeypatch):
    target.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: target.stat().st_uid + 4711)
    original = Path.stat

    class Foreign:
        st_uid, st_mode = 4712, stat.S_IFDIR | 0o755

    monkeypatch.setattr(Path, "stat", lambda self, **more: Foreign if self == target else original(self, **more))
    with pytest.raises(PermissionError, match="others may write to the folder of stubs"):
        write_stubs(source, target)


def test_a_link_that_somebody_has_put_there_is_refused_and_nothing_behind_it_is_removed(source, target, tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "dags.py").write_text("worth keeping")
    target.symlink_to(tmp_path / "home")
    with pytest.raises(PermissionError, match="others may write to the folder of stubs"):
        write_stubs(source, target)
    assert names(tmp_path / "home") == {"dags.py"}


@pytest.mark.parametrize(("owner", "refused"), [("somebody", True), ("airflow", False), ("root", False)])
def test_a_folder_below_one_that_somebody_else_has_made_in_tmp_is_refused(
    source, tmp_path, monkeypatch, owner, refused
):
    open_to_all, between, home = tmp_path / "tmp", tmp_path / "tmp" / "airflow", tmp_path / "home"
    for folder in (open_to_all, between, home):
        folder.mkdir()
    open_to_all.chmod(0o1777)
    original, users = Path.stat, {"somebody": 4711, "airflow": 4712, "root": 0}
    owners = {between: users[owner], home: users["airflow"]}

    class Status:
        def __init__(self, path, status):
            self.st_uid, self.st_mode = owners[path], status.st_mode

    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setattr(
        Path,
        "stat",
        lambda self, **more: Status(self, original(self, **more)) if self in owners else original(self, **more),
    )
    (source / "a.yaml").write_text(GOOD)
    if refused:
        with pytest.raises(PermissionError, match="in a folder of somebody else.*airflow"):
            write_stubs(source, between / "stubs")
    else:
        write_stubs(source, between / "stubs")
        assert names(between / "stubs") == {"a.yaml.py"}
