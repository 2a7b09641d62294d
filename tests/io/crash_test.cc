// SPDX-License-Identifier: Apache-2.0
// What a process says when it crashes or stalls. Each case runs in a process of its own.
#include <csignal>
#include <cstring>
#include <string>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <tests/support/child.hh>
#include <unistd.h>

#include <weir/core/call.hh>
#include <weir/core/fiber.hh>
#include <weir/core/group.hh>
#include <weir/core/sleep.hh>
#include <weir/io/file.hh>
#include <weir/io/run.hh>

namespace weir::io {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool address_sanitizer = true;
#else
constexpr bool address_sanitizer = false;
#endif
#else
constexpr bool address_sanitizer = false;
#endif

run_options two_shards() {
    run_options options;
    options.placement.shards = 2;
    options.placement.allow_overcommit = true;
    return options;
}

test::child_end run_in_child(const application& program) {
    return test::in_child([&program] { return run(two_shards(), program); });
}

[[gnu::noinline]] void touch_nothing() {
    *reinterpret_cast<volatile int*>(16) = 1;
}

// Each call keeps a page on the stack.
[[gnu::noinline]] int overflow_the_stack(int depth) {
    volatile char page[4096];
    std::memset(const_cast<char*>(page), depth, sizeof page);
    return depth < 0 ? 0 : overflow_the_stack(depth + 1) + page[depth % 100];
}

future<> crash_later() {
    co_await yield();
    touch_nothing();
}

void exit_with_7(int) {
    _exit(7);
}

void say_and_exit(int, siginfo_t*, void*) {
    (void)!::write(STDERR_FILENO, "the earlier handler\n", 20);
    _exit(8);
}

}  // namespace

TEST_SUITE("io/crash_report") {
    TEST_CASE("a crash names shard, group, task and the calls that led there, and is the end") {
        const auto end = run_in_child([](host& own) -> future<> {
            const auto batch = co_await own.create_group("batch", 100);
            co_await on(1, [batch] { return with_group(batch, crash_later); });
        });
        CHECK(end.signal == SIGSEGV);
        CHECK(end.says("weir: SIGSEGV at 0x10: shard 1, group batch\n"));
        CHECK(end.says("touch_nothing"));
        CHECK(end.says("weir: the task: "));
        CHECK(end.says("crash_later"));
    }

    TEST_CASE("the stack of a shard that overflows is told, on another stack") {
        const auto end = run_in_child([](host&) -> future<> {
            co_await yield();
            overflow_the_stack(0);
        });
        CHECK((end.signal == SIGSEGV || address_sanitizer));
        CHECK(end.says("shard 0, group main: the stack overflowed"));
        CHECK(end.says("overflow_the_stack"));
    }

    TEST_CASE("the stack of a fiber that overflows is told, as a fiber's") {
        const auto end = run_in_child(
            [](host&) { return async([] { return overflow_the_stack(0); }).then([](int) {}); });
        CHECK((end.signal == SIGSEGV || address_sanitizer));
        CHECK(end.says("shard 0, group main, in a fiber: the stack overflowed"));
        CHECK(end.says("overflow_the_stack"));
    }

    TEST_CASE("a signal that somebody sends is told and has its effect") {
        const auto end = run_in_child([](host&) -> future<> {
            ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGFPE);
            co_return;
        });
        CHECK((end.signal == SIGFPE || address_sanitizer));
        CHECK(end.says("weir: SIGFPE: shard 0"));
    }

    TEST_CASE("a handler that was there before is called behind the report") {
        const auto simple = test::in_child([] {
            std::signal(SIGSEGV, &exit_with_7);
            return run(two_shards(), [](host&) -> future<> { return crash_later(); });
        });
        CHECK(simple.exit_status == 7);
        CHECK(simple.says("weir: SIGSEGV"));
        const auto full = test::in_child([] {
            struct sigaction action{};
            action.sa_sigaction = &say_and_exit;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            sigaction(SIGSEGV, &action, nullptr);
            return run(two_shards(), [](host&) -> future<> { return crash_later(); });
        });
        CHECK(full.exit_status == 8);
        CHECK(full.says("weir: SIGSEGV"));
        CHECK(full.says("the earlier handler"));
    }

    TEST_CASE("handlers are as they were when the program has ended") {
        const auto end = test::in_child([] {
            std::signal(SIGBUS, &exit_with_7);
            for (int i = 0; i < 2; ++i) {
                if (run(two_shards(), [](host&) { return make_ready_future(); }) != 0) {
                    return 1;
                }
            }
            std::raise(SIGBUS);
            return 2;
        });
        CHECK(end.exit_status == 7);
        CHECK_FALSE(end.says("SIGBUS"));
    }

    TEST_CASE("who wants no reports has none") {
        const auto end = test::in_child([] {
            auto options = two_shards();
            options.report_crashes = false;
            return run(options, [](host&) -> future<> { return crash_later(); });
        });
        CHECK((end.signal == SIGSEGV || address_sanitizer));
        CHECK_FALSE(end.says("weir: SIGSEGV"));
    }
}

