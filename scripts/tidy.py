#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of this tree that no compiler knows: scripts/tidy.py [FILE...]

Each rule is a function of the files' texts, so that tests/scripts/tidy_test.py can show it fail.
Prints "path:line: rule: what is wrong" and exits 1 where there is something to print.
"""
import os
import pathlib
import re
import subprocess
import sys

# What may break a rule, and why. An entry that no longer excuses anything is itself an error.
ALLOWED = {
    # (rule, path): reason
    ("mutable_static", "tests/compiler/await_temporaries.cc"):
        "a program of its own that knows nothing of weir counts its objects",
    ("bans", "core/shard.hh"): "the one thread_local: the pointer that this_shard() follows",
    ("bans", "core/shard.cc"): "its definition",
    ("bans", "io/sim/memory.cc"): "operator new has no argument to hang the current host from",
    ("bans", "io/system_clock.cc"): "where the clock of real shards comes from",
    ("bans", "tests/bench/harness.cc"): "a benchmark measures the system's time",
}

# Who may include whom: core <- io <- net <- pipeline <- apps. A folder may include itself.
LAYERS = {
    "core": set(),
    "io": {"core"},
    "net": {"core", "io"},
    "pipeline": {"core", "io", "net"},
    "apps": {"core", "io", "net", "pipeline"},
}
# Inside the broker: bytes, then storage, then the wiring.
BROKER_LAYERS = {
    "protocol": {"core"},
    "storage": {"core", "io", "broker/protocol"},
    "server": {"core", "io", "net", "pipeline", "broker/protocol", "broker/storage"},
}

LINE_LENGTH = 100
FILE_LINES = 500
TEST_LINES = 800
HEAVY_HEADERS = re.compile(r"<(boost/(beast|context|asio)\b|CLI/|hwloc|liburing)")
BANS = [
    (re.compile(r"\bthread_local\b"), "thread_local: state hangs off this_shard()"),
    (re.compile(r"\brandom_device\b"), "random_device: ask the shard, so that a seed repeats"),
    (re.compile(r"_clock\s*::\s*now\b"), "a clock's now(): the time is the shard's"),
    (re.compile(r"\b(clock_gettime|gettimeofday)\s*\("), "a system clock: the time is the shard's"),
    (re.compile(r"\bstd::(s?rand\s*\(|\w+_distribution\b)"),
     "its values differ between libraries: use the shard's random numbers"),
]
# Folders of a developer's own machine, which mean nothing to others.
PRIVATE_PATH = re.compile(r"(?<![\w.~/-])/(home|root|work|workspace|builds|Users)/")
URL_HOST = re.compile(r"\bhttps?://([A-Za-z0-9.-]+)")
PUBLIC_HOSTS = re.compile(
    r"(^|\.)(localhost|github\.com|github\.io|apache\.org|debian\.org|kernel\.org|boost\.org"
    r"|example\.(com|org)|maven\.org|mesonbuild\.com|cppreference\.com|acm\.org|usenix\.org"
    r"|w3\.org|rfc-editor\.org|ietf\.org|open-std\.org|llvm\.org|prometheus\.io|spinroot\.com)$"
    r"|^[0-9.]+$")


def strip(text):
    """The code without comments and without what is inside literals; the lines stay in place."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"'
        r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match):
        found = match[0]
        newlines = "\n" * found.count("\n")
        if found[0] == "/":
            return newlines
        # A digit separator is not the start of a literal.
        if found[0] == "'" and match.start() and text[match.start() - 1].isalnum():
            return found
        return '""' + newlines if found[-1] == '"' else "''"

    # An include in quotes stays visible to the include rules.
    return "\n".join(
        original if original.lstrip().startswith("#include") else line
        for original, line in zip(text.split("\n"), token.sub(blank, text).split("\n")))


def is_cpp(path):
    return path.endswith((".hh", ".cc"))


def folder(path):
    return path.split("/")[0]


def lines_of(text):
    return enumerate(text.split("\n"), 1)


def includes(text):
    for number, line in lines_of(text):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match[1], match[2]


def included_unit(target):
    """The layer, or the broker's folder, that an include names; None for other libraries."""
    parts = target.split("/")
    if parts[0] == "weir":
        parts = parts[1:]
    if parts[0] == "apps":
        parts = parts[1:]
    if parts[0] == "broker" and len(parts) > 2:
        return "broker/" + parts[1]
    return parts[0] if parts[0] in LAYERS and target.startswith("weir/") else None


def rule_layers(files):
    for path, text in files.items():
        if not is_cpp(path) or folder(path) not in LAYERS:
            continue
        own, allowed = folder(path), LAYERS[folder(path)] | {folder(path)}
        parts = path.split("/")
        if parts[:2] == ["apps", "broker"]:
            if len(parts) > 3 and parts[2] in BROKER_LAYERS:
                own = "broker/" + parts[2]
                allowed = BROKER_LAYERS[parts[2]] | {own}
            else:
                allowed = allowed | {"broker/" + name for name in BROKER_LAYERS}
        for number, _, target in includes(text):
            unit = included_unit(target)
            if unit and unit not in allowed:
                yield path, number, f"{own} may not include <{target}>"


