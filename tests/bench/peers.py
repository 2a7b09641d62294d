# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share that drive whole programs: options, rows and output as harness.hh has
them, pairs of runs in turn, servers pinned to a CPU, and the CPU time that a process used."""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ports import free_port  # noqa: E402,F401 (for the benches)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("WEIR_BUILD", ROOT / "build-release"))


def for_people(value):
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def host():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(": ")[2]
            break
    return f"{len(os.sched_getaffinity(0))} x {model}"


class Row:
    """One figure of ours, and of a peer where there is one, over several runs."""

    def __init__(self, name, unit, better, peer_name):
        self.name, self.unit, self.better, self.peer_name = name, unit, better, peer_name
        self.ours, self.peer = [], []

    def ratio(self):
        """How many times better ours is."""
        if not self.ours or not self.peer:
            return None
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        if not ours or not peer:
            return None
        return ours / peer if self.better == "higher" else peer / ours

    def as_json(self):
        out = {"name": self.name, "unit": self.unit, "better": self.better,
               "ours": statistics.median(self.ours), "min": min(self.ours),
               "max": max(self.ours), "runs": len(self.ours)}
        if self.peer:
            out |= {"peer": statistics.median(self.peer), "peer_name": self.peer_name}
        if self.ratio() is not None:
            out["ratio"] = self.ratio()
        return out

    def as_text(self):
        ratio = self.ratio()
        peer = for_people(statistics.median(self.peer)) if self.peer else ""
        return (f"{self.name:<36} {self.unit:>8} {for_people(statistics.median(self.ours)):>10} "
                f"{for_people(min(self.ours)):>10} {for_people(max(self.ours)):>10} "
                f"{len(self.ours):>5} {peer:>10} "
                f"{'' if ratio is None else format(ratio, '.2f'):>6}  {self.peer_name}")


class Report:
    """A benchmark's options, its rows, and what becomes of them."""

    def __init__(self, bench, description, seconds):
        self.bench, self.rows, self.notes = bench, [], []
        self._parser = argparse.ArgumentParser(prog=f"scripts/bench {bench}",
                                               description=description)
        self._parser.add_argument("--json", metavar="FILE", help="also write the rows there")
        self._parser.add_argument("--pairs", type=int, default=5, help="runs of each side")
        self._parser.add_argument("--seconds", type=float, default=seconds,
                                  help="of one run of one side")
        self._parser.add_argument("--filter", default="", metavar="PART",
                                  help="only cases whose name has this part")
        self.option = self._parser.add_argument

    def parse(self):
        options = self._parser.parse_args()
        self.pairs, self.seconds = options.pairs, options.seconds
        self._json, self._filter = options.json, options.filter
        return options

    def wanted(self, name):
        return self._filter in name

    def add(self, name, unit, better, peer_name=""):
        self.rows.append(Row(name, unit, better, peer_name))
        return self.rows[-1]

    def alternate(self, ours, peer=None):
        """Runs both once to warm up, then in turn; each adds to its rows."""
        for run in range(self.pairs + 1):
            for side in filter(None, (ours, peer)):
                side()
            if run == 0:
                for row in self.rows:
                    del row.ours[getattr(row, "kept_ours", 0):]
                    del row.peer[getattr(row, "kept_peer", 0):]
        for row in self.rows:
            row.kept_ours, row.kept_peer = len(row.ours), len(row.peer)

    def note(self, text):
        self.notes.append(text)

    def finish(self):
        rows = [row for row in self.rows if row.ours]
        facts = {"bench": self.bench, "host": host(),
                 "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
                 "commit": os.environ.get("WEIR_COMMIT", "unknown"),
                 "command": shlex.join(["scripts/bench", self.bench, *sys.argv[1:]])}
        print(facts["bench"])
        for name in ("host", "kernel", "commit", "command"):
            print(f"{name:<7} {facts[name]}")
        print(f"\n{'row':<36} {'unit':>8} {'ours':>10} {'min':>10} {'max':>10} {'runs':>5} "
              f"{'peer':>10} {'ratio':>6}")
        for row in rows:
            print(row.as_text().rstrip())
        print("\nMedians; ratio is how many times better ours is.")
        for note in self.notes:
            print(note)
        if self._json:
            facts["rows"] = [row.as_json() for row in rows]
            pathlib.Path(self._json).write_text(json.dumps(facts, indent=1) + "\n")
        return 0


def cpus():
    """A CPU for the server and one for the client, the same one if there are no two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 if len(allowed) > 1 else 0]


def pinned(cpu, command):
    return ["taskset", "-c", str(cpu), *map(str, command)]


def cpu_seconds(pid):
    """CPU time of all threads of a process and of its children, to the nanosecond."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
            for child in (task / "children").read_text().split():
                total += round(cpu_seconds(child) * 1e9)
    return total / 1e9


class Server:
    """A program that listens on a port, on one CPU, until the end of a with block."""

    def __init__(self, command, port, cpu):
        self._log = tempfile.TemporaryFile()
        self.port = port
        self._process = subprocess.Popen(pinned(cpu, command), stdout=self._log,
                                         stderr=subprocess.STDOUT)
        self.pid = self._process.pid
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.__exit__()
                    self._log.seek(0)
                    raise RuntimeError(f"{shlex.join(map(str, command))} does not listen:\n"
                                       + self._log.read().decode(errors="replace")) from None
                time.sleep(0.02)

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
