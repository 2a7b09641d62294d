// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <csignal>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/io/run.hh>
#include <weir/io/submit.hh>
#include <weir/io/system_clock.hh>

namespace weir::io {

namespace {

run_options two_shards(capturing_log_sink& log) {
    run_options options;
    options.placement.shards = 2;
    options.placement.allow_overcommit = true;
    options.host.log = &log;
    return options;
}

bool has_line(const capturing_log_sink& log, std::string_view text) {
    for (const auto& line : log.lines()) {
        if (line.find(text) != std::string::npos) {
            return true;
        }
    }
    return false;
}

}  // namespace

TEST_SUITE("io/run") {
    TEST_CASE("a program runs on every shard, does I/O there, and ends") {
        capturing_log_sink log;
        unsigned sum = 0;
        const int status = run(two_shards(log), [&sum](host& own) -> future<> {
            for (shard_id id = 0; id < own.shard_count(); ++id) {
                sum += co_await on(id, [] {
                    return submit(op::nop{}).then(
                        [](std::int32_t) { return this_shard().id() + 10; });
                });
            }
        });
        CHECK(status == 0);
        CHECK(sum == 21);
        CHECK(has_line(log, "shard runs"));
    }

    TEST_CASE("a counted clock keeps to the kernel's and never goes back") {
        counted_clock clock(cycle_counter::calibrate());
        constexpr auto slack = std::chrono::microseconds(50);
        instant last{};
        for (int i = 0; i < 100'000; ++i) {
            const instant before = monotonic_now();
            const instant counted = clock.now();
            const instant after = monotonic_now();
            REQUIRE(counted >= last);
            REQUIRE(counted >= before - slack);
            REQUIRE(counted <= after + slack);
            last = counted;
        }
    }

    TEST_CASE("a shard that doesn't spin submits and waits with one system call") {
        constexpr int rounds = 100;
        capturing_log_sink log;
        run_options options = two_shards(log);
        options.placement.shards = 1;
        options.host.shard.spin_max = {};
        std::uint64_t entered = 0;
        const int status = run(options, [&entered](host&) -> future<> {
            const auto& counted = static_cast<uring&>(this_backend()).statistics();
            const int fd = co_await submit(op::open{.path = ".", .directory = true});
            REQUIRE(fd >= 0);
            const std::uint64_t before = counted.enters;
            for (int i = 0; i < rounds; ++i) {
                // Never done at once: a thread of the kernel does it.
                CHECK(co_await submit(op::sync{fd, true}) == 0);
            }
            entered = counted.enters - before;
            co_await submit(op::close{fd});
        });
        CHECK(status == 0);
        // A signal may have ended a wait.
        CHECK(entered >= rounds);
        CHECK(entered < rounds + rounds / 2);
    }

    TEST_CASE("what shards keep by default fits the memory, and what was chosen stays") {
        const run_options defaults;
        for (const unsigned shards : {1U, 2U, 16U, 128U}) {
            for (std::uint64_t memory = 16 << 20; memory <= std::uint64_t{1} << 38; memory *= 2) {
                CAPTURE(shards);
                CAPTURE(memory);
                run_options fitted;
                fit_to_memory(fitted, memory, shards);
                const shard_options& each = fitted.host.shard;
                CHECK(std::has_single_bit(fitted.uring.receive_buffers));
                CHECK(fitted.host.memory_bytes == memory);
                const std::uint64_t kept =
                    each.pool_cache_bytes * 32 + each.fiber_stacks_kept * each.fiber_stack_bytes +
                    fitted.uring.receive_buffers * fitted.uring.receive_buffer_bytes;
                if (memory / shards >= 16 << 20) {
                    CHECK(kept * shards <= memory / 4);
                }
                CHECK((fitted.host.mesh.capacity() * 128 * shards * (shards - 1) <= memory / 8 ||
                       fitted.host.mesh.call_credits == fitted.host.mesh.call_credits_least));
                if (memory / shards >= std::uint64_t{1} << 30) {
                    CHECK(each.pool_cache_bytes == defaults.host.shard.pool_cache_bytes);
                    CHECK(each.fibers == defaults.host.shard.fibers);
                    CHECK(each.fiber_stacks_kept == defaults.host.shard.fiber_stacks_kept);
                    CHECK(fitted.uring.receive_buffers == defaults.uring.receive_buffers);
                    CHECK(fitted.host.mesh.call_credits == defaults.host.mesh.call_credits);
                }
            }
        }
        run_options chosen;
        chosen.host.shard.pool_cache_bytes = 1 << 20;
        chosen.uring.receive_buffers = 1024;
        fit_to_memory(chosen, 64 << 20, 2);
        CHECK(chosen.host.shard.pool_cache_bytes == 1 << 20);
        CHECK(chosen.uring.receive_buffers == 1024);
        CHECK(chosen.host.shard.fiber_stacks_kept < defaults.host.shard.fiber_stacks_kept);
    }

    TEST_CASE("a program that fails is logged and answers 1") {
        capturing_log_sink log;
        CHECK(run(two_shards(log), [](host&) -> future<> {
                  co_await submit(op::nop{});
                  throw error("read", "the tea leaves", errc::corrupt);
              }) == 1);
        CHECK(has_line(log, "read the tea leaves"));
    }

    TEST_CASE("SIGTERM asks for a stop, even before the program waits for it") {
        for (int round = 0; round < 3; ++round) {
            capturing_log_sink log;
            CHECK(run(two_shards(log), [](host& own) -> future<> {
                      kill(getpid(), SIGTERM);
                      co_await own.until_stop();
                  }) == 0);
        }
    }

    TEST_CASE("operations that the program leaves behind are cancelled and complete") {
        capturing_log_sink log;
        std::vector<std::int32_t> results;
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        char byte;
        const int status = run(two_shards(log), [&](host&) -> future<> {
            for (int i = 0; i < 2; ++i) {
                (void)submit(op::receive_into{ends[i], &byte, 1})
                    .then([&results](std::int32_t result) { results.push_back(result); });
            }
            co_return;
        });
        CHECK(status == 0);
        CHECK(results == std::vector<std::int32_t>{-ECANCELED, -ECANCELED});
        ::close(ends[0]);
        ::close(ends[1]);
    }

    TEST_CASE("a turn that takes too long is reported with its backtrace, a short one is not") {
        capturing_log_sink log;
        auto options = two_shards(log);
        options.stall.interval = std::chrono::milliseconds(1);
        SUBCASE("one that burns many times the threshold") {
            options.stall.threshold = std::chrono::milliseconds(5);
            CHECK(run(options, [](host&) -> future<> {
                      co_await yield();
                      const auto start = thread_cpu_time();
                      // No yield here: beside a busy thread, this one would sleep at each tick
                      // of the clock and no tick would find it.
                      while (thread_cpu_time() - start < std::chrono::milliseconds(80)) {
                      }
                  }) == 0);
            CHECK(has_line(log, "a turn took too long"));
            CHECK(has_line(log, "backtrace="));
        }
        SUBCASE("many short ones") {
            options.stall.threshold = std::chrono::seconds(2);
            CHECK(run(options, [](host&) -> future<> {
                      const auto start = thread_cpu_time();
                      while (thread_cpu_time() - start < std::chrono::milliseconds(20)) {
                          co_await yield();
                      }
                  }) == 0);
            CHECK(!has_line(log, "a turn took too long"));
        }
    }

    TEST_CASE("a shard that can't be set up fails the start and says why") {
        capturing_log_sink log;
        auto options = two_shards(log);
        options.uring.entries = 1 << 30;
        CHECK_THROWS_AS(run(options, [](host&) { return make_ready_future(); }), error);
        CHECK(log.lines().empty());
    }
}

}  // namespace weir::io
