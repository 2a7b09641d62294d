// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <tests/support/bare_host.hh>
#include <unistd.h>

#include <weir/core/fiber.hh>
#include <weir/core/sleep.hh>

using namespace weir;
using namespace std::chrono_literals;

namespace {

// Needs more stack with every level; reads what it wrote, so that nothing is left out.
int dig(int depth) {
    volatile char level[512] = {};
    level[0] = static_cast<char>(depth);
    return depth == 0 ? 0 : dig(depth - 1) + (level[0] == static_cast<char>(depth) ? 1 : 0);
}

}  // namespace

TEST_SUITE("core/fiber") {
    TEST_CASE("get waits in a fiber, while the shard goes on") {
        test::bare_shard shard;
        CHECK_FALSE(in_fiber());
        promise<int> source;
        auto result = async([&source] {
            CHECK(in_fiber());
            return source.get_future().get() + 1;
        });
        shard.settle();
        CHECK_FALSE(result.available());
        source.set_value(41);
        CHECK(shard.wait(std::move(result)) == 42);
    }

    TEST_CASE("a fiber's value, failure, future and callable end as those of then") {
        test::bare_shard shard;
        auto owned = std::make_unique<int>(3);
        CHECK(shard.wait(async([owned = std::move(owned)] { return *owned; })) == 3);
        CHECK_THROWS_WITH(shard.wait(async([] { throw std::runtime_error("rock"); })), "rock");
        CHECK(shard.wait(async([]() -> future<int> {
            co_await yield();
            co_return 4;
        })) == 4);
        CHECK_THROWS_WITH(shard.wait(async([] {
            return make_failed_future<int>(std::runtime_error("late")).get();
        })),
                          "late");
    }

    TEST_CASE("fibers take turns with each other and with coroutines") {
        test::bare_shard shard;
        std::vector<int> order;
        auto walk = [&order](int name) {
            for (int step = 0; step < 2; ++step) {
                order.push_back(name);
                yield_fiber();
            }
        };
        auto one = async([&walk] { walk(1); });
        auto two = async([&walk] { walk(2); });
        shard.wait(std::move(one));
        shard.wait(std::move(two));
        CHECK(order == std::vector<int>{1, 2, 1, 2});
        CHECK(shard.wait(async([] {
            auto inner = async([] {
                sleep_for(1ms).get();
                return 5;
            });
            return inner.get();
        })) == 5);
    }

    TEST_CASE("two fibers that wait inside catch rethrow their own exceptions") {
        test::bare_shard shard;
        auto rethrowing = [](const std::string& name, future<> gate) {
            try {
                try {
                    throw std::runtime_error(name);
                } catch (...) {
                    CHECK(std::uncaught_exceptions() == 0);
                    gate.get();
                    CHECK(std::current_exception() != nullptr);
                    throw;
                }
            } catch (const std::runtime_error& e) {
                return std::string(e.what());
            }
        };
        promise<> first;
        promise<> second;
        auto one = async([&, gate = first.get_future()]() mutable {
            return rethrowing("one", std::move(gate));
        });
        auto two = async([&, gate = second.get_future()]() mutable {
            return rethrowing("two", std::move(gate));
        });
        shard.settle();
        CHECK(std::current_exception() == nullptr);
        first.set_value();  // the first to enter its handler is the first to leave it
        CHECK(shard.wait(std::move(one)) == "one");
        second.set_value();
        CHECK(shard.wait(std::move(two)) == "two");
    }

    TEST_CASE("a fiber may wait while an exception unwinds it") {
        test::bare_shard shard;
        struct waits {
            future<> gate;
            int& seen;
            ~waits() {
                seen = std::uncaught_exceptions();
                gate.get();
            }
        };
        promise<> gate;
        int seen = 0;
        auto unwound = async([&] {
            const waits guard{gate.get_future(), seen};
            throw std::runtime_error("swept away");
        });
        shard.settle();
        CHECK(seen == 1);
        CHECK(std::uncaught_exceptions() == 0);
        gate.set_value();
        CHECK_THROWS_WITH(shard.wait(std::move(unwound)), "swept away");
    }

    TEST_CASE("a fiber that waits inside a ready then leaves the count of inline runs as it was") {
        test::bare_shard shard;
        promise<> gate;
        auto inside = async([&gate] {
            make_ready_future().then([&gate] { gate.get_future().get(); }).get();
            bool at_once = false;
            auto next = make_ready_future().then([&at_once] { at_once = true; });
            CHECK(at_once);
            next.get();
        });
        shard.settle();
        gate.set_value();
        shard.wait(std::move(inside));
    }

    TEST_CASE("a fiber runs in the group of who started it") {
        test::bare_shard shard;
        this_shard().scheduler().define({1}, "digging", 100);
        this_shard().set_context({{1}, 0});
        auto group = async([] {
            yield_fiber();
            return this_shard().context().group.index;
        });
        this_shard().set_context({});
        CHECK(shard.wait(std::move(group)) == 1);
    }

    TEST_CASE("stacks are used again, and their high water is known") {
        test::bare_shard shard;
        fiber_pool& fibers = this_shard().fibers();
        for (int i = 0; i < 100; ++i) {
            shard.wait(async([] { yield_fiber(); }));
        }
        CHECK(fibers.counters().started == 100);
        CHECK(fibers.counters().live == 0);
        CHECK(fibers.counters().stacks == 1);
        const std::size_t shallow = fibers.stack_high_water();
        CHECK(shallow > 0);
        CHECK(shard.wait(async([] { return dig(100); })) == 100);
        CHECK(fibers.stack_high_water() >= shallow + 40 * 1024);
    }

    TEST_CASE("fibers above the limit are refused, stacks above it are given back") {
        host_options options;
        options.shard.fibers = 3;
        options.shard.fiber_stacks_kept = 1;
        test::bare_poller outside;
        host owner(options);
        shard& only = owner.add_shard(0, outside);
        owner.connect();
        const shard_scope scope(&only);
        const auto wait = [] { yield_fiber(); };
        auto one = async(wait);
        auto two = async(wait);
        auto three = async(wait);
        CHECK_THROWS_AS(async(wait).take(), error);
        CHECK(only.fibers().counters().refused == 1);
        CHECK(only.fibers().counters().stacks == 3);
        while (only.turn() <= outside.time) {
        }
        CHECK(one.available());
        CHECK(two.available());
        CHECK(three.available());
        CHECK(only.fibers().counters().stacks == 1);
        CHECK(only.fibers().stack_high_water() > 0);
    }

    TEST_CASE("a stack that overflows meets its guard page") {
        const pid_t child = fork();
        if (child == 0) {
            std::signal(SIGSEGV, SIG_DFL);
            freopen("/dev/null", "w", stderr);
            test::bare_shard shard;
            auto endless = async([] { return dig(1 << 20); });
            shard.settle();
            _exit(0);
        }
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }

    TEST_CASE("hundreds of fibers with a hundred waits each add up") {
        test::bare_shard shard;
        long sum = 0;
        std::vector<future<>> all;
        for (int i = 0; i < 500; ++i) {
            all.push_back(async([&sum] {
                for (int step = 0; step < 100; ++step) {
                    yield_fiber();
                    ++sum;
                }
            }));
        }
        for (auto& each : all) {
            shard.wait(std::move(each));
        }
        CHECK(sum == 50000);
    }
}
