// SPDX-License-Identifier: Apache-2.0
// What must come about when there is no memory, too: stops, completions, the order of calls. On the
// kernel as in production; only operator new is the simulator's, which lets allocations fail.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <io/uring_bed.hh>
#include <tests/support/bare_host.hh>
#include <tests/support/child.hh>

#include <weir/core/foreign.hh>
#include <weir/core/group.hh>
#include <weir/core/sharded.hh>
#include <weir/core/sleep.hh>
#include <weir/io/listening.hh>
#include <weir/io/run.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/submit.hh>
#include <weir/net/listener.hh>

using namespace weir;
using namespace std::chrono_literals;
namespace memory = weir::io::sim::memory;

namespace {

constexpr std::uint64_t all_of_them = std::numeric_limits<std::uint64_t>::max();

/// While it lives, allocations of this thread fail: `times` of them, after `first` more.
class scarcity {
  public:
    explicit scarcity(std::uint64_t first = 0, std::uint64_t times = all_of_them) noexcept {
        memory::fail(first, times, memory::scarce_for::all);
    }
    scarcity(const scarcity&) = delete;
    scarcity& operator=(const scarcity&) = delete;
    ~scarcity() { memory::stop_failing(); }
};

/// Two shards of one thread, turned by the test.
struct bare_pair {
    bare_pair() {
        for (shard_id id = 0; id < 2; ++id) {
            own.add_shard(id, outside[id]);
        }
        own.connect();
    }
    void turn(shard_id id) {
        const shard_scope scope(&own.at(id));
        own.at(id).turn();
    }
    template <typename T>
    void turn_until(const future<T>& awaited) {
        for (int turns = 0; !awaited.available(); ++turns) {
            REQUIRE(turns < 1000);
            turn(0);
            turn(1);
        }
    }

    static host_options two() {
        host_options options;
        options.shards = 2;
        options.shard.spin_max = {};
        return options;
    }
    test::bare_poller outside[2];
    host own{two()};
};

future<> yield_once() {
    co_await yield();
}

/// Keeps its last completion.
struct heard final : io::operation {
    using operation::operation;
    void complete(const io::completion& outcome) noexcept override {
        result = outcome.result;
        ended = true;
    }
    std::int32_t result = 0;
    bool ended = false;
};

io::run_options two_shards() {
    io::run_options options;
    options.placement.shards = 2;
    options.placement.allow_overcommit = true;
    return options;
}

// What the applications' main() makes of a start that fails.
int run_or_say(const io::run_options& options, const io::application& program) {
    try {
        return io::run(options, program);
    } catch (const std::exception& e) {
        memory::stop_failing();
        std::fprintf(stderr, "failed to start: %s\n", e.what());
        return 3;
    }
}

}  // namespace

