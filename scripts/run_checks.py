#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of scripts/check. Each prints one line; what it said is in build-check/STEP.log.

Steps that look at one file at a time remember, by a hash over the file and every file of the
tree that it includes, what has passed: only what changed is looked at again.
"""
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import progress
import tidy

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build-check"
CACHE = ROOT / ".cache" / "check"
CLANG = "clang++-19"
GCC = "g++-12"
FLAGS = ["-std=c++20", "-I.include", "-Iapps", "-Itests", "-I.", "-Wall", "-Wextra",
         "-Werror", "-Wextra-semi", "-Wnon-virtual-dtor", "-Wno-missing-field-initializers",
         "-fsyntax-only"]
TOOLS = [CLANG, GCC, "clang-tidy-19", "clang-format-19", "ld.lld-19", "meson"]
FUZZ_SECONDS = {"quick": 5, "full": 20}
HOSTILE_SECONDS = 60
SEED_SECONDS = {"quick": 20, "full": 300}
JOBS = os.cpu_count()
PLAIN = ["build", "-Dwerror=true"]


class Failed(Exception):
    """A step failed; the text says how, the log holds the rest."""


class Skipped(Exception):
    """There is nothing for this step to do; the text says why."""


@functools.cache
def versions():
    """Of what judges a tree: what has passed with another compiler has not passed."""
    said = []
    for tool in TOOLS:
        try:
            said.append(subprocess.run([tool, "--version"], capture_output=True, text=True,
                                       check=False, stdin=subprocess.DEVNULL).stdout)
        except OSError:
            said.append("")
    return "\0".join(said)


class Check:
    def __init__(self, mode):
        self.mode = mode
        self.files = tidy.tree(ROOT)
        self.log = None
        self._closures = {}

    def run(self, command, timeout_s=3600, environment=None, **kwargs):
        """Runs a command with its output in the log; returns the status."""
        line = " ".join(map(str, command))
        self.log.write(f"$ {line if len(line) < 300 else line[:300] + ' ...'}\n")
        self.log.flush()
        return subprocess.run(command, cwd=ROOT, stdout=self.log, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
                              env={**os.environ, **(environment or {})}, **kwargs).returncode

    def must(self, what, command, **kwargs):
        if self.run(command, **kwargs) != 0:
            raise Failed(what)

    def sources(self, suffix):
        return sorted(path for path in self.files if path.endswith(suffix))

    def closure(self, path):
        """The files of the tree that a file includes, and those that they include."""
        if path not in self._closures:
            found, queue = {path}, [path]
            while queue:
                name = queue.pop()
                beside = os.path.dirname(name)
                for _, _, target in tidy.includes(self.files[name]):
                    for candidate in (target.removeprefix("weir/"), "apps/" + target,
                                      "tests/" + target, os.path.normpath(f"{beside}/{target}")):
                        if candidate in self.files and candidate not in found:
                            found.add(candidate)
                            queue.append(candidate)
            self._closures[path] = found
        return self._closures[path]

    def key(self, kind, path):
        digest = hashlib.sha256((kind + versions()).encode())
        for name in sorted(self.closure(path)):
            digest.update(name.encode() + b"\0" + self.files[name].encode() + b"\0")
        return digest.hexdigest()

    def each(self, kind, paths, command, verdict=None):
        """Runs command(path) for each path that has not passed before; returns how many ran."""
        CACHE.mkdir(parents=True, exist_ok=True)
        keys = {path: self.key(kind, path) for path in paths}
        todo = [path for path in paths if not (CACHE / keys[path]).exists()]

        def one(path):
            done = subprocess.run(command(path), cwd=ROOT, capture_output=True, text=True,
                                  check=False, stdin=subprocess.DEVNULL)
            output = done.stdout + done.stderr
            return path, verdict(done) if verdict else ("" if done.returncode == 0 else output)

        broken = []
        with concurrent.futures.ThreadPoolExecutor(max_workers=JOBS) as pool:
            for path, problem in pool.map(one, todo):
                if problem:
                    broken.append(path)
                    self.log.write(f"--- {path}\n{problem}\n")
                else:
                    (CACHE / keys[path]).touch()
        if broken:
            raise Failed(f"{len(broken)} of {len(paths)}: {' '.join(broken[:5])}")
        return f"{len(paths)} files, {len(todo)} changed"


class Passed:
    """What has passed on this tree, with what is not committed yet: that need not run again."""

    def __init__(self, files, mode, cache):
        digest = hashlib.sha256((mode + versions()).encode())
        for name, text in sorted(files.items()):
            digest.update(name.encode() + b"\0" + text.encode() + b"\0")
        self._tree = digest.hexdigest()[:32]
        self._cache = cache

    def _mark(self, step):
        return self._cache / f"{step}.{self._tree}"

    def has(self, step):
        return self._mark(step).exists()

    def add(self, step):
        self._cache.mkdir(parents=True, exist_ok=True)
        self._mark(step).touch()


def step_format(check):
    paths = check.sources((".cc", ".hh"))
    check.must("run clang-format-19 -i on what the log names",
               ["clang-format-19", "--dry-run", "-Werror", *paths])
    return f"{len(paths)} files"


def step_tidy(check):
    check.must("scripts/tidy.py", [sys.executable, "scripts/tidy.py"])
    return f"{len(tidy.rules())} rules"


def step_headers(check):
    """Each header compiles alone."""
    return check.each("headers " + " ".join(FLAGS), check.sources(".hh"), lambda path: [
        CLANG, *FLAGS, "-include", path, "-x", "c++", "/dev/null"])


def step_probes(check):
    """clang-19 treats coroutines right, and coroutine.hh refuses a compiler that does not."""
    probes = [path for path in check.sources(".cc") if path.startswith("tests/compiler/")]
    refused = 0
    for probe in probes:
        for compiler in (CLANG, GCC):
            for level in ("-O0", "-O2"):
                binary = LOGS / "probe"
                check.must(f"{probe} does not build with {compiler}",
                           [compiler, "-std=c++20", level, probe, "-o", binary])
                status = check.run([binary], timeout_s=60)
                if compiler == CLANG and status != 0:
                    raise Failed(f"{probe} fails with {CLANG} {level}")
                refused += compiler == GCC and status != 0
    if refused == 0:
        raise Failed(f"{GCC} passes every probe: then coroutine.hh need not refuse it")
    if "core/coroutine.hh" not in check.files:
        return f"{len(probes)} programs; core/coroutine.hh is yet to come"
    done = subprocess.run([GCC, *FLAGS, "-x", "c++", "-"], cwd=ROOT, text=True, check=False,
                          input="#include <weir/core/coroutine.hh>\n", capture_output=True)
    check.log.write(done.stderr)
    first = re.search(r"error: .*", done.stderr)
    if done.returncode == 0 or not first or "clang" not in first[0]:
        raise Failed(f"coroutine.hh must refuse {GCC} and name a compiler that will do")
    return f"{len(probes)} programs, {GCC} refused"


def step_gcc(check):
    """Sources that never see a coroutine build with g++ too."""
    paths = []
    for path in check.sources(".cc"):
        if path.split("/")[0] not in tidy.LAYERS:
            continue
        texts = [check.files[name] for name in check.closure(path)]
        if "core/coroutine.hh" not in check.closure(path) and not any(
                "#include <coroutine>" in text for text in texts):
            paths.append(path)
    return check.each(GCC + " ".join(FLAGS), paths, lambda path: [
        GCC, *FLAGS, "-Wno-non-virtual-dtor", path])


def build(check, folder, *options, targets=()):
    check.must(f"{folder} does not build",
               ["scripts/build", folder, *options, *(["--", *targets] if targets else [])])


def step_warnings(check):
    """Everything builds with clang-19 without a warning."""
    build(check, *PLAIN, targets=["build.ninja"])
    configured = json.loads((ROOT / "build/meson-info/intro-buildoptions.json").read_text())
    if not any(option["name"] == "werror" and option["value"] for option in configured):
        check.must("meson configure", ["meson", "configure", "build", "-Dwerror=true"])
    build(check, "build")
    return ""


def step_clang_tidy(check):
    build(check, *PLAIN, targets=["build.ninja"])
    commands = json.loads((ROOT / "build" / "compile_commands.json").read_text())
    known = {os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
             for entry in commands}
    paths = [path for path in check.sources(".cc") if path in known]

    def verdict(done):
        # From misc-include-cleaner we want what is included and not used, not the reverse.
        blocks = re.split(r"(?m)^(?=\S+:\d+:\d+: (?:warning|error):)", done.stdout)
        found = [block for block in blocks if re.match(r"\S+:\d+:\d+: (warning|error):", block)
                 and "no header providing" not in block.split("\n")[0]]
        return "".join(found) or ("" if done.returncode == 0 else done.stdout + done.stderr)

    settings = check.files[".clang-tidy"] + check.files.get("tests/.clang-tidy", "")
    return check.each("clang-tidy " + settings, paths, lambda path: [
        "clang-tidy-19", "-p", "build", "--quiet", path], verdict)


SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "halt_on_error=1:detect_leaks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
    **{f"{name}_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-19" for name in
       ("ASAN", "UBSAN", "TSAN")},
}
ADDRESS = ["build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false"]
THREAD = ["build-tsan", "-Db_sanitize=thread", "-Db_lundef=false"]


def sanitized_tests(check, options, slower):
    build(check, *options, targets=["build.ninja"])
    folder = ROOT / options[0]
    tests = json.loads((folder / "meson-info" / "intro-tests.json").read_text())
    build(check, *options, targets=[os.path.relpath(test["cmd"][0], folder) for test in tests])
    check.log.flush()
    start = check.log.tell()
    status = check.run([sys.executable, "scripts/run_tests.py", "--no-scripts", "--build",
                        options[0], "--slower", str(slower)], timeout_s=3600 * slower,
                       environment=SANITIZER_ENVIRONMENT)
    check.log.flush()
    with open(check.log.name, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        last = log.read().strip().split("\n")[-1]
    if status != 0:
        raise Failed(last)
    return last


def step_tests(check):
    """All that scripts/test runs: kcat and other clients, kills and hostile ones among it."""
    build(check, *PLAIN)
    check.log.flush()
    start = check.log.tell()
    status = check.run([sys.executable, "scripts/run_tests.py", "--build", "build"],
                       timeout_s=7200)
    with open(check.log.name, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        last = log.read().strip().split("\n")[-1]
    if status != 0:
        raise Failed(last)
    return last


def step_asan(check):
    return sanitized_tests(check, ADDRESS, slower=3)


def step_tsan(check):
    return sanitized_tests(check, THREAD, slower=10)


def step_fuzz(check):
    """Each fuzz target for some seconds, on top of what earlier runs found."""
    build(check, *PLAIN, targets=["build.ninja"])
    targets = json.loads((ROOT / "build/meson-info/intro-targets.json").read_text())
    names = sorted(target["name"] for target in targets if target["name"].startswith("fuzz_"))
    if not names:
        raise Skipped("there are no fuzz targets")
    build(check, *PLAIN, targets=[f"tests/fuzz/{name}" for name in names])
    seconds = FUZZ_SECONDS[check.mode]
    for name in names:
        corpus = ROOT / ".cache" / "fuzz" / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = ROOT / "tests" / "fuzz" / "corpus" / name.removeprefix("fuzz_")
        check.must(f"{name} found something", [
            f"build/tests/fuzz/{name}", f"-max_total_time={seconds}", "-max_len=65536",
            "-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={LOGS}/{name}-", corpus,
            *([seeds] if seeds.is_dir() else [])], environment=SANITIZER_ENVIRONMENT)
    return f"{len(names)} targets, {seconds} s each"


def step_hostile(check):
    """Hostile clients for a minute against the release build, with assertions, in 64 MiB."""
    build(check, *PLAIN, targets=["build.ninja"])
    build(check, *PLAIN, targets=["apps/broker/weir-broker"])
    check.log.flush()
    start = check.log.tell()
    status = check.run(["tests/interop/small_memory_test.py"], timeout_s=900, environment={
        "WEIR_BUILD": str(ROOT / "build"), "WEIR_HOSTILE_S": str(HOSTILE_SECONDS)})
    with open(check.log.name, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        text = log.read()
    told = re.findall(r"(?m)^(?:quiet|hostile|memory): .*", text)
    if status != 0:
        raise Failed("\n".join(["the broker did not live through it", *told]))
    skipped = re.search(r"(?m)^skip .*?: (.*)", text)
    if skipped:
        raise Skipped(skipped[1])
    return "\n  ".join([f"{HOSTILE_SECONDS} s", *told])


def step_model(check):
    if not os.access(ROOT / "scripts" / "model", os.X_OK):
        raise Skipped("there is no scripts/model")
    digest = hashlib.sha256(b"model" + versions().encode())
    for path in ["scripts/model", *check.sources(".pml")]:
        digest.update(check.files[path].encode() + b"\0")
    passed = CACHE / digest.hexdigest()
    if passed.exists():
        return "unchanged since it passed"
    check.must("scripts/model", ["scripts/model"])
    CACHE.mkdir(parents=True, exist_ok=True)
    passed.touch()
    return ""


def step_sim(check):
    """Simulation seeds: in quick mode those from 1 on, so that a change is judged by the change
    alone; in full mode new ones each time. The log names the seed that failed."""
    if not any(path.startswith("tests/sim/sim_seeds") for path in check.files):
        raise Skipped("there is no tests/sim/sim_seeds")
    build(check, *PLAIN, targets=["tests/sim/sim_seeds"])
    seconds = SEED_SECONDS[check.mode]
    command = ["build/tests/sim/sim_seeds", "--seconds", str(seconds)]
    if check.mode == "quick":
        command += ["--first", "1"]
    check.must("a seed failed", command, timeout_s=seconds + 300)
    return f"{seconds} s"


def broker_serves_on_a_plain_system(check):
    """Seconds from the clone until a record came back, with what setup installs."""
    started = time.monotonic()
    at = check.log.tell()
    check.log.write("$ scripts/fresh scripts/run broker\n")
    check.log.flush()
    with subprocess.Popen(["scripts/fresh", "scripts/run", "broker", "--port", "0", "--admin",
                           "127.0.0.1:0"], cwd=ROOT, stdout=check.log, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL) as broker:
        try:
            address = None
            while address is None:
                with open(check.log.name, encoding="utf-8", errors="replace") as log:
                    log.seek(at)
                    address = re.search(r"kcat -P -b (\S+)", log.read())
                if broker.poll() is not None:
                    raise Failed("scripts/run broker ended on a plain system")
                if time.monotonic() - started > 3600:
                    raise Failed("scripts/run broker does not serve on a plain system")
                time.sleep(0.2)
            seconds = time.monotonic() - started
            check.must("kcat can't produce", ["sh", "-c", f"seq 10 | kcat -P -b {address[1]} -t t"],
                       timeout_s=60)
            got = subprocess.run(["kcat", "-C", "-b", address[1], "-t", "t", "-e", "-q", "-o",
                                  "beginning"], capture_output=True, text=True, check=False,
                                 timeout=60).stdout.split()
            if sorted(got, key=int) != [str(i) for i in range(1, 11)]:
                raise Failed(f"kcat got {got}")
        finally:
            broker.terminate()
    return seconds


def step_fresh(check):
    """Both commands of the README where nothing is installed: a plain Debian 12 for each."""
    if os.geteuid() != 0:
        raise Skipped("making a plain Debian needs root")
    if not shutil.which("debootstrap", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        raise Skipped("debootstrap is not installed")
    if check.run(["unshare", "--mount", "true"]) != 0:
        raise Skipped("mounting is not allowed here")
    seconds = broker_serves_on_a_plain_system(check)
    check.must("scripts/test fails on a plain system", ["scripts/fresh", "scripts/test"],
               timeout_s=7200)
    check.log.flush()
    with open(check.log.name, encoding="utf-8", errors="replace") as log:
        last = log.read().strip().split("\n")[-1]
    return f"the broker served after {seconds:.0f} s; {last}"


def steps():
    return {name.removeprefix("step_").replace("_", "-"): value
            for name, value in globals().items() if name.startswith("step_")}


def last_line(name, log_path):
    """What says that a step still runs, and what it wrote last."""
    def line(seconds):
        text = log_path.read_text(encoding="utf-8", errors="replace").rstrip()
        return (f"{name:<12} {'runs':<8} {seconds:7.1f} s  "
                f"{text[text.rfind(chr(10)) + 1:][:80]}")
    return line


# What draws anew each time looks for what it has not found yet, on a tree that passed too.
DRAWING = {"quick": [], "full": ["fuzz", "hostile", "sim"]}
QUICK = ["format", "tidy", "headers", "probes", "gcc", "warnings", "model", "sim"]


def main():
    again = "--again" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--again"] or ["full"]
    mode = "quick" if words == ["quick"] else "full"
    chosen = QUICK if mode == "quick" else list(steps()) if words == ["full"] else words
    unknown = [name for name in chosen if name not in steps()]
    if unknown:
        print("usage: scripts/check [--again] [quick|full|STEP...], with the steps "
              f"{' '.join(steps())}")
        return 0 if words == ["--help"] else 2
    LOGS.mkdir(exist_ok=True)
    check = Check(mode)
    # Who names a step wants it to run.
    before = Passed(check.files, mode, CACHE / "passed")
    resumes = not again and words in (["quick"], ["full"])
    passed = failed = skipped = 0
    for name in chosen:
        if resumes and name not in DRAWING[mode] and before.has(name):
            passed += 1
            print(f"{name:<12} {'ok':<8} {0:7.1f} s  passed on this tree before (see --again)",
                  flush=True)
            continue
        started = time.monotonic()
        log_path = LOGS / f"{name}.log"
        with open(log_path, "w", encoding="utf-8") as check.log, \
                progress.Telling(last_line(name, log_path)):
            try:
                word, detail = "ok", steps()[name](check)
                passed += 1
                if tidy.tree(ROOT) == check.files:
                    before.add(name)
            except Skipped as why:
                word, detail = "skipped", str(why)
                skipped += 1
            except (Failed, subprocess.TimeoutExpired) as why:
                word, detail = "FAILED", str(why)
                failed += 1
        seconds = time.monotonic() - started
        print(f"{name:<12} {word:<8} {seconds:7.1f} s  {detail}", flush=True)
        if word == "FAILED":
            lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join("  | " + line for line in lines[-60:]))
            print(f"  | all of it: {log_path.relative_to(ROOT)}", flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
