// SPDX-License-Identifier: Apache-2.0
// When there is no memory: whichever allocation of a join fails, it ends after all that it began,
// and as std::bad_alloc or well. On the simulator, which lets allocations of hosts fail.
#include <cstdint>
#include <functional>
#include <new>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/gate.hh>
#include <weir/core/loop.hh>
#include <weir/core/scope.hh>
#include <weir/core/sharded.hh>
#include <weir/core/sleep.hh>
#include <weir/io/file.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>
#include <weir/io/stream.hh>

using namespace weir;
using namespace std::chrono_literals;
namespace sim = weir::io::sim;

namespace {

constexpr int length = 20;

/// Counts what has begun and not ended: a slot a shard, which alone touches it.
struct children {
    std::vector<int> under_way = std::vector<int>(2);
    int sum() const { return std::accumulate(under_way.begin(), under_way.end(), 0); }
};

struct counted {
    explicit counted(children& all) : own(all.under_way[this_shard().id()]) { ++own; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { --own; }
    int& own;
};

future<> child(children& all, int i) {
    const counted begun(all);
    if (i % 3 == 0) {
        co_await yield();
    } else {
        co_await sleep_for(std::chrono::microseconds(i));
    }
}

std::vector<int> numbers() {
    std::vector<int> all(length);
    std::iota(all.begin(), all.end(), 0);
    return all;
}

struct outcome {
    std::string wrong;  // empty: nothing
    bool struck = false;
};

using join = std::function<future<>(children&)>;

/// Runs it in a world of its own, where the allocations from `first` on to `first + times` fail.
outcome run_without(const join& what, std::uint64_t first, std::uint64_t times, bool warm) {
    outcome result;
    sim::world world(1 + first % 5);
    auto& tested = world.add_host("tested", 2);
    tested.start([&](host&) -> future<> {
        children all;
        if (warm) {
            co_await what(all);  // what grows once has grown
        }
        sim::memory::fail(first, times);
        future<> ended = futurize(what, all);
        co_await settled(ended);
        result.struck = sim::memory::stop_failing() != 0;
        const sim::memory::outside guard;
        if (all.sum() != 0) {
            result.wrong = std::to_string(all.sum()) + " are under way";
        } else if (ended.failed()) {
            try {
                ended.take();
            } catch (const std::bad_alloc&) {
            } catch (const error& other) {
                // The first call to a shard found no memory for the rings between the two.
                result.wrong = other.is(errc::overloaded) ? "" : other.what();
            } catch (const std::exception& other) {
                result.wrong = other.what();
            }
        }
    });
    if (!world.run_until([&] { return tested.exited(); }, 60s)) {
        result.wrong = "it never ended";
    }
    sim::memory::stop_failing();
    return tested.failure().empty() ? result : outcome{tested.failure(), true};
}

void joins_without_memory(const join& what) {
    for (const bool warm : {false, true}) {
        for (const std::uint64_t times : {1, 3, 60}) {
            std::uint64_t first = 0;
            for (bool more = true; more; ++first) {
                INFO("allocation ", first, " and ", times - 1, " more fail, warm: ", warm);
                const outcome result = run_without(what, first, times, warm);
                more = result.struck;
                REQUIRE(result.wrong == "");
            }
            CHECK((warm || first > 1));
        }
    }
}

struct service {
    explicit service(std::vector<int>* counts) : living(&(*counts)[this_shard().id()]) {
        ++*living;
    }
    ~service() { --*living; }
    future<> stop() { co_await yield(); }
    int* living;
};

}  // namespace

TEST_SUITE("sim/joins") {
    TEST_CASE("parallel_for_each without memory ends after all that it began") {
        joins_without_memory([](children& all) {
            return parallel_for_each(numbers(), [&all](int i) { return child(all, i); });
        });
    }

    TEST_CASE("max_concurrent_for_each without memory ends after all that it began") {
        joins_without_memory([](children& all) {
            return max_concurrent_for_each(numbers(), 5, [&all](int i) { return child(all, i); });
        });
    }

    TEST_CASE("a scope without memory ends after all that it spawned") {
        joins_without_memory([](children& all) {
            return with_scope([&all](scope& own) {
                for (int i = 0; i < length; ++i) {
                    own.spawn([&all, i] { return child(all, i); });
                }
            });
        });
    }

    TEST_CASE("a gate without memory closes when all that entered have left") {
        joins_without_memory([](children& all) -> future<> {
            gate door;
            try {
                for (int i = 0; i < length; ++i) {
                    with_gate(door, [&all, i] { return child(all, i); }).ignore();
                }
            } catch (const std::bad_alloc&) {
            }
            co_await door.close();
        });
    }

    TEST_CASE("a call on every shard without memory ends after all that it called") {
        joins_without_memory([](children& all) {
            return on_all([&all, text = std::string(100, 'x')] {
                return child(all, static_cast<int>(text.size() % 7));
            });
        });
    }

    TEST_CASE("a sharded service without memory is on all shards or on none") {
        joins_without_memory([](children& all) -> future<> {
            sharded<service> services;
            std::exception_ptr failure;
            try {
                co_await services.start(&all.under_way);
                CHECK(all.sum() == 2);
            } catch (...) {
                failure = std::current_exception();
            }
            while (services.started()) {
                try {
                    co_await services.stop();
                } catch (const std::bad_alloc&) {
                    failure = std::current_exception();
                }
            }
            if (failure) {
                std::rethrow_exception(failure);
            }
        });
    }

    TEST_CASE("a stream without memory closes when no read ahead is under way") {
        joins_without_memory([](children&) -> future<> {
            io::file from = co_await io::file::open(
                "/data", {.mode = io::op::access::read_write, .create = true});
            std::exception_ptr failure;
            try {
                const std::string text(100'000, 'x');
                co_await from.write(0, std::as_bytes(std::span(text)));
                io::input_stream bytes(from, 0, {.buffer_bytes = 4096, .depth = 4});
                try {
                    (co_await bytes.read()).size();
                } catch (...) {
                    failure = std::current_exception();
                }
                co_await bytes.close();
            } catch (...) {
                failure = std::current_exception();
            }
            co_await from.close();
            if (failure) {
                std::rethrow_exception(failure);
            }
        });
    }
}
