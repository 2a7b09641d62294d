#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/check goes on where it stopped; a question starts nothing."""
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
import run_checks  # noqa: E402
import script  # noqa: E402


class Bed:
    """run_checks with two steps of its own, on a tree that is data."""

    def __init__(self, folder):
        self.files = {"a.cc": "int a;"}
        self.ran = []
        self.second_fails = False
        run_checks.ROOT = folder
        run_checks.LOGS = folder / "logs"
        run_checks.CACHE = folder / "cache"
        run_checks.QUICK = ["first", "second"]
        run_checks.steps = lambda: {"first": self._first, "second": self._second}
        run_checks.tidy.tree = lambda root: dict(self.files)

    def _first(self, _):
        self.ran.append("first")
        return ""

    def _second(self, _):
        self.ran.append("second")
        if self.second_fails:
            raise run_checks.Failed("no")
        return ""

    def check(self, *words):
        """Which steps ran, and the last line."""
        self.ran = []
        sys.argv = ["check", *words]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = run_checks.main()
        last = printed.getvalue().strip().split("\n")[-1]
        assert (status == 0) == (", 0 failed" in last), last
        return self.ran, last


@contextlib.contextmanager
def bed():
    with tempfile.TemporaryDirectory() as name:
        (pathlib.Path(name) / "logs").mkdir()
        yield Bed(pathlib.Path(name))


def test_resumes():
    """what passed on this tree does not run again, what failed does"""
    with bed() as checks:
        checks.second_fails = True
        assert checks.check("full") == (["first", "second"], "1 passed, 1 failed")
        checks.second_fails = False
        assert checks.check("full") == (["second"], "2 passed, 0 failed")
        assert checks.check() == ([], "2 passed, 0 failed")


def test_changed():
    """after a change everything runs"""
    with bed() as checks:
        checks.check("full")
        checks.files["b.cc"] = ""
        assert checks.check("full")[0] == ["first", "second"]
        del checks.files["b.cc"]
        assert checks.check("full")[0] == []


def test_forced():
    """--again runs everything, and so does who names a step"""
    with bed() as checks:
        checks.check("full")
        assert checks.check("--again")[0] == ["first", "second"]
        assert checks.check("second")[0] == ["second"]


def test_modes():
    """what passed quickly has not passed in full"""
    with bed() as checks:
        checks.check("quick")
        assert checks.check("quick")[0] == []
        assert checks.check("full")[0] == ["first", "second"]


def test_another_compiler():
    """what passed with one compiler has not passed with the next version of it"""
    with bed() as checks:
        before = run_checks.versions
        checks.check("full")
        run_checks.versions = lambda: "clang version 20"
        assert checks.check("full")[0] == ["first", "second"]
        assert checks.check("full")[0] == []
        run_checks.versions = before
        assert checks.check("full")[0] == []


def test_draws():
    """what draws seeds draws new ones on a tree that has passed, in full mode"""
    with bed() as checks:
        before = run_checks.DRAWING
        run_checks.DRAWING = {"quick": [], "full": ["second"]}
        assert checks.check("full")[0] == ["first", "second"]
        assert checks.check("full")[0] == ["second"]
        checks.check("quick")
        assert checks.check("quick")[0] == []
        run_checks.DRAWING = before
    assert "sim" in run_checks.DRAWING["full"] and not run_checks.DRAWING["quick"]


def test_versions():
    """the versions of the compilers are known"""
    assert "clang version" in run_checks.versions(), run_checks.versions()


def test_changed_meanwhile():
    """a step during which the tree changed has not passed on either"""
    with bed() as checks:
        first = checks._first
        run_checks.steps = lambda: {"first": lambda check: (
            checks.files.update({"a.cc": "int b;"}), first(check))[1]}
        assert checks.check("full")[0] == ["first"]
        assert checks.check("full")[0] == ["first"]


def test_help():
    """a question about the use of a script is answered; nothing is installed or built for it"""
    for name in ("test", "check"):
        for word in ("--help", "-h"):
            asked = subprocess.run([ROOT / "scripts" / name, word], capture_output=True, text=True,
                                   timeout=60, check=True)
            assert asked.stdout.startswith(f"usage: scripts/{name} "), asked.stdout
            assert not asked.stderr, asked.stderr


script.run(dict(globals()))
