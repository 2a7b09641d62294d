#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever a test starts is there on a machine that has nothing but what scripts/setup installs."""
import functools
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import script  # noqa: E402

STATUS = pathlib.Path("/var/lib/dpkg/status")
SBIN = "/usr/bin:/bin:/usr/sbin:/sbin"
# The functions of tests/support/script.sh, which each shell test has.
OURS = {"check", "skip", "finish"}
# Peers whose tests skip themselves where nobody asked scripts/setup for the benchmarks' packages.
OPTIONAL = {"tests/support/apache_kafka.py": {"java", "mvn"}}
PYTHON_CALLS = re.compile(
    r"""\b(?:run|Popen|call|check_call|check_output|must|need|which)\(\s*\[?"""
    r"""((?:["'][^"'\s]+["'](?:,\s*)?)+)""")
PYTHON_SHELL = re.compile(r'\bshell\(\s*((?:[rf]?"(?:\\.|[^"\\])*"\s*)+)')
CPP_CALLS = re.compile(r'\b(?:popen|system|checked_by)\(\(?\s*"([^"\s]+)')
SHELL_SKIPPED = re.compile(
    r"^(?:[A-Za-z_]\w*(?:\[[^]]*\])?\+?=\S*|!|if|then|else|elif|while|until|do|exec|time|coproc"
    r"|\{)$")


def shell_commands(text):
    """The words of a bash text that stand where a command does; roughly, but none is missed that
    stands first in its line."""
    text = re.sub(r"(?m)(^|\s)#.*$", r"\1", text)
    text = text.replace("\\\n", " ")
    functions = set(re.findall(r"(?m)^\s*(\w+)\s*\(\)", text))
    text = re.sub(r"(?m)^\s*\w+\s*\(\)", "", text)
    text = re.sub(r"'[^'\n]*'", "''", text)
    text = re.sub(r"(?m)(^|;;|\bin\b)\s*[^\s()]+\)", r"\1\n", text)  # the pattern of a case
    found = set()
    for part in re.split(r"\$\(|`|[|&;()\n]", text):
        words = part.split()
        while words and SHELL_SKIPPED.match(words[0]):
            words.pop(0)
        if words and re.fullmatch(r"[A-Za-z][\w.+-]*", words[0]):
            found.add(words[0])
    return found - functions


def started(path, text):
    """The commands that a file of the tests starts by name."""
    found = set()
    if path.endswith(".sh"):
        found |= shell_commands(text)
    elif path.endswith(".py"):
        for match in PYTHON_CALLS.finditer(text):
            words = re.findall(r"""["']([^"']+)["']""", match[1])
            asked = re.match(r"(need|which)", match[0])
            found |= set(words if asked else words[:1])
        for match in PYTHON_SHELL.finditer(text):
            found |= shell_commands("".join(
                part.replace("\\n", "\n") for part in re.findall(r'"((?:\\.|[^"\\])*)"', match[1])))
    elif path.endswith((".cc", ".hh")):
        found |= set(CPP_CALLS.findall(text))
    return {word for word in found if re.fullmatch(r"[A-Za-z][\w.+-]*", word)} - OURS


@functools.cache
def builtins():
    done = subprocess.run(["bash", "-c", "compgen -bk"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@functools.cache
def packages():
    """name: (whether a plain system has it, the names of what it depends on), and who provides."""
    known, providers = {}, {}
    for entry in STATUS.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"(?m)^(Package|Essential|Priority|Depends|Pre-Depends|Provides|"
                                 r"Status): (.*)$", entry))
        if "Package" not in fields or not fields["Status"].endswith(" installed"):
            continue
        needs = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)",
                           f"{fields.get('Depends', '')},{fields.get('Pre-Depends', '')}")
        plain = fields.get("Essential") == "yes" or fields.get("Priority") == "required"
        known[fields["Package"]] = (plain, needs)
        for name in re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)", fields.get("Provides", "")):
            providers.setdefault(name, []).append(fields["Package"])
    return known, providers


@functools.cache
def present_after_setup():
    """What is installed on a plain Debian once scripts/setup test has run."""
    text = (ROOT / "scripts" / "setup").read_text()
    lists = dict(re.findall(r'(?ms)^(\w+)_needs="(.*?)"', text))
    words = lists["test"].replace("$run_needs", lists["run"]).split()
    known, providers = packages()
    queue = [word.split(":")[-1] for word in words]
    queue += ["apt", *(name for name, (plain, _) in known.items() if plain)]
    found = set()
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        queue += known.get(name, (False, []))[1] + providers.get(name, [])
    return found, {word.split(":")[0] for word in words if ":" in word}


def missing(command):
    """Why a command may be missing on a machine that has nothing; empty if it is there."""
    there, commands = present_after_setup()
    if command in builtins() or command in commands:
        return ""
    place = shutil.which(command, path=SBIN)
    if not place:
        return "no word of scripts/setup gives it"
    places = {place, str(pathlib.Path(place).resolve()), place.removeprefix("/usr")}
    owner = subprocess.run(["dpkg-query", "-S", *sorted(places)], capture_output=True, text=True,
                           check=False).stdout
    owners = set(re.findall(r"(?m)^([a-z0-9][a-z0-9+.-]*)(?::\w+)?: ", owner))
    if owners & there:
        return ""
    return f"it is of {', '.join(sorted(owners)) or 'no package'}, which scripts/setup leaves out"


def need_debian():
    if not STATUS.exists():
        raise script.Skip("this is not Debian")


def test_found():
    """commands are found in shell, Python and C++, where a test starts them"""
    assert shell_commands("a=1 cp x y | sort; if ! grep -q z f; then rm f; fi\n$(cmake -S .)\n"
                          "f() {\n    mv a b  # tar\n}\nf 'ssh x'\n"
                          "case x in a) wget;; b) xz;; esac") - builtins() == {
        "cp", "sort", "grep", "rm", "cmake", "mv", "wget", "xz"}
    assert started("t.py", 'subprocess.run(["rsync", "-a"])\nneed("kcat", "fio")\n'
                           'shell("set -e\\n"\n      "truncate -s 1 f\\n")') >= {
        "rsync", "kcat", "fio", "truncate"}
    assert started("t.cc", 'checked_by("dot -Tsvg", x); ::popen("promtool check", "w")') == {
        "dot", "promtool"}


def test_refused():
    """a command that setup does not install is told, whether it is here or not"""
    need_debian()
    assert missing("no-such-program")
    assert not missing("kcat") and not missing("dot") and not missing("sort")
    if shutil.which("gdb", path=SBIN):
        assert "gdb" in missing("gdb")


def test_all():
    """whatever the tests start is on the list of scripts/setup, or on every Debian"""
    need_debian()
    problems = []
    for path in sorted((ROOT / "tests").rglob("*")):
        if path.suffix not in (".sh", ".py", ".cc", ".hh") or "bench" in path.parts:
            continue
        if path == pathlib.Path(__file__).resolve():
            continue
        name = str(path.relative_to(ROOT))
        commands = started(path.name, path.read_text(encoding="utf-8")) - OPTIONAL.get(name, set())
        for command in sorted(commands):
            if reason := missing(command):
                problems.append(f"{name}: {command}: {reason}")
    assert not problems, "\n".join(problems)


script.run(dict(globals()))