TEST_SUITE("io/wrong_shard") {
    TEST_CASE("a file that is used on another shard names both, and itself") {
        const auto end = run_in_child([](host&) -> future<> {
            file own = co_await file::open("/dev/null", {});
            co_await on(1, [&own] { return own.size().then([](std::uint64_t) {}); });
        });
        CHECK((end.signal == SIGABRT || address_sanitizer));
        CHECK(end.says("shard 1: the file /dev/null of shard 0 was used here"));
        const auto closed = run_in_child([](host&) -> future<> {
            file own = co_await file::open("/dev/null", {});
            co_await on(1, [&own] { return own.close(); });
        });
        CHECK(closed.says("shard 1: the file /dev/null of shard 0 was used here"));
    }
}

TEST_SUITE("io/turn_watch") {
    TEST_CASE("a turn that sleeps in the kernel is told while it does, with its system call") {
        capturing_log_sink log;
        auto options = two_shards();
        options.host.log = &log;
        const auto told = [&log](std::string_view text) {
            for (const std::string& line : log.lines()) {
                if (line.find(text) != std::string::npos) {
                    return line;
                }
            }
            return std::string();
        };
        const auto sleep_until_told = [&told] {
            // It ends because it was told of, however busy the machine is.
            while (told("a turn waits in the kernel").empty()) {
                ::usleep(200'000);
            }
        };
        CHECK(run(options, [&](host& own) -> future<> {
                  const auto batch = co_await own.create_group("batch", 100);
                  co_await on(1, [&] {
                      return with_group(batch, [&]() -> future<> {
                          co_await yield();
                          sleep_until_told();
                      });
                  });
              }) == 0);
        const std::string line = told("a turn waits in the kernel");
        CAPTURE(line);
        CHECK(line.find("shard=1") != std::string::npos);
        CHECK(line.find("group=batch") != std::string::npos);
        CHECK(line.find("system_call=clock_nanosleep") != std::string::npos);
        CHECK(line.find("task=") != std::string::npos);
        CHECK(line.find("DOCTEST_ANON_FUNC") != std::string::npos);
        const std::string ended = told("the turn that waited in the kernel has ended");
        CHECK(ended.find("shard=1") != std::string::npos);
    }

    TEST_CASE("a shard that sleeps between its turns is not told of") {
        capturing_log_sink log;
        auto options = two_shards();
        options.host.log = &log;
        options.stall.wait_threshold = std::chrono::milliseconds(2);
        CHECK(run(options, [](host&) { return sleep_for(std::chrono::milliseconds(50)); }) == 0);
        for (const std::string& line : log.lines()) {
            CHECK(line.find("waits in the kernel") == std::string::npos);
        }
    }
}

}  // namespace weir::io
