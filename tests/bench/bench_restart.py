#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# targets: apps/broker/weir-broker
"""kill -9 of a broker with many half-full logs, and a start: how long until one partition is
served and takes a record, until all are, and how much was read of each log for that."""
import os
import pathlib
import re
import sys
import time
import urllib.request

import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("WEIR_BUILD", str(ROOT / "build-release"))
sys.path.insert(0, str(ROOT / "tests" / "support"))
import broker as support  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402

TOPIC = "t"
BATCH_BYTES = 512 << 10


def metric(admin, name):
    """The sum of a series over the shards."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))


def produce(client, partition, batch):
    ((_, ((_, error, *_),)),) = client.ask(
        ProduceRequest[3](None, -1, 60_000, [(TOPIC, [(partition, batch)])])).topics
    return error


def fill(broker, partitions, megabytes):
    with broker.client() as client:
        client.ask(MetadataRequest[4]([TOPIC], True))
        batch = support.batch([b"x" * (BATCH_BYTES - 100)])
        for _ in range(megabytes * 2):
            for partition in range(partitions):
                assert produce(client, partition, batch) == 0
    time.sleep(0.5)  # the marks are on the device


def serve_first(broker):
    """Fetches the newest record of a partition, and appends one; asks until both are done."""
    with broker.client() as client:
        while True:
            ((_, ((_, error, end, *_),)),) = client.ask(FetchRequest[4](
                -1, 0, 0, 1 << 20, 0, [(TOPIC, [(0, 0, 1 << 10)])])).topics
            if error == 0 and end > 0 and produce(client, 0, support.batch([b"x"])) == 0:
                return
            time.sleep(0.002)


def main():
    report = peers.Report("restart", __doc__, seconds=0)
    report.option("--partitions", type=int, default=1000)
    report.option("--megabytes", type=int, default=4, help="in each, of a segment of 8 MiB")
    options = report.parse()
    first = report.add("restart.first_partition", "s", "lower")
    every = report.add("restart.all_partitions", "s", "lower")
    read = report.add("restart.read_of_a_log", "KiB", "lower")
    admin = f"127.0.0.1:{peers.free_port()}"
    with support.Broker("--partitions", options.partitions, "--segment-bytes", 8 << 20,
                        "--admin", admin, "--log-idle-seconds", 3600) as broker:
        fill(broker, options.partitions, options.megabytes)

        def restart():
            broker.kill()
            began = time.monotonic()
            broker.start()
            serve_first(broker)
            first.ours.append(time.monotonic() - began)
            while metric(admin, "weir_broker_logs_opening"):
                time.sleep(0.005)
            every.ours.append(time.monotonic() - began)
            read.ours.append(metric(admin, "weir_broker_recovery_read_bytes") / 1024
                             / options.partitions)
            time.sleep(0.5)

        report.alternate(restart)
    report.finish()


if __name__ == "__main__":
    main()
