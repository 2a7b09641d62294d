#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
"""kill -9 while clients produce with acks=all. WEIR_ROUNDS says how often, WEIR_SEED repeats."""
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import ports  # noqa: E402
import script  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from producers import Producers, round_seed  # noqa: E402

ROUNDS = support.number("WEIR_ROUNDS", 5)
NOT_READY = 6  # the word for: ask again


def test_kill():
    """what was acknowledged before kill -9 is there once, at its offset, afterwards"""
    support.need("kcat")
    seed, random = round_seed()
    # Small files, so that a kill also hits the change from one to the next.
    with support.Broker("--segment-bytes", 1 << 20) as broker:
        producers = Producers("t", random)
        restarts = []
        for each in range(ROUNDS):
            began = len(producers.acknowledged)
            producers.start(broker, each)
            producers.let_run(random.uniform(0.05, 0.5))
            broker.kill()
            producers.join()
            broker.start("--shards", random.choice([1, 2]))
            restarts.append(broker.start_s)
            lost = producers.check(broker.everything("t"))
            assert not lost, f"seed {seed}, round {each}: {lost}"
            assert len(producers.acknowledged) > began, f"round {each} acknowledged nothing"
        _, ends = support.walk_all(broker, "t")
        assert broker.stop() == 0
    restarts.sort()
    print(f"{ROUNDS} rounds: {len(producers.acknowledged)} records acknowledged, "
          f"{sum(ends.values())} stored, {producers.failures} connections lost; restart "
          f"{restarts[len(restarts) // 2] * 1000:.0f} ms (median), "
          f"{restarts[-1] * 1000:.0f} ms (worst); seed {seed}")


def test_creation():
    """a topic whose making kill -9 interrupts is whole afterwards, or was never told of"""
    seed, random = round_seed()
    told = {"before"}  # so that something is there, however soon the first kill comes
    with support.Broker("--shards", "2") as broker:
        with broker.client() as client:
            assert client.ask(MetadataRequest[4](["before"], True)).topics[0][0] == 0
        for each in range(ROUNDS):
            client = broker.client()
            names = [f"made-{each}-{index}" for index in range(30)]
            for name in names:
                client.send(MetadataRequest[4]([name], True))
            try:
                for name in names[:random.randrange(len(names))]:
                    ((error, _, _, partitions),) = client.receive().topics
                    if error == 0 and len(partitions) == 4:
                        told.add(name)
            finally:
                broker.kill()
                client.close()
            broker.start("--shards", random.choice([1, 2]))
            with broker.client() as client:
                topics = client.ask(MetadataRequest[4](None, False)).topics
                there = {name for error, name, _, partitions in topics
                         if error == 0 and len(partitions) == 4}
                assert len(there) == len(topics), f"seed {seed}, round {each}: {topics}"
                assert told <= there, f"seed {seed}, round {each}: {told - there} are gone"
                for partition in range(4):
                    # A start that takes long serves while some partitions are not ready yet.
                    while produce(client, max(there), partition) == NOT_READY:
                        time.sleep(0.05)
        assert broker.stop() == 0


def produce(client, topic, partition):
    answer = client.ask(ProduceRequest[7](
        None, -1, 30_000, [(topic, [(partition, support.batch([b"x"]))])]))
    error = answer.topics[0][1][0][1]
    assert error in (0, NOT_READY), answer
    return error


def test_clients_go_on():
    """kcat's producer and consumer live through kill -9: nothing is lost, nothing read twice"""
    support.need("kcat")
    count = 20_000
    # The same port each time: that is where they come back to. One of those that who connects is
    # given would be taken now and then while the broker is down, by a client that finds itself.
    port = ["--port", ports.free_port()]
    with support.Broker("--shards", "2", *port) as broker, tempfile.TemporaryFile() as read:
        quick = ["-q", "-E", "-X", "reconnect.backoff.max.ms=200", "-X", "retry.backoff.ms=50"]
        at = ["kcat", "-b", broker.address, *quick, "-t", "t"]
        broker.kcat("-P", "-t", "t", "-p", "0", stdin=b"0\n")
        consumer = subprocess.Popen([*at, "-C", "-o", "beginning", "-u", "-f", "%p %o %s\n"],
                                    stdout=read, stderr=subprocess.DEVNULL)
        producer = subprocess.Popen([*at, "-P", "-X", "acks=all"], stdin=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL)
        try:
            for value in range(1, count):
                producer.stdin.write(b"%d\n" % value)
                if value % (count // 4) == 0:
                    producer.stdin.flush()
                    broker.kill()
                    broker.start(*port)
                elif value % 500 == 0:
                    producer.stdin.flush()
                    time.sleep(0.01)
            producer.stdin.close()
            assert producer.wait(support.PATIENCE_S) == 0
            found = broker.everything("t")
            # What was under way at a kill is sent again, and may be there twice: at least once.
            missing = {b"%d" % value for value in range(count)} - set(found.values())
            assert not missing, f"{len(missing)} records missing"

            def lines():
                read.seek(0)
                return [line.split(b" ", 2) for line in read.read().splitlines(True)
                        if line.endswith(b"\n")]

            support.wait_until(lambda: len(lines()) >= len(found), "the consumer")
            seen = {(int(partition), int(offset)): value[:-1]
                    for partition, offset, value in lines()}
            assert len(seen) == len(lines()), "records were read twice"
            assert seen == found, "what was read isn't what is there"
        finally:
            for process in (producer, consumer):
                process.kill()
                process.wait()
        assert broker.stop() == 0


if __name__ == "__main__":
    script.run(globals())
