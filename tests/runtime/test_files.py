"""Files that are written whole: what stood at their path stays what it was."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from usu.runtime.files import written_whole


def write(path, content=b"new"):
    with written_whole(path) as file:
        file.write(content)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "page.html", tmp_path / "link.html"
    link.symlink_to(target)
    for content in (b"first", b"second"):  # a target that is not there yet, and one that is
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert os.listdir(tmp_path / "real") == ["page.html"]


def test_a_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path):
    kept, new, usual = (tmp_path / name for name in ("kept", "new", "usual"))
    kept.write_bytes(b"old")
    kept.chmod(0o600)
    usual.write_bytes(b"")
    write(kept)
    write(new)
    assert kept.read_bytes() == b"new"
    assert (mode(kept), mode(new)) == (0o600, mode(usual))


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(pipe)
    reader.join(timeout=10)
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_that_is_missing_or_in_the_way_is_told_by_the_name_that_was_given(tmp_path):
    missing = tmp_path / "nowhere" / "page.html"
    for path, kind in ((missing, FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind) as caught:
            write(path)
        assert caught.value.filename == str(path)


def test_the_umask_is_obeyed_and_never_changed(tmp_path, monkeypatch):
    """It belongs to the whole process: to ask for it is to change it, for other threads too."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("it was changed"))
        with written_whole(tmp_path / "new") as file:
            file.write(b"1")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    finally:
        monkeypatch.undo()
        os.umask(before)
