#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A user's own file compiles without a warning, whatever it includes and whichever option it
names."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "scripts")]
import script  # noqa: E402
import tidy  # noqa: E402

FOLDERS = ("core", "io", "net", "pipeline")
STRUCT = re.compile(r"(?ms)^struct (\w*options|http_response) \{\n(.*?)^\};")
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-ferror-limit=0", "-fsyntax-only"]


def headers():
    return sorted(path.relative_to(ROOT) for folder in FOLDERS
                  for path in (ROOT / folder).rglob("*.hh"))


def option_structs(text):
    """The structs of options in a header, each as its full name and its members' names."""
    code = tidy.strip(text)
    space = re.search(r"(?m)^namespace ([\w:]+) \{", code)
    for match in re.finditer(STRUCT, code):
        members = []
        for statement in re.sub(r"=[^;]*|\{[^;]*\}(?=;)", "", match[2]).split(";"):
            name = re.search(r"\s(\w+)\s*$", statement)
            if name and not re.search(r"\b(static|using|friend|return)\b|\)", statement):
                members.append(name[1])
        yield f"{space[1]}::{match[1]}", members


def compiled(text):
    compiler = os.environ.get("CXX", "clang++-19").split()[-1]
    with tempfile.NamedTemporaryFile("w", suffix=".cc") as own:
        own.write(text)
        own.flush()
        return subprocess.run([compiler, *FLAGS, f"-I{ROOT}/.include", own.name],
                              capture_output=True, text=True, check=False)


def test_headers():
    """a file that includes every header compiles under -Wall -Wextra -Werror"""
    done = compiled("".join(f"#include <weir/{path}>\n" for path in headers()))
    assert done.returncode == 0, done.stderr


def test_options():
    """each member of each struct of options can be named alone"""
    found = {}
    for path in headers():
        for name, members in option_structs((ROOT / path).read_text(encoding="utf-8")):
            found[name] = (path, members)
    assert len(found) > 20 and "connection" in found["weir::net::server_options"][1], found
    lines = [f"#include <weir/{path}>\n" for path in sorted({path for path, _ in found.values()})]
    for name, (_, members) in found.items():
        lines += [f"[[maybe_unused]] static auto {name.replace('::', '_')}_{member}() {{ "
                  f"return {name}{{.{member} = {{}}}}; }}\n" for member in members]
    done = compiled("".join(lines))
    assert done.returncode == 0, done.stderr


script.run(dict(globals()))
