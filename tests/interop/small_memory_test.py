#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# alone
"""A broker in a memory cgroup of 64 MiB, and hostile clients on 64 connections beside an honest
one: WEIR_HOSTILE_S says for how long, WEIR_SEED with which numbers. And one under ulimit -v."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from hostile import Hostile, crc32c  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from memory_group import MemoryGroup  # noqa: E402

MEMORY = 64 << 20
ADDRESSES = 200 << 20
HOSTILE_S = support.number("WEIR_HOSTILE_S", 5)
PARTITIONS = 16


def create(client, topic):
    support.wait_until(lambda: client.ask(MetadataRequest[4]([topic], True)).topics[0][0] == 0,
                       "a topic")


def produce(client, topic, partition, value):
    ((_, ((_, error, offset, *_),)),) = client.ask(ProduceRequest[7](
        None, -1, 30_000, [(topic, [(partition, support.batch([value]))])])).topics
    return error, offset


class Honest:
    """Writes numbers, one after the other, and reads each where it was put."""

    def __init__(self, broker):
        self.kept = {}  # {(partition, offset): value}
        self.times = []
        self.failures = 0
        self._broker = broker
        self._client = broker.client()

    def work(self, seconds):
        """returns  a line about its times"""
        self.times, self.failures = [], 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._once(len(self.kept) % PARTITIONS, b"%d" % len(self.kept))
            time.sleep(0.001)
        self.times.sort()
        at = [self.times[int(share * (len(self.times) - 1))] * 1000 for share in (0.5, 0.99, 1)]
        return (f"{len(self.times)} records written and read, p50 {at[0]:.1f} ms, "
                f"p99 {at[1]:.1f} ms, at most {at[2]:.1f} ms, {self.failures} tries failed")

    def _once(self, partition, value):
        began = time.monotonic()
        error, offset = produce(self._client, "honest", partition, value)
        if error != 0:
            self.failures += 1
            return
        self.kept[partition, offset] = value
        while not self._is_read(partition, offset):
            self.failures += 1
        self.times.append(time.monotonic() - began)

    def _is_read(self, partition, offset):
        answer = self._client.ask(FetchRequest[4](-1, 1_000, 1, 1 << 20, 0, [
            ("honest", [(partition, offset, 1 << 20)])]))
        ((_, ((_, error, *_, records),)),) = answer.topics
        assert error == 0, error
        return len(records) > 0


def test_small():
    """in 64 MiB a broker lives through what hostile clients do, and an honest one is served"""
    support.need("kcat")
    seed = support.number("WEIR_SEED", time.time_ns() % 1_000_000_007)
    print(f"seed {seed}")
    with MemoryGroup(MEMORY) as group, support.Broker(
            "--partitions", PARTITIONS, "--shards", 2, "--log-burst", 10,
            prefix=group.prefix) as broker:
        with broker.client() as client:
            for topic in ("large", "flood", "t", "honest"):
                create(client, topic)
            for partition in range(PARTITIONS):
                for _ in range(3):
                    assert produce(client, "large", partition, b"x" * 900_000)[0] == 0
        honest = Honest(broker)
        print("quiet:  ", honest.work(min(HOSTILE_S / 4, 5)), flush=True)
        try:
            with Hostile(broker.port, "large", PARTITIONS, seed=seed) as hostile:
                print("hostile:", honest.work(HOSTILE_S), flush=True)
                assert broker.process.poll() is None, "the broker died"
                print("done:   ", hostile.done())
                assert all(hostile.done().values()), "some did nothing"
        finally:
            print(f"memory:  {broker.peak_resident_bytes() / (1 << 20):.1f} MiB resident at most, "
                  f"the group had {group.peak_bytes() / (1 << 20):.1f} MiB with what the kernel "
                  f"keeps of files; {group.kills()} killed", flush=True)
        assert group.kills() == 0, "the kernel killed it"
        assert broker.peak_resident_bytes() < MEMORY
        found = broker.everything("honest")
        lost = {at: value for at, value in honest.kept.items() if found.get(at) != value}
        assert not lost, f"{len(lost)} of {len(honest.kept)} records: {list(lost.items())[:5]}"
        print("after:  ", honest.work(min(HOSTILE_S / 4, 5)))
        assert not broker.lines("level=error"), broker.log()[-4000:]


def test_addresses():
    """where ulimit -v leaves 200 MiB a broker lives through clients who take nothing"""
    support.need("kcat")
    with support.Broker("--partitions", 4, "--shards", 2,
                        prefix=["prlimit", f"--as={ADDRESSES}"]) as broker:
        values = [b"%d" % number + b"x" * 500 for number in range(60_000)]
        broker.kcat("-P", "-t", "t", "-z", "none", stdin=b"\n".join(values))
        clients = [broker.client() for _ in range(100)]
        for number, client in enumerate(clients):
            for _ in range(5):
                client.send(FetchRequest[4](-1, 1_000, 1, 1 << 26, 0, [
                    ("t", [(number % 4, 0, 1 << 20)])]))
        for client in clients:
            try:
                client.receive_frame()
            except OSError:
                pass  # there was no memory for it
            client.close()
        assert sorted(broker.everything("t").values()) == sorted(values)
        broker.kcat("-P", "-t", "t", stdin=b"more")
        broker.stop()
        assert not broker.lines("level=error"), broker.log()[-4000:]


if __name__ == "__main__":
    support.need()
    if crc32c is None:
        raise script.Skip("python3-kafka has no crc32c of its own")
    script.run(globals())
