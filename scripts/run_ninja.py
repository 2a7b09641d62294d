#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs ninja for scripts/build: run_ninja.py FOLDER JOBS [TARGET...]

On a terminal ninja says itself how far it is. Elsewhere a long build says so in a line each half
a minute, and of what compilers say only what matters is shown. All of it goes to stderr.
"""
import os
import re
import subprocess
import sys
import threading
import time

PERIOD_S = float(os.environ.get("WEIR_PROGRESS_SECONDS", 30))
STATUS = re.compile(r"^\[(\d+)/(\d+)\] ")


class Progress:
    """How much of the build is done, told each period until the build has ended."""

    def __init__(self, folder):
        self._folder = os.path.relpath(folder)
        self._started = time.monotonic()
        self._counts = (0, 0)
        self._told = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_each_period, daemon=True)
        self._thread.start()

    def saw(self, done, of_all):
        self._counts = (done, of_all)

    def end(self, status):
        self._ended.set()
        self._thread.join()
        if self._told and status == 0:
            self._tell()

    def _tell_each_period(self):
        while not self._ended.wait(PERIOD_S):
            self._tell()

    def _tell(self):
        done, of_all = self._counts
        share = f" ({100 * done // of_all} %)" if of_all else ""
        print(f"build: {self._folder}: {done} of {of_all} steps{share}, "
              f"{time.monotonic() - self._started:.0f} s", file=sys.stderr, flush=True)
        self._told = True


def main():
    folder, jobs, *targets = sys.argv[1:]
    command = ["ninja", "-j", jobs, "-C", folder, *targets]
    if sys.stderr.isatty():
        os.environ.setdefault("NINJA_STATUS", "[%f/%t, %e s] ")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        os.execvp("ninja", command)
    progress = Progress(folder)
    said = []
    environment = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, text=True,
                          errors="replace") as ninja:
        for line in ninja.stdout:
            if match := STATUS.match(line):
                progress.saw(int(match[1]), int(match[2]))
            elif not line.startswith("ninja: Entering directory"):
                said.append(line)
    progress.end(ninja.returncode)
    if ninja.returncode != 0 or any("warning:" in line for line in said):
        sys.stderr.write("".join(said))
    return ninja.returncode


if __name__ == "__main__":
    sys.exit(main())