TEST_SUITE("sim/scarcity") {
    TEST_CASE("a stop that is asked for without memory is heard") {
        test::bare_shard only;
        future<> stopped = this_host().until_stop();
        {
            const scarcity nothing;
            this_host().request_stop();
            only.settle();
        }
        CHECK(stopped.available());
    }

    TEST_CASE("a call from outside needs no memory on its shard") {
        test::bare_shard only;
        promise<> waited;
        auto called = call_from_outside(
            this_host(), 0, [wait = waited.get_future()]() mutable { return std::move(wait); });
        {
            const scarcity nothing;
            only.settle();
            waited.set_value();
            only.settle();
        }
        called.get();
    }

    TEST_CASE("calls of a group that find no memory to stand in line keep their order") {
        bare_pair both;
        scheduling_group batch;
        {
            const shard_scope scope(&both.own.at(0));
            auto made = both.own.create_group("batch", 100);
            both.turn_until(made);
            batch = made.take();
        }
        std::vector<int> came;
        came.reserve(100);
        std::vector<future<>> calls;
        {
            // Busy with others: calls of the group have to wait for their turn.
            const shard_scope scope(&both.own.at(1));
            both.own.at(1).scheduler().charge_aside(batch, 1s);
        }
        {
            const shard_scope scope(&both.own.at(0));
            both.own.at(0).set_context({batch, 0, 0});
            for (int i = 0; i < 100; ++i) {
                calls.push_back(on(1, [&came, i] { came.push_back(i); }));
            }
            both.own.at(0).set_context({});
            both.own.at(0).turn();
        }
        for (int turns = 0; turns < 300; ++turns) {
            future<> others;
            {
                const shard_scope scope(&both.own.at(1));
                others = yield_once();
            }
            {
                const scarcity nothing(0, turns < 200 ? all_of_them : 0);
                both.turn(1);
            }
            both.turn(0);
            const shard_scope scope(&both.own.at(1));
            std::move(others).ignore();
        }
        CHECK(std::ranges::is_sorted(came));
        CHECK(came.size() == 100);
        CHECK(both.own.at(1).port().counters().calls_queued > 0);
        CHECK(both.own.at(1).port().counters().calls_received == 101);
        const shard_scope scope(&both.own.at(0));
        for (future<>& each : calls) {
            std::move(each).ignore();
        }
    }

    TEST_CASE("a group whose making failed for want of memory can be made") {
        for (std::uint64_t first = 0, struck = 1; struck != 0; ++first) {
            CAPTURE(first);
            bare_pair both;
            const shard_scope scope(&both.own.at(0));
            const std::string name = "a group with a name that needs memory";
            memory::fail(first, all_of_them, memory::scarce_for::all);
            future<scheduling_group> made;
            try {
                made = both.own.create_group(name, 100);
                for (int turns = 0; turns < 20; ++turns) {
                    both.turn(0);
                    both.turn(1);
                }
            } catch (const std::bad_alloc&) {
            }
            struck = memory::stop_failing();
            if (made.available() && !made.failed()) {
                made.take();
                CHECK_THROWS_AS(
                    [&] {
                        auto again = both.own.create_group(name, 100);
                        both.turn_until(again);
                        again.take();
                    }(),
                    error);
                continue;
            }
            std::move(made).ignore();
            auto again = both.own.create_group(name, 200);
            both.turn_until(again);
            const scheduling_group group = again.take();
            CHECK(both.own.at(0).scheduler().name(group) == name);
            CHECK(both.own.at(1).scheduler().name(group) == name);
            auto other = both.own.create_group("another", 200);
            both.turn_until(other);
            CHECK(other.take() != group);
        }
    }

    TEST_CASE("operations of the kernel complete without memory, with what they came to") {
        io::uring_bed bed;
        io::op::file_status status;
        std::vector<std::string> names;
        const std::string path = bed.directory();
        heard stat(io::op::stat{.path = path.c_str(), .status = &status});
        heard list(io::op::list_directory{path.c_str(), &names});
        bed.tested().start(stat);
        bed.tested().start(list);
        {
            const scarcity nothing;
            for (int turns = 0; !(stat.ended && list.ended) && turns < 100; ++turns) {
                bed.turn();
            }
        }
        CHECK(stat.result == 0);
        CHECK(status.is_directory);
        CHECK(list.result == 0);
        // What is started without memory says so.
        heard late(io::op::stat{.path = path.c_str(), .status = &status});
        heard listed(io::op::list_directory{path.c_str(), &names});
        {
            const scarcity nothing;
            bed.tested().start(late);
            bed.tested().start(listed);
            for (int turns = 0; !(late.ended && listed.ended) && turns < 100; ++turns) {
                bed.turn();
            }
        }
        CHECK(late.result == -ENOMEM);
        CHECK(listed.result == -ENOMEM);
    }

    TEST_CASE("a descriptor that nobody took is closed without memory") {
        const auto end = test::in_child([] {
            return run_or_say(two_shards(), [](host&) -> future<> {
                std::vector<int> all;
                for (int i = 0; i < 40; ++i) {
                    all.push_back(co_await io::submit(io::op::open{.path = "/dev/null"}));
                }
                {
                    const scarcity nothing;
                    std::ranges::for_each(all, io::discard);
                }
                while (std::ranges::any_of(all, [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; })) {
                    co_await yield();
                }
            });
        });
        CAPTURE(end.said);
        CHECK(end.exit_status == 0);
    }

    TEST_CASE("an address is free again, whichever allocation of a listen or close fails") {
        const auto end = test::in_child([] {
            return run_or_say(two_shards(), [](host&) -> future<> {
                const auto any = net::address::parse("127.0.0.1:0");
                auto other = co_await net::listener::listen(any);
                net::address where = other->where();
                co_await other->close();
                for (std::uint64_t first = 0, struck = 1; struck != 0; ++first) {
                    memory::fail(first, 3, memory::scarce_for::all);
                    std::unique_ptr<net::listener> made;
                    try {
                        made = co_await net::listener::listen(where);
                        co_await made->close();
                    } catch (const std::bad_alloc&) {
                    } catch (const error&) {
                    }
                    struck = memory::stop_failing();
                    made.reset();
                    // As another host sees it.
                    io::listening_addresses others;
                    int fd = -1;
                    for (int waits = 0; fd < 0 && waits < 100; ++waits) {
                        fd = others.listen({&where.raw(), where.raw_length()});
                        co_await sleep_for(1ms);
                    }
                    if (fd < 0) {
                        throw std::runtime_error("somebody listens, allocation " +
                                                 std::to_string(first));
                    }
                }
            });
        });
        CAPTURE(end.said);
        CHECK(end.exit_status == 0);
    }

    TEST_CASE("whichever allocation of a start fails, it ends well or with a failure") {
        int refused = 0;
        for (std::uint64_t first = 0; first < 400; first += 1 + first / 16) {
            for (const std::uint64_t times : {std::uint64_t{1}, all_of_them}) {
                const auto end = test::in_child([first, times] {
                    memory::fail(first, times, memory::scarce_for::all);
                    return run_or_say(two_shards(), [](host&) { return make_ready_future(); });
                });
                INFO("allocation ", first, " and ", times - 1, " more: ", end.said);
                CHECK((end.exit_status == 0 || end.exit_status == 3));
                refused += end.exit_status == 3;
            }
        }
        CHECK(refused > 10);
    }

    TEST_CASE("a program that fails without memory answers 1") {
        const auto end = test::in_child([] {
            return run_or_say(two_shards(), [](host&) -> future<> {
                co_await yield();
                memory::fail(0, 200, memory::scarce_for::all);
                throw std::bad_alloc();
            });
        });
        CAPTURE(end.said);
        CHECK(end.exit_status == 1);
    }
}
