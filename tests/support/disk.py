# SPDX-License-Identifier: Apache-2.0
"""A file system of a test's own, in a file, that can lose its power or be too small."""
import fcntl
import os
import pathlib
import struct
import subprocess
import tempfile
import time

from broker import run, shell
import script

FS_IOC_SHUTDOWN = 0x8004587D
FLUSH_JOURNAL = 1     # what the journal knows still reaches the device
FLUSH_NOTHING = 2     # as when the power goes
os.environ["PATH"] += ":/usr/sbin:/sbin"
UNMOUNT_PATIENCE_S = 30


class Disk:
    """An image of `kind`, mounted through a loop device. Root only: else the test is skipped."""

    def __init__(self, kind, mebibytes):
        if os.geteuid() != 0:
            raise script.Skip("mounting needs root")
        self._folder = tempfile.TemporaryDirectory(prefix=f"{kind}-")
        self.image = pathlib.Path(self._folder.name) / "image"
        self.path = pathlib.Path(self._folder.name) / "mounted"
        self.path.mkdir()
        shell("truncate -s ${SIZE}M $IMAGE\n"
              "case $KIND in ext4) mkfs.ext4 -q $IMAGE;; xfs) mkfs.xfs -q $IMAGE;; esac",
              SIZE=mebibytes, IMAGE=self.image, KIND=kind)

    def __enter__(self):
        try:
            self.mount()
        except AssertionError as failure:
            self._folder.cleanup()
            raise script.Skip(f"no loop mounts here: {failure}") from failure
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], check=False)
        self._folder.cleanup()

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)

    def unmount(self):
        # The kernel lets go of a dead process's ring, and of the files in it, in its own time.
        last = time.monotonic() + UNMOUNT_PATIENCE_S
        while subprocess.run(["umount", str(self.path)], capture_output=True,
                             check=False).returncode != 0 and time.monotonic() < last:
            time.sleep(0.01)
        if os.path.ismount(self.path):
            run("umount", self.path)

    def lose_power(self, how=FLUSH_NOTHING):
        """From here on nothing reaches the image; every operation fails."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(handle)
