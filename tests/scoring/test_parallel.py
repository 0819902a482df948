"""Tasks in worker processes: errors if the processes cannot be started."""

import multiprocessing
import os
import signal
from multiprocessing import forkserver

import pytest

from xmem_infer.errors import EnvironmentFault
from xmem_infer.scoring.parallel import in_parallel


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="needs a fork server")
@pytest.mark.fault("fork server killed while scoring starts", "error message, no traceback")
def test_a_fork_server_killed_while_it_starts_a_worker_is_reported(monkeypatch):
    connect = forkserver.connect_to_new_process

    def killed_first(fds):
        forkserver.ensure_running()
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        return connect(fds)

    monkeypatch.setattr(forkserver, "connect_to_new_process", killed_first)
    with pytest.raises(EnvironmentFault, match="a scoring process died"):
        list(in_parallel(abs, [1, 2, 3], 2))
