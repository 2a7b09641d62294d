# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that must be told one."""
import pathlib
import random
import socket

FIRST = 10_000


def free_port():
    """A port that nobody has, and that the kernel gives nobody who connects: it is still free when
    its server starts, and when it starts again."""
    ephemeral = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
    end = max(int(ephemeral.split()[0]), FIRST + 1000)
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(FIRST, end)))
            except OSError:
                continue
            return probe.getsockname()[1]