def rule_bans(files):
    for path, text in files.items():
        if not is_cpp(path):
            continue
        for number, line in lines_of(strip(text)):
            for pattern, why in BANS:
                if pattern.search(line):
                    yield path, number, why


def without_template_arguments(text):
    while True:
        shorter = re.sub(r"<[^<>;{}]*>", "", text)
        if shorter == text:
            return text
        text = shorter


def rule_mutable_static(files):
    """Static and namespace-scope variables that can change. Functions have a "(" first."""
    constant = re.compile(r"\b(const|constexpr|consteval)\b")
    loose = re.compile(
        r"(?!using|typedef|class|struct|enum|union|template|namespace|return|extern|friend|static"
        r"|inline|public|private|protected|goto|case|default|else|break|continue|operator|concept"
        r"|requires)[A-Za-z_][\w:]*[\s*&]+\w+\s*(=[^;(]*|\{[^;]*\})?;\s*$")
    for path, text in files.items():
        if not is_cpp(path):
            continue
        code = strip(text)
        for match in re.finditer(r"(?m)^[ \t]*(?:\w+[ \t]+)*?(static|inline)\b(?!_)", code):
            rest = without_template_arguments(code[match.start():match.start() + 400])
            declaration = re.split(r"[({;=]", rest, maxsplit=1)
            end = rest[len(declaration[0]):len(declaration[0]) + 1]
            words = declaration[0].split()
            if end == "(" or constant.search(declaration[0]) or len(words) < 3:
                continue
            if {"namespace", "operator", "using", "class", "struct", "enum", "union"} & set(words):
                continue
            number = code.count("\n", 0, match.start(1)) + 1
            yield path, number, f"a mutable {match[1]}: state hangs off this_shard() or its host"
        for number, line in lines_of(code):
            bare = without_template_arguments(line)
            if line[:1].isalpha() and loose.match(bare) and not constant.search(bare):
                yield path, number, "a mutable variable of the whole process"


def rule_pointer_order(files):
    """Containers ordered or hashed by an address: their order changes from run to run."""
    opening = re.compile(r"\b(?:unordered_)?(?:multi)?(?:map|set)\s*<")
    for path, text in files.items():
        if not is_cpp(path):
            continue
        code = strip(text)
        for match in opening.finditer(code):
            depth, end = 1, match.end()
            while end < len(code) and depth and not (depth == 1 and code[end] == ","):
                depth += {"<": 1, ">": -1}.get(code[end], 0)
                end += 1
            if depth == 0:
                end -= 1
            if code[match.end():end].rstrip().endswith("*"):
                yield (path, code.count("\n", 0, match.start()) + 1,
                       "ordered or hashed by pointer: its order is not repeatable")


def rule_license(files):
    with_suffix = (".hh", ".cc", ".py", ".sh", ".pml", ".js", ".java", "meson.build")
    for path, text in files.items():
        lines = text.split("\n", 2)
        script = lines[0].startswith("#!")
        if not script and not path.endswith(with_suffix):
            continue
        line = lines[1] if script and len(lines) > 1 else lines[0]
        if "SPDX-License-Identifier: Apache-2.0" not in line:
            yield path, 2 if script else 1, "the SPDX line comes first"


def rule_headers(files):
    for path, text in files.items():
        if not is_cpp(path):
            continue
        found = list(includes(strip(text)))
        if path.endswith(".hh"):
            if "\n#pragma once\n" not in text:
                yield path, 1, "#pragma once is missing"
            for number, _, target in found:
                if HEAVY_HEADERS.match(f"<{target}>"):
                    yield path, number, f"<{target}> is heavy: it stays in a .cc"
        for number, quote, target in found:
            beside = os.path.normpath(f"{os.path.dirname(path)}/{target}")
            if quote == '"' and not (folder(path) == "tests" and beside in files):
                yield path, number, f'"{target}": includes are in angles'
        if path.endswith(".cc") and path[:-3] + ".hh" in files:
            first = found[0][2].removeprefix("weir/") if found else ""
            if not f"/{path[:-3]}.hh".endswith("/" + first):
                yield path, found[0][0] if found else 1, "a source includes its own header first"


def rule_namespace(files):
    for path, text in files.items():
        if not is_cpp(path) or folder(path) not in ("core", "io", "net", "pipeline"):
            continue
        wanted = "weir" if folder(path) == "core" else f"weir::{folder(path)}"
        names = re.findall(r"(?m)^namespace ([\w:]+)", strip(text))
        for name in names:
            if name != wanted and not name.startswith(wanted + "::") and name.startswith("weir") \
                    and wanted not in names:
                yield path, 1, f"{folder(path)}/ is namespace {wanted}, not {name}"


