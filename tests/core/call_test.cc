// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>
#include <unistd.h>

#include <weir/core/call.hh>

using namespace weir;

namespace {

// ThreadSanitizer keeps a few bytes for each byte that was touched, and they are resident.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEIR_SHADOW_MEMORY 1
#endif
#endif
#ifdef WEIR_SHADOW_MEMORY
constexpr bool counts_shadow_memory = true;
#else
constexpr bool counts_shadow_memory = false;
#endif

}  // namespace

TEST_SUITE("core/call") {
    TEST_CASE("a call runs on the other shard and brings its result back") {
        test::run_threads(2, []() -> future<> {
            CHECK(co_await on(1, [] { return this_shard().id(); }) == 1);
            CHECK(this_shard().id() == 0);
            const std::string big(1000, 'w');
            CHECK(co_await on(1, [big] { return big + "eir"; }) == big + "eir");
            const auto array = co_await on(1, [] { return std::array<long, 6>{1, 2, 3, 4, 5, 6}; });
            CHECK(array[5] == 6);
            co_await on(1, [] {});
        });
    }

    TEST_CASE("a call may wait there, and its callable lives until the end") {
        test::run_threads(2, []() -> future<> {
            auto owned = std::make_unique<int>(9);
            const int seen = co_await on(1, [owned = std::move(owned)]() -> future<int> {
                for (int i = 0; i < 10; ++i) {
                    co_await yield();
                }
                co_return *owned;
            });
            CHECK(seen == 9);
            int small = 3;
            CHECK(co_await on(1, [small]() -> future<int> {
                      co_await yield();
                      co_return small;
                  }) == 3);
        });
    }

    TEST_CASE("a failure comes back as the caller's failure") {
        test::run_threads(2, []() -> future<> {
            try {
                co_await on(1, []() -> int { throw std::runtime_error("rapids"); });
                FAIL("the call must fail");
            } catch (const std::runtime_error& e) {
                CHECK(std::string(e.what()) == "rapids");
            }
        });
    }

    TEST_CASE("thousands of calls at once wait for credits and all come back in order") {
        test::run_threads(3, []() -> future<> {
            std::vector<future<unsigned>> calls;
            for (unsigned i = 0; i < 5000; ++i) {
                calls.push_back(on(1 + i % 2, [i] { return i; }));
            }
            for (unsigned i = 0; i < calls.size(); ++i) {
                CHECK(co_await std::move(calls[i]) == i);
            }
        });
    }

    TEST_CASE("shards that call each other from within calls do not lock each other") {
        test::run_threads(
            2,
            []() -> future<> {
                std::vector<future<unsigned>> calls;
                for (unsigned i = 0; i < 1000; ++i) {
                    calls.push_back(on(1, [i]() -> future<unsigned> {
                        return on(0,
                                  [i]() -> future<unsigned> { return on(1, [i] { return i; }); });
                    }));
                }
                for (unsigned i = 0; i < calls.size(); ++i) {
                    CHECK(co_await std::move(calls[i]) == i);
                }
            },
            mesh_options{.call_credits = 8});
    }

    TEST_CASE("a call nested too deep fails as overloaded") {
        struct tower {
            static future<unsigned> climb(unsigned floor) {
                const shard_id other = 1 - this_shard().id();
                return on(other, [floor] { return climb(floor + 1); });
            }
        };
        test::run_threads(2, []() -> future<> {
            try {
                co_await tower::climb(0);
                FAIL("the tower must end");
            } catch (const weir::error& e) {
                CHECK(e.is(errc::overloaded));
            }
        });
    }

    TEST_CASE("an answer doesn't wait for the tasks of the shard that gives it") {
        host_options options;
        options.shards = 2;
        host owner(options);
        test::bare_poller outside[2];
        for (shard_id id = 0; id < 2; ++id) {
            owner.add_shard(id, outside[id]);
        }
        owner.connect();
        bool answered = false;
        future<> call, task;
        {
            const shard_scope scope(&owner.at(0));
            call = on(1, [] {});
            owner.at(0).turn();
        }
        {
            const shard_scope scope(&owner.at(1));
            task = [](host& own, bool& seen) -> future<> {
                co_await yield();
                seen = own.at(0).bell().rung();
            }(owner, answered);
            owner.at(1).turn();
            task.take();
        }
        CHECK(answered);
        {
            const shard_scope scope(&owner.at(0));
            owner.at(0).turn();
            call.take();
        }
        owner.disconnect();
        for (shard_id id = 0; id < 2; ++id) {
            const shard_scope scope(&owner.at(id));
            owner.remove_shard(id);
        }
    }

    TEST_CASE("a hundred and twenty-eight idle shards take little memory") {
        const auto resident_bytes = [] {
            std::ifstream file("/proc/self/statm");
            long total = 0, resident = 0;
            file >> total >> resident;
            return resident * ::sysconf(_SC_PAGESIZE);
        };
        host_options options;
        options.shards = 128;
        const long before = resident_bytes();
        host owner(options);
        std::vector<test::bare_poller> outside(options.shards);
        for (shard_id id = 0; id < options.shards; ++id) {
            owner.add_shard(id, outside[id]);
        }
        owner.connect();
        if (!counts_shadow_memory) {
            CHECK(resident_bytes() - before < 16 << 20);
        }
        owner.disconnect();
        for (shard_id id = 0; id < options.shards; ++id) {
            const shard_scope scope(&owner.at(id));
            owner.remove_shard(id);
        }
    }
}
