#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what scripts/test built and counts test cases, not binaries.

Tests are the meson tests (doctest binaries, or anything that says "ok NAME" lines or only exits)
and the executable scripts tests/**/*_test.sh and *_test.py, which print "ok NAME",
"not ok NAME" and "skip NAME: reason". Each gets a TMPDIR of its own inside the build folder, on
a real file system. The last line is "N passed, N failed", with skips as a third where there are
any; each half a minute one says how far it is.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import progress

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = re.compile(
    r"\[doctest\] test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed(?: \|\s*(\d+) skipped)?")
SCRIPT_TIMEOUT_S = 600
SHOWN_LINES = 400


@dataclasses.dataclass
class Test:
    name: str
    command: list
    timeout_s: float
    environment: dict
    is_script: bool = False
    alone: bool = False
    filtered: bool = False


@dataclasses.dataclass
class Result:
    test: Test
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    output: str = ""
    note: str = ""


def meson_tests(build):
    path = build / "meson-info" / "intro-tests.json"
    for entry in json.loads(path.read_text()):
        timeout = entry["timeout"] or 0
        yield Test(entry["name"], list(entry["cmd"]), timeout if timeout > 0 else 3600,
                   dict(entry["env"]), alone=not entry["is_parallel"])


def script_tests():
    for path in sorted((ROOT / "tests").glob("**/*_test.*")):
        if path.suffix not in (".sh", ".py") or not os.access(path, os.X_OK):
            continue
        head = "".join(path.open().readlines()[:8])
        timeout = re.search(r"^# timeout: (\d+)", head, re.M)
        yield Test(str(path.relative_to(ROOT / "tests")), [str(path)],
                   float(timeout[1]) if timeout else SCRIPT_TIMEOUT_S, {}, is_script=True,
                   alone=bool(re.search(r"^# alone\b", head, re.M)))


def is_doctest(test):
    return b"[doctest] " in pathlib.Path(test.command[0]).read_bytes()


def select(tests, words):
    """A word keeps a test whose name holds it whole, and of every other doctest binary the
    suites and cases that hold it."""
    if not words:
        return list(tests)
    chosen = []
    for test in tests:
        if any(word in test.name for word in words):
            chosen.append(test)
        elif not test.is_script and is_doctest(test):
            for word in words:
                escaped = word.replace("\\", "\\\\").replace(",", "\\,")
                suite = f"*{escaped}*"
                for filters in ([f"--test-suite={suite}"],
                                [f"--test-case={suite}", f"--test-suite-exclude={suite}"]):
                    chosen.append(dataclasses.replace(
                        test, command=test.command + filters, filtered=True))
    return chosen


