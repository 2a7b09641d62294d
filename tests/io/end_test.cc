// SPDX-License-Identifier: Apache-2.0
// Ends at every moment of a process: signals, failures and limits of the system give a line and a
// status, never a crash. Each case runs in a process of its own.
#include <atomic>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <tests/support/child.hh>
#include <unistd.h>

#include <weir/core/call.hh>
#include <weir/core/closing.hh>
#include <weir/core/error.hh>
#include <weir/core/sharded.hh>
#include <weir/core/sleep.hh>
#include <weir/io/run.hh>
#include <weir/net/server.hh>

namespace weir::io {

namespace {

using namespace std::chrono_literals;

#if __has_feature(undefined_behavior_sanitizer)
constexpr bool looks_by_pipe = true;
#else
constexpr bool looks_by_pipe = false;
#endif

run_options with_shards(unsigned count) {
    run_options options;
    options.placement.shards = count;
    options.placement.allow_overcommit = true;
    return options;
}

// What the applications' main() makes of a start that fails.
int run_or_say(const run_options& options, const application& program) {
    try {
        return run(options, program);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "failed to start: %s\n", e.what());
        return 3;
    }
}

void lower(int resource, rlim_t most) {
    const rlimit limit{most, most};
    REQUIRE(setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0);
}

/// Runs in the pool after the program has ended, for as long as the host is being taken down, and
/// asks for a stop then.
struct late_signal final : blocking_work {
    void run() noexcept override {
        while (!ended.load()) {
            std::this_thread::sleep_for(1ms);
        }
        std::this_thread::sleep_for(50ms);
        kill(getpid(), SIGTERM);
        std::this_thread::sleep_for(50ms);
    }
    void complete() noexcept override {}
    std::atomic<bool> ended = false;
};

}  // namespace

TEST_SUITE("io/end") {
    TEST_CASE("a signal while the host is taken down is heard, and the program's end holds") {
        const auto end = test::in_child([] {
            late_signal late;
            auto options = with_shards(2);
            options.drain_patience = 1ms;
            return run_or_say(options, [&late](host&) -> future<> {
                co_await on(1, [&late] { this_shard().outside().run_blocking(late); });
                late.ended.store(true);
            });
        });
        CAPTURE(end.said);
        CHECK(end.exit_status == 0);
        CHECK(end.says("asked to stop"));
        CHECK(end.says("signal=SIGTERM"));
    }

    TEST_CASE("a signal at any moment of start, run and end leads to a status") {
        for (int moment = 0; moment < 40; ++moment) {
            const auto end = test::in_child([moment] {
                // Blocked until run() takes it over: before that it would be the default's.
                sigset_t set;
                sigemptyset(&set);
                sigaddset(&set, SIGTERM);
                pthread_sigmask(SIG_BLOCK, &set, nullptr);
                std::thread sender([moment] {
                    std::this_thread::sleep_for(std::chrono::microseconds(moment * 500));
                    kill(getpid(), SIGTERM);
                });
                const int status = run_or_say(with_shards(2), [](host& own) -> future<> {
                    co_await sleep_for(2ms);
                    if (!own.stop_requested()) {
                        co_await sleep_for(1ms);
                    }
                });
                sender.join();
                return status;
            });
            INFO("after ", moment * 500, " us: ", end.said);
            CHECK(end.exit_status == 0);
        }
    }

    TEST_CASE("a second signal ends the process by it, also while it is taken down") {
        const auto end = test::in_child([] {
            return run_or_say(with_shards(2), [](host& own) -> future<> {
                kill(getpid(), SIGTERM);
                co_await own.until_stop();
                kill(getpid(), SIGTERM);
                co_await sleep_for(1h);
            });
        });
        CHECK(end.signal == SIGTERM);
        CHECK(end.says("asked again to stop"));
    }

    TEST_CASE("a program that throws what is no std::exception is logged and answers 1") {
        for (const bool later : {false, true}) {
            const auto end = test::in_child([later] {
                return run_or_say(with_shards(2), [later](host&) -> future<> {
                    if (later) {
                        co_await yield();
                    }
                    throw 7;
                });
            });
            CHECK(end.exit_status == 1);
            CHECK(end.says("msg=\"the program failed\" cause=\"a thrown int\""));
        }
        const auto plain = test::in_child(
            [] { return run_or_say(with_shards(1), [](host&) -> future<> { throw "reeds"; }); });
        CHECK(plain.exit_status == 1);
        CHECK(plain.says("cause=reeds"));
    }

    TEST_CASE("what goes without being ended says what it is, and how that is done") {
        struct mill {
            future<> stop() { return make_ready_future(); }
        };
        const auto left = test::in_child([] {
            return run_or_say(with_shards(2), [](host&) -> future<> {
                sharded<mill> mills;
                co_await mills.start();
                throw std::runtime_error("drought");
            });
        });
        CAPTURE(left.said);
        CHECK(left.signal == SIGABRT);
        CHECK(left.says("shard 0: a sharded "));
        CHECK(left.says("mill was destroyed before its stop() had ended, as an exception passed"));
        CHECK(left.says("with_closing(x, fn)"));
        const auto ended = test::in_child([] {
            return run_or_say(with_shards(2), [](host&) -> future<> {
                sharded<mill> mills;
                co_await with_closing(mills, [](sharded<mill>& own) -> future<> {
                    co_await own.start();
                    throw std::runtime_error("drought");
                });
            });
        });
        CHECK(ended.exit_status == 1);
        CHECK(ended.says("cause=drought"));
    }

    TEST_CASE("a server that goes without stop() says where it served") {
        const auto end = test::in_child([] {
            return run_or_say(with_shards(1), [](host&) -> future<> {
                const auto any = net::address::parse("127.0.0.1:0");
                const auto made = co_await net::server::start(
                    any, {}, [](net::connection&) { return make_ready_future(); });
                throw std::runtime_error("drought");
            });
        });
        CAPTURE(end.said);
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("shard 0: a server at 127.0.0.1:"));
    }

    // UBSan looks by way of a pipe whether there is an object; where none can be had it says no.
    TEST_CASE("no descriptor left at the start is said with its remedy" *
              doctest::skip(looks_by_pipe)) {
        for (const rlim_t most : {3, 4, 5, 6, 7, 8, 10}) {
            const auto end = test::in_child([most] {
                lower(RLIMIT_NOFILE, most);
                return run_or_say(with_shards(2), [](host&) { return make_ready_future(); });
            });
            INFO(most, " descriptors: ", end.said);
            CHECK((end.exit_status == 3 || end.exit_status == 0));
            CHECK((end.exit_status == 0 || end.says("raise ulimit -n")));
        }
    }

    TEST_CASE("a thread that can't be made fails the start, with the remedy") {
        for (const rlim_t more : {0, 1, 2, 3, 4}) {
            const auto end = test::in_child([more] {
                // The limit does not hold for root: be somebody else.
                if (::getuid() == 0 && ::setuid(61'000 + static_cast<uid_t>(more)) != 0) {
                    return 0;
                }
                lower(RLIMIT_NPROC, 1 + more);
                return run_or_say(with_shards(4), [](host&) { return make_ready_future(); });
            });
            INFO(more, " threads more: ", end.said);
            CHECK((end.exit_status == 3 || end.exit_status == 0));
            CHECK((end.exit_status == 0 || end.says("raise ulimit")));
        }
    }
}

}  // namespace weir::io
