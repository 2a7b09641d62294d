#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What weir calls things is no name of the C library: who uses its namespaces may include both."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]
import script  # noqa: E402

SYSTEM = """arpa/inet ctype dirent fcntl glob grp libgen math netdb netinet/in poll pthread pwd
regex search semaphore signal stdio stdlib string strings sys/epoll sys/eventfd sys/file sys/mman
sys/resource sys/select sys/socket sys/stat sys/time sys/timerfd sys/types sys/uio sys/wait syslog
termios time unistd wchar""".split()
# Functions of a std::string or a path, beside those of a const char*.
OVERLOADS = {"weir::io::rename", "weir::io::unlink"}


def declared(lines):
    """Names that a translation unit declares, with their namespaces."""
    said = subprocess.run(
        ["clang++-19", "-std=c++20", "-w", "-fsyntax-only", f"-I{ROOT}/.include", "-x", "c++", "-",
         "-Xclang", "-ast-list"], input="\n".join(lines), capture_output=True, text=True,
        timeout=300)
    assert not re.search(r"error:", said.stderr), said.stderr
    return set(said.stdout.splitlines())


def test_names():
    """no name of weir's namespaces is one of the C library's"""
    system = [f"#include <{name}.h>" for name in SYSTEM]
    own = [f"#include <weir/{path.relative_to(ROOT)}>"
           for folder in ("core", "io", "net", "pipeline")
           for path in sorted((ROOT / folder).rglob("*.hh"))]
    theirs = {name for name in declared(system) if "::" not in name}
    ours = {name for name in declared(own)
            if re.fullmatch(r"weir(::(io|net|pipeline))?::\w+", name)}
    assert len(theirs) > 1000 and "weir::shard" in ours, (len(theirs), len(ours))
    both = {name for name in ours if name.split("::")[-1] in theirs} - OVERLOADS
    assert not both, sorted(both)


script.run(dict(globals()))
