#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Long builds and tests say how far they are where nobody sees a terminal."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "scripts")]
import run_tests  # noqa: E402
import script  # noqa: E402

# It goes on when the other end has seen a line that says how far it is.
NINJA = """#!/bin/bash
echo '[1/4] Compiling a'
{said}
read -r _ <"$WAIT"
echo '[4/4] Linking b'
exit {status}
"""


def built(status=0, said=""):
    """What scripts/run_ninja.py says of a ninja that stops until it has said how far it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "ninja").write_text(NINJA.format(status=status, said=said))
        (folder / "ninja").chmod(0o755)
        os.mkfifo(folder / "wait")
        with subprocess.Popen(
                [ROOT / "scripts" / "run_ninja.py", "somewhere", "2"], stderr=subprocess.PIPE,
                text=True, env={**os.environ, "PATH": f"{name}:{os.environ['PATH']}",
                                "WAIT": str(folder / "wait"),
                                "WEIR_PROGRESS_SECONDS": "0.01"}) as build:
            lines = []
            while not lines or "1 of 4" not in lines[-1]:
                lines.append(build.stderr.readline())
                assert lines[-1], lines
            (folder / "wait").write_text("go\n")
            lines += build.stderr.readlines()
        return build.returncode, "".join(lines)


def test_build():
    """a build says how many of its steps are done, and at the end that all are"""
    status, said = built(said="echo 'ninja: no matter'")
    assert status == 0
    assert "build: somewhere: 1 of 4 steps (25 %), 0 s" in said, said
    assert "build: somewhere: 4 of 4 steps (100 %)" in said.splitlines()[-1], said
    assert "Compiling" not in said and "no matter" not in said, said


def test_warning():
    """what a compiler warns of is shown, though the build goes on"""
    assert "a.cc:1: warning: x" in built(said="echo 'a.cc:1: warning: x'")[1]


def test_failure():
    """a build that fails says why and gives ninja's status"""
    status, said = built(status=3, said="echo 'FAILED: a.o'; echo 'a.cc:1: error: x'")
    assert status == 3
    assert said.endswith("FAILED: a.o\na.cc:1: error: x\n"), said


def test_tests():
    """running tests are named with their time, the longest first"""
    with tempfile.TemporaryDirectory() as name:
        runner = run_tests.Runner(pathlib.Path(name))
        assert runner.running() == ""
        test = run_tests.Test("slow one", ["sh", "-c", "read -r _ <$FIFO"], 60,
                              {"FIFO": f"{name}/fifo"})
        os.mkfifo(f"{name}/fifo")
        with run_tests.concurrent.futures.ThreadPoolExecutor() as pool:
            result = pool.submit(runner.run, test)
            while not (said := runner.running()):
                assert not result.done()
            assert said == "slow one (0 s)", said
            pathlib.Path(f"{name}/fifo").write_text("go\n")  # once it has opened the other end
            result.result()
        assert runner.running() == ""


script.run(dict(globals()))
