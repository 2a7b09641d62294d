#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
"""kill -9 while clients produce with acks=all. WEIR_ROUNDS says how often, WEIR_SEED repeats."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from producers import Producers, round_seed  # noqa: E402

ROUNDS = support.number("WEIR_ROUNDS", 5)


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


if __name__ == "__main__":
    script.run(globals())
