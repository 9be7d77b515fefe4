"""Two runs never write to one folder at a time."""

import os
import subprocess
import sys
import textwrap
import time
from threading import Timer

import pytest
from filelock import FileLock

from dfq.errors import DfqError
from dfq.system.output_paths import check_folder, contents
from dfq.system.run_lock import check_not_written, writing_alone, writing_file_alone


def holding(call: str) -> subprocess.Popen:
    """Returns a process that holds a lock until it is killed."""
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from dfq.system.run_lock import writing_alone, writing_file_alone
        with {call}:
            print("held", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_kept_out_and_named_and_let_in_once_the_first_is_dead(tmp_path):
    folder = tmp_path / "run"
    process = holding(f"writing_alone(Path({str(folder)!r}))")
    try:
        with pytest.raises(DfqError, match=f"in use by process {process.pid}") as caught, writing_alone(folder):
            pass
        assert caught.value.exit_code == 1
    finally:
        process.kill()
        process.wait()
    assert {path.name for path in folder.iterdir()} == {".lock", ".locked-by"} and contents(folder) == []
    with writing_alone(folder):
        assert (folder / ".locked-by").read_text() == f"process {os.getpid()}"
        (folder / "model.onnx").write_text("")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def test_a_file_has_a_lock_of_its_own(tmp_path):
    file = tmp_path / "all.pt"
    process = holding(f"writing_file_alone(Path({str(file)!r}))")
    try:
        with pytest.raises(DfqError, match="is being written by another process"), writing_file_alone(file):
            pass
        with writing_file_alone(tmp_path / "other.pt"):
            pass
    finally:
        process.kill()
        process.wait()
    with writing_file_alone(file):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_which_nothing_came_is_gone_again(tmp_path):
    with pytest.raises(ValueError, match="no"), writing_alone(tmp_path / "new"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with writing_alone(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir(), "a folder that was there stays"


def test_the_lock_does_not_make_a_folder_used(tmp_path):
    with writing_alone(tmp_path):
        check_folder(tmp_path, overwrite=False)
        assert contents(tmp_path) == []
        (tmp_path / "model.onnx").write_text("")
        assert [path.name for path in contents(tmp_path)] == ["model.onnx"]


def test_waiting_is_not_what_a_second_run_does(tmp_path):
    start = time.monotonic()
    with writing_alone(tmp_path), pytest.raises(DfqError), writing_alone(tmp_path):
        pass
    assert time.monotonic() - start < 10


def test_readers_that_look_at_a_lock_keep_no_writer_and_no_reader_out(tmp_path):
    """Each look takes the lock for a moment. Here one look follows another without a pause."""
    folder, file = tmp_path / "run", tmp_path / "run" / "all.pt"
    folder.mkdir()
    (folder / ".lock").touch()
    code = textwrap.dedent(f"""
        from pathlib import Path
        from dfq.system.run_lock import check_not_written
        from dfq.errors import DfqError
        print("looking", flush=True)
        while True:
            try:
                check_not_written(Path({str(folder)!r}))
            except DfqError:
                pass
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "looking\n"
        for _ in range(20):
            check_not_written(folder)
            with writing_alone(folder):
                pass
            (folder / ".lock").touch()
            with writing_file_alone(file):
                pass
    finally:
        process.kill()
        process.wait()


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path):
    lock = FileLock(tmp_path / ".lock", thread_local=False)
    lock.acquire()
    Timer(0.1, lock.release).start()
    with writing_alone(tmp_path):
        assert contents(tmp_path) == []


def test_of_many_processes_at_the_same_moment_one_at_a_time_is_let_in(tmp_path):
    """Each counts up what it finds, which loses counts if two of them are in at once."""
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from dfq.errors import DfqError
        from dfq.system.run_lock import writing_alone
        count, folder = Path({str(tmp_path / "count")!r}), Path({str(tmp_path / "run")!r})
        done = 0
        while done < 20:
            try:
                with writing_alone(folder):
                    found = int(count.read_text() or 0)
                    time.sleep(0.002)
                    count.write_text(str(found + 1))
                    done += 1
            except (DfqError, OSError):
                pass
    """)
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"
