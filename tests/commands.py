"""Run the scripts of this checkout in this process, or in a new process if a test needs one.

A new process needs 3-6 s for imports alone. Exit code, output and files are the same both times.
"""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"


def in_process(script, *arguments, cwd):
    """Run `python scripts/<script> ARGUMENTS` in the folder `cwd`; return what subprocess.run would return."""
    command = [str(SCRIPTS / script), *map(str, arguments)]
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        code = 0
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())


def begun(script, *arguments, cwd):
    """Start the script as a process on one thread, with standard output and error in pipes."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment, **pipes)


def as_process(script, *arguments, cwd, timeout=600):
    """Run the script as a process and wait for its end."""
    with begun(script, *arguments, cwd=cwd) as process:
        try:
            out, error = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)
