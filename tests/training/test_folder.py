import os
import signal
import subprocess
import sys

import pytest

from eva.training import MODEL_FILE, claimed

HOLDER = """
import sys, time
from pathlib import Path
from eva.training.folder import claimed
with claimed(Path(sys.argv[1]), resume=False):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_another_process_holds_is_refused(holder, tmp_path, resume):
    refused = pytest.raises(FileExistsError, match="is being written by a run that goes on")
    with refused, claimed(tmp_path / "run", resume):
        pytest.fail("two runs in one folder")
    with claimed(tmp_path / "other", resume=False):
        assert (tmp_path / "other").is_dir()


@pytest.mark.parametrize("checkpoint", [True, False])
def test_the_claim_of_a_killed_run_does_not_stop_its_resumption(holder, tmp_path, checkpoint, caplog):
    if checkpoint:
        (tmp_path / "run" / MODEL_FILE).write_text("x")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    caplog.set_level("INFO")
    with claimed(tmp_path / "run", resume=True) as begun:
        assert begun == checkpoint
    assert ("no run in" in caplog.text) != checkpoint


def test_one_process_may_hold_it_more_than_once_and_nothing_stays_of_an_unused_folder(tmp_path):
    out = tmp_path / "new" / "run"
    with claimed(out, resume=False):
        with claimed(out, resume=False):
            pass
        assert out.is_dir(), "still held"
        with pytest.raises(KeyError), claimed(out, resume=False):
            raise KeyError
    assert not out.exists()
    with claimed(out, resume=False):
        (out / "metrics.jsonl").write_text("kept")
    assert (out / "metrics.jsonl").read_text() == "kept"


def test_a_folder_that_cannot_be_is_found_out_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"), claimed(tmp_path / "file" / "run", resume=False):
        pytest.fail("nothing can be written there")
