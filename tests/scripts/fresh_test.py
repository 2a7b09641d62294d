#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/fresh takes the tree as it is, whoever owns it."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "scripts")]
import script  # noqa: E402
import tidy  # noqa: E402

NOBODY = 65534


def copied(root, to):
    """What copy_tree of scripts/fresh says of a tree."""
    text = (ROOT / "scripts" / "fresh").read_text()
    function = text[text.index("copy_tree() {"):]
    function = function[:function.index("\n}\n") + 3]
    command = f"root=$1\n{function}copy_tree \"$2\""
    return subprocess.run(["bash", "-euc", command, "bash", root, to], capture_output=True,
                          text=True)


def tree(folder):
    """A repository with a file of each kind."""
    def git(*words):
        subprocess.run(["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", *words],
                       check=True, capture_output=True)
    git("init", "-q")
    (folder / "kept").write_text("old\n")
    (folder / "deleted").write_text("old\n")
    (folder / ".gitignore").write_text("ignored\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    (folder / "kept").write_text("changed\n")
    (folder / "new").write_text("new\n")
    (folder / "ignored").write_text("no\n")
    (folder / "deleted").unlink()


def has_all(folder):
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {"kept", "new", ".gitignore"}, files
    assert (folder / "kept").read_text() == "changed\n"


def test_copies():
    """what is changed, new or deleted and not committed is copied so, what is ignored is not"""
    with tempfile.TemporaryDirectory() as name:
        own = pathlib.Path(name) / "own"
        own.mkdir()
        tree(own)
        done = copied(own, pathlib.Path(name) / "copy")
        assert done.returncode == 0, done.stderr
        has_all(pathlib.Path(name) / "copy")


def test_another_owner():
    """root takes another's tree, though git calls that dubious"""
    if os.geteuid() != 0:
        raise script.Skip("only root can give a tree away")
    with tempfile.TemporaryDirectory() as name:
        own = pathlib.Path(name) / "own"
        own.mkdir()
        tree(own)
        for path in [own, *own.rglob("*")]:
            os.lchown(path, NOBODY, NOBODY)
        done = copied(own, pathlib.Path(name) / "copy")
        assert done.returncode == 0, done.stderr
        has_all(pathlib.Path(name) / "copy")
        assert (pathlib.Path(name) / "copy" / "kept").stat().st_uid == 0
        assert set(tidy.tree(own)) == {"kept", "new", ".gitignore"}, set(tidy.tree(own))


script.run(dict(globals()))
