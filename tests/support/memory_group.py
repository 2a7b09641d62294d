# SPDX-License-Identifier: Apache-2.0
"""A memory cgroup of its own for a process that a test starts."""
import contextlib
import os
import pathlib
import time

import script

ROOT = pathlib.Path("/sys/fs/cgroup")


def parents():
    """(folder, version) of the groups in which this process may make one, its own first."""
    for line in pathlib.Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield ROOT / "memory" / path.lstrip("/"), 1
            yield ROOT / "memory", 1
        elif not controllers:
            # A group of v2 that holds processes gives its children no controllers: beside it.
            yield (ROOT / path.lstrip("/")).parent, 2
            yield ROOT, 2


class MemoryGroup:
    """At most so many bytes for whatever joins it: `prefix` starts a command inside."""

    FILES = {1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
             2: ("memory.max", "memory.peak", "memory.events")}

    def __init__(self, limit):
        self.limit = limit
        self.folder = None
        self._version = 0

    def __enter__(self):
        tried = []
        for parent, version in parents():
            folder = parent / f"weir-test-{os.getpid()}-{time.monotonic_ns()}"
            try:
                folder.mkdir()
            except OSError as why:
                tried.append(f"{parent}: {why.strerror}")
                continue
            try:
                (folder / self.FILES[version][0]).write_text(str(self.limit), "ascii")
            except OSError as why:
                tried.append(f"{folder}: {why.strerror}")
                folder.rmdir()
                continue
            self.folder, self._version = folder, version
            return self
        raise script.Skip(f"no memory cgroup can be made here ({'; '.join(tried) or 'no cgroups'})")

    def __exit__(self, *_):
        for _ in range(100):  # those who were killed leave it a moment later
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.05)
        print(f"{self.folder} is left over")

    @property
    def prefix(self):
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder)]

    def peak_bytes(self):
        """The most that it ever had, what the kernel keeps of files for it included."""
        path = self.folder / self.FILES[self._version][1]
        return int(path.read_text("ascii")) if path.exists() else 0

    def kills(self):
        """How often the kernel ended a process because there was no more."""
        lines = (self.folder / self.FILES[self._version][2]).read_text("ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
