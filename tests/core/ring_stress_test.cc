// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/ring.hh>

namespace {

using weir::ring;
using weir::sequence;
using weir::sequence_range;

/// Wide enough that a slot read while it is written would be seen torn.
struct wide {
    explicit wide(long n) noexcept : parts{n, n + 1, n + 2, n + 3} {}
    bool whole() const {
        return parts[1] == parts[0] + 1 && parts[2] == parts[0] + 2 && parts[3] == parts[0] + 3;
    }
    long parts[4];
};

void produce(ring<wide>::producer out, long count, std::size_t batch) {
    for (long next = 0; next != count;) {
        const auto left = static_cast<std::size_t>(count - next);
        const sequence_range range = out.claim(std::min(batch, left));
        if (range.empty()) {
            std::this_thread::yield();
            continue;
        }
        for (sequence at = range.first; at != range.end(); ++at) {
            std::construct_at(out.slot(at), next++);
        }
        out.publish(range.count);
    }
}

struct tally {
    long sum = 0;
    bool whole = true;
    bool ordered = true;
};

tally consume(ring<wide>::reader in, std::size_t batch) {
    tally seen;
    long expected = 0;
    while (!in.finished()) {
        const std::size_t count = in.drain(batch, [&](const wide& each) {
            seen.whole = seen.whole && each.whole();
            seen.ordered = seen.ordered && each.parts[0] == expected;
            seen.sum += each.parts[0];
            ++expected;
        });
        if (count == 0) {
            std::this_thread::yield();
        }
    }
    return seen;
}

void run(std::size_t capacity, std::size_t readers, std::size_t batch, long count) {
    ring<wide> numbers(capacity, readers);
    auto out = numbers.open();
    std::vector<tally> seen(readers);
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < readers; ++i) {
        threads.emplace_back([in = std::move(*out.join()), &mine = seen[i], batch]() mutable {
            mine = consume(std::move(in), batch);
        });
    }
    produce(std::move(out), count, batch);
    threads.clear();
    for (const tally& each : seen) {
        CHECK(each.whole);
        CHECK(each.ordered);
        CHECK(each.sum == count * (count - 1) / 2);
    }
}

}  // namespace

TEST_SUITE("core/ring") {
    TEST_CASE("between two threads every element arrives once, whole and in order") {
        run(1, 1, 1, 20'000);
        run(2, 1, 1, 50'000);
        run(1024, 1, 1, 200'000);
        run(64, 1, 64, 200'000);
        run(1024, 1, 64, 200'000);
    }

    TEST_CASE("three readers on threads of their own each see all of it") {
        run(2, 3, 1, 20'000);
        run(256, 3, 16, 100'000);
    }

    TEST_CASE("readers come and go on other threads while the producer runs") {
        ring<std::shared_ptr<long>> leases(4, 2);
        auto out = leases.open();
        const auto lease = std::make_shared<long>(1);
        std::vector<std::jthread> threads;
        for (int round = 0; round < 200; ++round) {
            weir::ring_gate place;
            auto in = out.join(place);
            REQUIRE(in);
            std::jthread reader([in = std::move(*in)]() mutable {
                for (long seen = 0; seen < 20;) {
                    const std::size_t count =
                        in.drain(3, [&](const std::shared_ptr<long>& each) { seen += *each; });
                    if (count == 0) {
                        std::this_thread::yield();
                    }
                }
            });
            // The reader leaves on its own thread; only our looking sets its gate free.
            while (place.joined()) {
                if (!out.emplace(lease)) {
                    std::this_thread::yield();
                }
            }
        }
        out.reclaim();
        CHECK(lease.use_count() == 1);
    }
}
