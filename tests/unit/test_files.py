"""Files are whole or absent, whatever happens while they are written; event logs lose at most a torn line."""

import json
import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from molvae.errors import RunError
from molvae.files import EventLog, atomic_path, writable_folder, write_json, write_text


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "first\n")
    write_text(target, "second α\n")
    assert target.read_bytes() == "second α\n".encode()
    assert os.listdir(target.parent) == ["file.txt"]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, interruption):
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(interruption), atomic_path(target) as partial:
        partial.write_text("half of the new")
        raise interruption
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_temporary_name_keeps_the_ending_and_the_folder(tmp_path):
    with atomic_path(tmp_path / "plot.png") as partial:
        assert partial.suffix == ".png" and partial.parent == tmp_path
        partial.write_bytes(b"x")


def test_others_may_read_what_is_written(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*below: .*-o"):
        write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path, "a folder is in the way")
    with pytest.raises(RunError, match="cannot write"):
        EventLog(tmp_path / "file" / "events.jsonl").append("x")


def test_a_disk_that_fills_up_while_tensors_are_written_is_a_run_error(tmp_path):
    """safetensors has an error of its own for it, which is no OSError; the limit on a file's size stands in for the disk."""
    (tmp_path / "kept.safetensors").write_bytes(b"old")
    with pytest.raises(RunError, match=r"cannot write .*kept\.safetensors: .*File too large.* Free some space"):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with atomic_path(tmp_path / "kept.safetensors") as partial:
                save_file({"big": np.zeros(100_000)}, partial)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.safetensors"]
    assert (tmp_path / "kept.safetensors").read_bytes() == b"old"


def test_a_folder_is_tried_before_the_work_begins(tmp_path):
    assert writable_folder(tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=r"cannot write to .*-o"):
            writable_folder(place)


def test_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "x.json", {"β": [1, 2]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"β": [1, 2]} and "β" in text and text.endswith("}\n")


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "run" / "events.jsonl")
    assert log.read() == []
    log.append("start", step=0)
    log.append("note", text="line separators \u2028 \x85 and\nnewlines are text")
    assert [e["event"] for e in log.read()] == ["start", "note"]
    assert log.read()[1]["text"] == "line separators \u2028 \x85 and\nnewlines are text"


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_costs_that_line_only(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append("first")
    whole = path.read_bytes()
    log.append("second", reason="größer als 3 Å, 漢字")
    path.write_bytes(path.read_bytes()[:-cut])  # some of these cut a character in half
    torn = EventLog(path).read()
    assert torn[0] == {"event": "first"}
    EventLog(path).append("third")
    events = [e["event"] for e in EventLog(path).read()]
    assert events in (["first", "third"], ["first", "second", "third"])  # without its newline alone a line is still whole
    assert (events[1] == "second") == (cut == 1)
    assert path.read_bytes().startswith(whole)


def test_a_device_or_a_pipe_is_left_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RunError, match="it is a device or a pipe"), atomic_path(pipe):
        pass
    assert pipe.is_fifo()