def rule_memory_order(files):
    """Every order other than relaxed names its partner in a comment on it or just above."""
    order = re.compile(r"memory_order(_|::)(acquire|release|acq_rel|seq_cst)")
    for path, text in files.items():
        if not is_cpp(path) or folder(path) == "tests":
            continue
        lines = text.split("\n")
        for number, line in lines_of(strip(text)):
            above = lines[max(0, number - 7):number]
            if order.search(line) and not any("//" in near and "SPDX" not in near
                                                   for near in above):
                yield path, number, "a memory order names its partner in a comment above it"


def rule_length(files):
    for path, text in files.items():
        if not (is_cpp(path) or path.endswith((".py", ".sh", ".pml", ".java"))):
            continue
        limit = TEST_LINES if folder(path) == "tests" else FILE_LINES
        count = text.count("\n")
        if count > limit:
            yield path, count, f"{count} lines; the limit is {limit}"
        for number, line in lines_of(text):
            if len(line) > LINE_LENGTH:
                yield path, number, f"{len(line)} columns; the limit is {LINE_LENGTH}"


def rule_places(files):
    for path, text in files.items():
        if path == "LICENSE":
            continue
        for number, line in lines_of(text):
            match = PRIVATE_PATH.search(line)
            if match:
                yield path, number, f"{match[0]} is a folder of somebody's own machine"
            for host in URL_HOST.findall(line):
                if not PUBLIC_HOSTS.search(host):
                    yield path, number, f"{host} is not among the public hosts that we link to"


def dedent(lines):
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[depth:].rstrip() for line in lines]


def quoted(files, path, name):
    """The text between the marks // [name] and // [/name] of a file, or None."""
    lines = files.get(path, "").split("\n")
    marks = [line.strip().removeprefix("//").removeprefix("#").strip() for line in lines]
    if f"[{name}]" not in marks or f"[/{name}]" not in marks:
        return None
    return dedent(lines[marks.index(f"[{name}]") + 1:marks.index(f"[/{name}]")])


def rule_snippets(files):
    """A block below <!-- snippet: path#name --> is the code that it quotes."""
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        lines = text.split("\n")
        for number, line in lines_of(text):
            match = re.match(r"\s*<!-- snippet: ([^#\s]+)#(\S+) -->", line)
            if not match:
                continue
            code = quoted(files, match[1], match[2])
            if code is None:
                yield path, number, f"{match[1]} has no marks [{match[2]}] and [/{match[2]}]"
                continue
            if number >= len(lines) or not lines[number].startswith("```"):
                yield path, number, "no fenced block follows"
                continue
            block = []
            for following in lines[number + 1:]:
                if following.startswith("```"):
                    break
                block.append(following.rstrip())
            if block != code:
                yield path, number, f"differs from {match[1]}#{match[2]}"


def rule_way(files):
    """Each `path` `function()` in the README's list of a record's way exists."""
    text = files.get("README.md", "")
    section = re.search(r"(?ms)^#+ [^\n]*way of a record[^\n]*\n(.*?)(?=^#|\Z)", text)
    if not section:
        return
    first = text.count("\n", 0, section.start(1))
    path = None
    for offset, line in lines_of(section[1]):
        if re.match(r"\s*(\d+\.|[-*]|\|)", line):
            path = None
        for word in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"[\w./-]+\.(hh|cc)", word):
                path = word
                if path not in files:
                    yield "README.md", first + offset, f"{path} does not exist"
            elif re.fullmatch(r"[\w:]+\(\)", word):
                name = word[:-2].split("::")[-1]
                if path and not re.search(rf"\b{name}\s*\(", files.get(path, "")):
                    yield "README.md", first + offset, f"{path} has no {name}()"


def rules():
    return {name.removeprefix("rule_"): value for name, value in globals().items()
            if name.startswith("rule_")}


def check(files, allowed=None):
    """files: path to text. Returns the sorted problems as (path, line, rule, message)."""
    allowed = ALLOWED if allowed is None else allowed
    used, problems = set(), set()
    for name, rule in rules().items():
        for path, line, message in rule(files):
            if (name, path) in allowed:
                used.add((name, path))
            else:
                problems.add((path, line, name, message))
    for name, path in set(allowed) - used:
        problems.add(("scripts/tidy.py", 1, "allowed", f"({name}, {path}) excuses nothing"))
    return sorted(problems)


def tree(root):
    listing = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co",
                              "--exclude-standard"], cwd=root, capture_output=True, text=True,
                             check=False)
    if listing.returncode == 0:
        paths = listing.stdout.splitlines()
    else:
        paths = [str(path.relative_to(root)) for path in root.rglob("*")
                 if not re.match(r"(build|weir-data|\.git/)", str(path.relative_to(root)))]
    files = {}
    for path in paths:
        full = root / path
        if full.is_symlink() or not full.is_file():
            continue
        try:
            files[path] = full.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return files


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    only = {os.path.relpath(os.path.abspath(name), root) for name in sys.argv[1:]}
    problems = [problem for problem in check(tree(root)) if not only or problem[0] in only]
    for path, line, name, message in problems:
        print(f"{path}:{line}: {name}: {message}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
