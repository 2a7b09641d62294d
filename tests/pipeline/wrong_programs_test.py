#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pipelines that would break the law don't compile, and the message says why in one line."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import script  # noqa: E402

SOURCE = ROOT / "tests" / "pipeline" / "wrong_programs.cc"


def errors():
    """Each error's message with the lines of the program that its notes name."""
    compiler = os.environ.get("CXX", "clang++-19").split()[-1]
    done = subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", "-ferror-limit=0", "-fno-color-diagnostics",
         "-ftemplate-backtrace-limit=0", f"-I{ROOT}/.include", SOURCE],
        capture_output=True, text=True, check=False)
    assert done.returncode != 0, "everything compiled"
    found = []
    for line in done.stderr.splitlines():
        where = re.match(r"(?P<file>[^:]+):(?P<line>\d+):\d+: (?P<kind>[\w ]+): (?P<text>.*)", line)
        if not where:
            continue
        if where["kind"] in ("error", "fatal error"):
            found.append((where["text"], set()))
        if found and where["file"].endswith("wrong_programs.cc"):
            found[-1][1].add(int(where["line"]))
    return found


def test_messages():
    """each wrong program is refused with a line that says why, and the right ones are not"""
    told = errors()
    lines = SOURCE.read_text().splitlines()
    marks = {number: mark[1] for number, line in enumerate(lines, 1)
             if (mark := re.search(r"// wrong: (.*)", line))}
    assert len(marks) > 10
    for number, words in marks.items():
        messages = [text for text, where in told if number in where]
        assert any(words in text for text in messages), f"line {number}: {words!r}: {messages}"
    right = {number for number, line in enumerate(lines, 1) if "maybe_unused" in line}
    for text, where in told:
        assert not where & right, f"{text} at {where}"


script.run(dict(globals()))