class Runner:
    def __init__(self, build):
        self._build = build
        self._scratch = build / "test-tmp"
        self._lock = threading.Lock()
        self._running = {}
        self._number = 0

    def run(self, test):
        with self._lock:
            self._number += 1
            scratch = self._scratch / str(self._number)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        environment = {**os.environ, **test.environment, "TMPDIR": str(scratch),
                       "WEIR_ROOT": str(ROOT), "WEIR_BUILD": str(self._build)}
        started = time.monotonic()
        result = Result(test)
        with subprocess.Popen(test.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True) as process:
            with self._lock:
                self._running[process.pid] = (test.name, started)
            try:
                output, _ = process.communicate(timeout=test.timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                result.note = f"killed after {test.timeout_s:.0f} s"
            finally:
                with self._lock:
                    del self._running[process.pid]
        result.seconds = time.monotonic() - started
        result.output = output.decode("utf-8", "replace")
        count(result, process.returncode)
        if result.failed == 0:
            shutil.rmtree(scratch, ignore_errors=True)
        return result

    def running(self):
        """What runs now, the longest first."""
        with self._lock:
            tests = sorted(self._running.values(), key=lambda test: test[1])
        return ", ".join(f"{name} ({time.monotonic() - started:.0f} s)" for name, started in tests)

    def stop(self):
        with self._lock:
            for pid in self._running:
                os.killpg(pid, signal.SIGKILL)


def count(result, status):
    summary = None
    for summary in SUMMARY.finditer(result.output):
        pass
    lines = result.output.splitlines()
    result.skipped = sum(line.startswith("skip ") for line in lines)
    if summary:
        result.passed = int(summary[2]) - result.skipped
        result.failed = int(summary[3])
        if summary[4] and not result.test.filtered:
            result.skipped += int(summary[4])
    else:
        result.passed = sum(line.startswith("ok ") for line in lines)
        result.failed = sum(line.startswith("not ok ") for line in lines)
    if status != 0 and result.failed == 0:
        result.failed = 1
        result.note = result.note or (
            f"killed by signal {-status}" if status < 0 else f"exit status {status}")
    elif not summary and result.passed + result.failed + result.skipped == 0:
        if result.test.is_script:
            result.failed = 1
            result.note = "printed neither ok nor not ok"
        else:
            result.passed = 1


def describe(result):
    counts = f"{result.passed} passed"
    if result.failed:
        counts += f", {result.failed} FAILED"
    if result.skipped:
        counts += f", {result.skipped} skipped"
    note = f" ({result.note})" if result.note else ""
    print(f"{result.test.name:<32} {counts:<28} {result.seconds:7.1f} s{note}", flush=True)
    lines = result.output.splitlines()
    if result.failed:
        print(f"  command: {' '.join(result.test.command)}")
        if len(lines) > SHOWN_LINES:
            left_out = len(lines) - SHOWN_LINES
            half = SHOWN_LINES // 2
            lines = lines[:half] + [f"... {left_out} lines left out ..."] + lines[-half:]
        print("\n".join("  | " + line for line in lines), flush=True)
    else:
        for line in lines:
            if line.startswith("skip "):
                print("  " + line, flush=True)


def main():
    parser = argparse.ArgumentParser(usage="scripts/test [FILTER...]")
    parser.add_argument("filters", nargs="*")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--no-scripts", action="store_true", help="only the meson tests")
    parser.add_argument("--slower", type=float, default=1,
                        help="how many times slower than usual the tests run: their time "
                             "limits are longer by as much")
    options = parser.parse_args()
    build = options.build.resolve()

    tests = list(meson_tests(build))
    if not options.no_scripts:
        tests += script_tests()
    tests = select(tests, options.filters)
    for test in tests:
        test.timeout_s *= options.slower
    times_path = build / "test-times.json"
    try:
        times = json.loads(times_path.read_text())
    except (OSError, ValueError):
        times = {}
    # The longest first, so that none is left alone at the end; what is not known yet by its limit.
    tests.sort(key=lambda test: -times.get(test.name, test.timeout_s))

    runner = Runner(build)
    signal.signal(signal.SIGTERM, lambda *_: (runner.stop(), sys.exit(143)))
    results = []

    def finish(result):
        results.append(result)
        if not result.test.filtered:
            times[result.test.name] = round(result.seconds, 1)
        if result.passed + result.failed or not result.test.filtered:
            describe(result)

    together = [test for test in tests if not test.alone]

    def line(seconds):
        return (f"test: {len(results)} of {len(tests)} programs, {seconds:.0f} s; "
                f"now {runner.running()}")

    with progress.Telling(line), \
            concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        try:
            for future in concurrent.futures.as_completed(
                    [pool.submit(runner.run, test) for test in together]):
                finish(future.result())
            for test in tests:
                if test.alone:
                    finish(runner.run(test))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise
    times_path.write_text(json.dumps(times))

    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    skipped = sum(result.skipped for result in results)
    if any(result.failed for result in results):
        print("failed: " + ", ".join(sorted({r.test.name for r in results if r.failed})))
    if passed + failed == 0:
        print("nothing ran" + (f": no test matches {options.filters}" if options.filters else ""))
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
