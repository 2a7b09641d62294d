#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# targets: apps/wordcount/weir-wordcount
"""weir-wordcount beside wc -lwm on a large file that lies in memory, of ASCII and of many
scripts. Each prints the same three numbers, or the benchmark fails."""
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

import peers

WORDS = {
    "ascii": "the of a to and in is that for it as was with be by on not he his but at are this "
             "have from which you had they reactor shard pipeline sequence disruptor".split(),
    "mixed": "naïve straße łódź ζωή мир שלום سلام नमस्ते 世界 こんにちは 안녕 ёлка façade 🙂 the of and in "
             "reactor".split(),
}
PIECE_WORDS = 200_000


def write_text(path, words, size):
    """Random words in lines, drawn once and repeated up to `size` bytes."""
    draw = random.Random(7)
    text = "".join(word + ("\n" if draw.random() < 0.1 else " ")
                   for word in draw.choices(words, k=PIECE_WORDS)).encode()
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write(text)
        file.flush()
        os.fsync(file.fileno())


def timed(command):
    """returns its seconds, its CPU seconds, and the three numbers that it printed"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    told = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, told.split()[:3]


def main():
    report = peers.Report("wordcount", __doc__, seconds=0)
    report.option("--mib", type=int, default=1024, help="size of the file")
    options = report.parse()
    ours = peers.BUILD / "apps/wordcount/weir-wordcount"
    with tempfile.TemporaryDirectory(dir=peers.BUILD) as folder:
        for name, words in WORDS.items():
            cases = [(f"wordcount.{name}.{ways}", arguments)
                     for ways, arguments in (("cores", []), ("one_core", ["--shards", 1]))
                     if report.wanted(f"wordcount.{name}.{ways}")]
            if not cases:
                continue
            path = pathlib.Path(folder, name)
            write_text(path, words, options.mib << 20)
            size = path.stat().st_size / 1e6
            for case, arguments in cases:
                rate = report.add(f"{case}.rate", "MB/s", "higher", "wc -lwm")
                cpu = report.add(f"{case}.cpu", "s", "lower", "wc -lwm")
                said = []

                def note(command, rates, cpus):
                    seconds, used, numbers = timed(command)
                    rates.append(size / seconds)
                    cpus.append(used)
                    said.append(numbers)
                    if numbers != said[0]:
                        raise RuntimeError(f"{case}: {numbers}, not {said[0]}")

                report.alternate(
                    lambda: note([ours, *arguments, path], rate.ours, cpu.ours),
                    lambda: note(["wc", "-lwm", path], rate.peer, cpu.peer))
            path.unlink()
    report.note(f"a file of {options.mib} MiB; cpu is of all threads, in user and kernel.")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
