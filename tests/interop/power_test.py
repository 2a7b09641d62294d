#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 1200
"""The file system dies under the broker, and what was not synced is gone: kill -9 alone keeps
the page cache and proves no sync. WEIR_ROUNDS says how often, WEIR_SEED repeats."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import disk as disks  # noqa: E402
import script  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from producers import Producers, round_seed  # noqa: E402

ROUNDS = support.number("WEIR_ROUNDS", 3)
STORAGE_ERROR = 56


def must_refuse(broker):
    """The broker lives, answers a produce with an error and a fetch with anything."""
    with broker.client() as client:
        for partition in range(4):
            answer = client.ask(ProduceRequest[7](
                None, -1, 30_000, [("t", [(partition, support.batch([b"too late"]))])]))
            error = answer.topics[0][1][0][1]
            assert error == STORAGE_ERROR, f"a produce on a dead disk got {error}"
            client.ask(FetchRequest[4](-1, 0, 0, 1 << 20, 0, [("t", [(partition, 0, 1 << 20)])]))
    assert broker.process.poll() is None, "the broker ended"


def lose_power_often(kind):
    seed, random = round_seed()
    with disks.Disk(kind, 512) as disk, support.Broker(
            "--segment-bytes", 1 << 20, directory=disk.path) as broker:
        producers = Producers("t", random)
        refused = 0
        for each in range(ROUNDS):
            began = len(producers.acknowledged)
            producers.start(broker, each)
            producers.let_run(random.uniform(0.05, 0.5))
            disk.lose_power(random.choice([disks.FLUSH_NOTHING, disks.FLUSH_JOURNAL]))
            must_refuse(broker)
            producers.stop()
            refused += producers.errors
            if random.random() < 0.5:
                broker.kill()
            else:
                broker.stop()
            disk.unmount()
            disk.mount()
            broker.start()
            lost = producers.check(broker.everything("t"))
            assert not lost, f"seed {seed}, round {each}: {lost}"
            assert len(producers.acknowledged) > began, f"round {each} acknowledged nothing"
        assert broker.lines("log stopped by a failed write"), "no log said that it stopped"
        _, ends = support.walk_all(broker, "t")
        assert broker.stop() == 0
        print(f"{kind}, {ROUNDS} rounds: {len(producers.acknowledged)} records acknowledged, "
              f"{sum(ends.values())} stored, {refused} batches refused; seed {seed}")


def test_ext4():
    """what was acknowledged before ext4 lost its power is there once, at its offset, afterwards"""
    support.need("kcat", "mkfs.ext4")
    lose_power_often("ext4")


def test_xfs():
    """what was acknowledged before xfs lost its power is there once, at its offset, afterwards"""
    support.need("kcat", "mkfs.xfs")
    lose_power_often("xfs")


if __name__ == "__main__":
    script.run(globals())
