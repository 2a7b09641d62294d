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

import progress

STATUS = re.compile(r"^\[(\d+)/(\d+)\] ")


def main():
    folder, jobs, *targets = sys.argv[1:]
    command = ["ninja", "-j", jobs, "-C", folder, *targets]
    if sys.stderr.isatty():
        os.environ.setdefault("NINJA_STATUS", "[%f/%t, %e s] ")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        os.execvp("ninja", command)
    name = os.path.relpath(folder)
    done = of_all = 0

    def line(seconds):
        share = f" ({100 * done // of_all} %)" if of_all else ""
        return f"build: {name}: {done} of {of_all} steps{share}, {seconds:.0f} s"

    said = []
    environment = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, text=True,
                          errors="replace") as ninja, \
            progress.Telling(line, sys.stderr) as telling:
        for text in ninja.stdout:
            if match := STATUS.match(text):
                done, of_all = int(match[1]), int(match[2])
            elif not text.startswith("ninja: Entering directory"):
                said.append(text)
    if telling.told and ninja.returncode == 0:
        telling.tell()
    if ninja.returncode != 0 or any("warning:" in text for text in said):
        sys.stderr.write("".join(said))
    return ninja.returncode


if __name__ == "__main__":
    sys.exit(main())
