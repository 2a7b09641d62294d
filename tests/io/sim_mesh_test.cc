// SPDX-License-Identifier: Apache-2.0
// Calls between shards where peers run in the middle of a turn, as cores do.
#include <algorithm>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/core/gate.hh>
#include <weir/core/group.hh>
#include <weir/core/scope.hh>
#include <weir/core/sharded.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/replay.hh>

namespace sim = weir::io::sim;
using weir::future;
using weir::shard_id;
using weir::this_shard;
using namespace std::chrono_literals;

namespace {

/// What each shard of a host does at once.
struct load {
    unsigned shards = 2;
    unsigned coroutines = 600;
    unsigned rounds = 4;  // calls that each coroutine makes, one after the other
    unsigned depth = 2;   // every second call is so deep, the others 1
    weir::mesh_options mesh{};
    bool words = false;  // handlers wait through scopes and gates
};

sim::shard_backend& outside() {
    return static_cast<sim::shard_backend&>(this_shard().outside());
}
/// The shard's clock now, in the middle of a turn.
weir::instant clock_now() {
    return outside().now();
}
/// What a task does that takes so long.
void compute(weir::duration time) {
    outside().spend(time);
}

/// Knows how late a timer was at worst.
class every_millisecond final : public weir::timer {
  public:
    weir::duration longest{};

  private:
    void fire() noexcept override {
        longest = std::max(longest, clock_now() - due());
        arm(clock_now() + 1ms);
    }
};

void in_one_shard(std::uint64_t seed, const sim::application& program) {
    sim::world world(seed);
    auto& host = world.add_host("a", 1);
    host.start(program);
    REQUIRE(world.run_until([&] { return host.exited(); }, 100s));
    CHECK(host.failure() == "");
}

future<> call_down(unsigned levels, bool words);

/// Waits for a call as a handler may: through a scope or a gate, too.
future<> call_through_words(unsigned levels) {
    switch (this_shard().random() % 3) {
        case 0:
            return weir::with_scope([levels](weir::scope& own) {
                own.spawn([levels] { return call_down(levels, true); });
            });
        case 1: {
            auto entered = std::make_unique<weir::gate>();
            weir::gate& gate = *entered;
            return weir::with_gate(gate, [levels] { return call_down(levels, true); })
                .finally([kept = std::move(entered)] {});
        }
        default:
            return call_down(levels, true);
    }
}

/// Calls another shard, whose handler calls another, and so on.
future<> call_down(unsigned levels, bool words) {
    const unsigned shards = weir::this_host().shard_count();
    const auto step = static_cast<shard_id>(1 + this_shard().random() % (shards - 1));
    return weir::on((this_shard().id() + step) % shards, [levels, words] {
        if (levels == 1) {
            return weir::make_ready_future();
        }
        return words ? call_through_words(levels - 1) : call_down(levels - 1, false);
    });
}

future<> call_repeatedly(unsigned rounds, unsigned levels, bool words) {
    for (unsigned i = 0; i < rounds; ++i) {
        co_await call_down(levels, words);
    }
}

future<> call_all_at_once(const load& what) {
    std::vector<future<>> callers;
    callers.reserve(what.coroutines);
    for (unsigned i = 0; i < what.coroutines; ++i) {
        callers.push_back(call_repeatedly(what.rounds, i % 2 == 0 ? what.depth : 1, what.words));
    }
    co_await weir::when_all_succeed(std::move(callers));
}

/// returns  what went wrong
std::string run(std::uint64_t seed, const load& what, unsigned held_up_one_in,
                const char* canary = nullptr) {
    sim::world_options options;
    options.schedule.held_up_one_in = held_up_one_in;
    options.faults[sim::fault::pause] = 10'000;  // then there are many answers at once
    sim::world world(seed, options);
    weir::host_options of_host;
    of_host.name = "a";
    of_host.shards = what.shards;
    of_host.mesh = what.mesh;
    if (canary != nullptr) {
        of_host.canaries.insert(canary);
    }
    auto& host = world.add_host(of_host);
    host.start(
        [&what](weir::host&) { return weir::on_all([&what] { return call_all_at_once(what); }); });
    if (!world.run_until([&] { return host.exited(); }, 100s)) {
        return "calls hang";
    }
    return host.failure();
}

/// Whether `what` aborts, in a process of its own.
bool aborts(const std::function<void()>& what) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::signal(SIGABRT, SIG_DFL);
        ::close(STDERR_FILENO);
        what();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace

TEST_SUITE("io/sim/mesh") {
    TEST_CASE("credits that come back before their slots are found within ten seeds") {
        // All credits fill a ring but for the slack.
        load what{.rounds = 20, .depth = 1, .mesh = {.call_credits = 264}};
        std::uint64_t found = 0;
        for (std::uint64_t seed = 1; seed <= 10 && found == 0; ++seed) {
            const bool aborted = aborts([&] { run(seed, what, 2, "hurried_credits"); });
            found = aborted ? seed : 0;
        }
        MESSAGE("hurried_credits: found with seed ", found);
        CHECK(found != 0);
    }

    TEST_CASE("a ring of calls is never full, whatever the credits and whenever peers run") {
        for (std::uint64_t seed = 1; seed <= 40; ++seed) {
            sim::random_stream random(seed, 0, nullptr);
            load what;
            what.shards = static_cast<unsigned>(random.between(2, 3));
            what.coroutines = static_cast<unsigned>(random.between(1, 10u << random.below(8)));
            what.rounds = 1 + 600 / what.coroutines;
            what.depth = static_cast<unsigned>(random.between(1, 4));
            what.mesh.call_credits = static_cast<unsigned>(random.between(1, 8)) * 8;
            what.mesh.call_credits <<= random.below(5);
            const auto held_up_one_in = static_cast<unsigned>(random.below(5));
            CAPTURE(seed);
            CAPTURE(what.coroutines);
            CAPTURE(what.mesh.call_credits);
            REQUIRE(run(seed, what, held_up_one_in) == "");
        }
    }

    TEST_CASE("ten thousand coroutines at once that call four deep come to an end") {
        load what{.shards = 3, .coroutines = 10'000, .rounds = 1, .depth = 4};
        CHECK(run(1, what, 4) == "");
        what.mesh.call_credits = 1024;
        CHECK(run(2, what, 4) == "");
        what.mesh.call_credits = 8;
        CHECK(run(3, what, 0) == "");
    }

    TEST_CASE("a shard that is woken in the middle of a turn doesn't sleep until its end") {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            sim::world world(seed);
            auto& host = world.add_host("a", 2);
            weir::duration waited{};
            host.start([&waited](weir::host&) -> future<> {
                co_await weir::sleep_for(10ms);  // the other shard sleeps
                const weir::instant asked = clock_now();
                weir::instant heard = weir::never;
                std::vector<future<>> calls;
                for (int i = 0; i < 40; ++i) {
                    calls.push_back(
                        weir::on(1, [&heard] { heard = std::min(heard, clock_now()); }));
                }
                compute(300ms);
                co_await weir::when_all_succeed(std::move(calls));
                waited = heard - asked;
            });
            REQUIRE(world.run_until([&] { return host.exited(); }, 10s));
            CHECK(host.failure() == "");
            CHECK(waited < 1ms);
        }
    }

    TEST_CASE("nobody waits longer than a quota and one task") {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            weir::duration longest{};
            in_one_shard(seed, [&longest](weir::host&) -> future<> {
                const weir::instant end = clock_now() + 200ms;
                // Some long tasks, then many short ones, again and again.
                auto busy = [](weir::instant until) -> future<> {
                    while (clock_now() < until) {
                        for (int i = 0; i < 5; ++i) {
                            compute(1ms);
                            co_await weir::yield();
                        }
                        for (int i = 0; i < 100; ++i) {
                            co_await weir::yield();
                        }
                    }
                }(end);
                every_millisecond late;
                late.arm(this_shard().now() + 1ms);
                co_await std::move(busy);
                longest = late.longest;
            });
            CHECK(longest > 0us);
            CHECK(longest < 500us + 1ms + 100us);
        }
    }

    TEST_CASE("a loop of long bodies that may yield does so after each") {
        int seen = 0;
        in_one_shard(1, [&seen](weir::host&) -> future<> {
            bool done = false;
            auto other = [](bool& done, int& seen) -> future<> {
                while (!done) {
                    ++seen;
                    co_await weir::yield();
                }
            }(done, seen);
            for (int i = 0; i < 20; ++i) {
                compute(1ms);
                co_await weir::maybe_yield();
            }
            done = true;
            co_await std::move(other);
        });
        CHECK(seen >= 15);  // ready tasks run in any order
    }

    TEST_CASE("a group with one share of a thousand gets its share of calls, and no more") {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            CAPTURE(seed);
            double batch = 0, important = 0;
            sim::world world(seed);
            auto& host = world.add_host("a", 2);
            host.start([&](weir::host& own) -> future<> {
                const auto few = co_await own.create_group("few", 1);
                const auto many = co_await own.create_group("many", 1000);
                const weir::instant end = clock_now() + 3s;
                co_await weir::on(1, [many, end] {
                    weir::with_group(many, [end]() -> future<> {
                        while (clock_now() < end) {
                            compute(50us);
                            co_await weir::yield();
                        }
                    }).ignore();
                });
                co_await weir::with_group(few, [end]() -> future<> {
                    std::vector<future<>> callers;
                    for (int i = 0; i < 100; ++i) {
                        callers.push_back([](weir::instant until) -> future<> {
                            while (clock_now() < until) {
                                co_await weir::on(1, [] { compute(50us); });
                            }
                        }(end));
                    }
                    co_await weir::when_all_succeed(std::move(callers));
                });
                co_await weir::on(1, [&, few, many] {
                    const auto& groups = this_shard().scheduler();
                    batch = std::chrono::duration<double>(groups.counters(few).runtime).count();
                    important =
                        std::chrono::duration<double>(groups.counters(many).runtime).count();
                });
            });
            REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
            CHECK(host.failure() == "");
            CHECK(batch > 0);
            CHECK(batch < 0.02 * important);
        }
    }

    TEST_CASE("calls of a group come in order though some run at once and others wait in line") {
        sim::world world(3);
        auto& host = world.add_host("a", 2);
        std::vector<int> order;
        host.start([&order](weir::host& own) -> future<> {
            const auto few = co_await own.create_group("few", 10);
            const weir::instant end = clock_now() + 50ms;
            co_await weir::on(1, [end] {
                [](weir::instant until) -> future<> {
                    while (clock_now() < until) {
                        compute(20us);
                        co_await weir::yield();
                    }
                }(end)
                                               .ignore();
            });
            co_await weir::with_group(few, [&order]() -> future<> {
                std::vector<future<>> calls;
                for (int i = 0; i < 100; ++i) {
                    calls.push_back(weir::on(1, [i, &order] {
                        const sim::memory::outside guard;
                        order.push_back(i);
                    }));
                    co_await weir::sleep_for(100us);
                }
                co_await weir::when_all_succeed(std::move(calls));
            });
        });
        REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
        CHECK(order.size() == 100);
        CHECK(std::is_sorted(order.begin(), order.end()));
    }

    TEST_CASE("no cycle of waits starves with one credit a level") {
        for (std::uint64_t seed = 1; seed <= 30; ++seed) {
            CAPTURE(seed);
            load what{.shards = 2 + static_cast<unsigned>(seed % 2),
                      .coroutines = 50,
                      .rounds = 3,
                      .depth = 4,
                      .mesh = {.call_credits = 1, .call_credits_least = 1}};
            SUBCASE("of calls") {}
            SUBCASE("of calls through scopes, gates and groups") {
                what.words = true;
            }
            REQUIRE(run(seed, what, 4) == "");
        }
    }

    TEST_CASE("what nobody waits for may call on for ever") {
        struct actor {
            static future<> act(int left, int& acted, weir::promise<>& done) {
                ++acted;
                if (left == 0) {
                    co_await weir::on(0, [&done] { done.set_value(); });
                    co_return;
                }
                const shard_id other = 1 - this_shard().id();
                co_await weir::on(other,
                                  [left, &acted, &done] { act(left - 1, acted, done).ignore(); });
            }
        };
        sim::world world(1);
        auto& host = world.add_host("a", 2);
        int acted = 0;
        host.start([&acted](weir::host&) -> future<> {
            weir::promise<> done;
            auto ended = done.get_future();
            co_await actor::act(20, acted, done);
            co_await std::move(ended);
        });
        REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
        CHECK(host.failure() == "");
        CHECK(acted == 21);
    }

    TEST_CASE("a deadline holds while a call waits for a credit") {
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            CAPTURE(seed);
            sim::world world(seed);
            weir::host_options options;
            options.name = "a";
            options.shards = 2;
            options.mesh = {.call_credits = 2, .call_credits_least = 1};
            auto& host = world.add_host(options);
            int timed_out = 0, other = 0;
            weir::duration latest{};
            host.start([&](weir::host&) -> future<> {
                std::vector<future<>> slow;
                for (int i = 0; i < 2; ++i) {
                    slow.push_back(weir::on(1, [] { return weir::sleep_for(1s); }));
                }
                const weir::instant due = this_shard().now() + 10ms;
                std::vector<future<>> late;
                for (int i = 0; i < 20; ++i) {
                    late.push_back(weir::on(1, [] {}, due + i * 1ms));
                }
                for (int i = 0; i < 20; ++i) {
                    try {
                        co_await std::move(late[i]);
                        ++other;
                    } catch (const weir::error& e) {
                        ++(e.is(weir::errc::timed_out) ? timed_out : other);
                        latest = std::max(latest, clock_now() - (due + i * 1ms));
                    }
                }
                CHECK(this_shard().port().waiting(1) == 0);
                co_await weir::when_all_succeed(std::move(slow));
                co_await weir::on(1, [] {});
            });
            REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
            CHECK(host.failure() == "");
            CHECK(timed_out == 20);
            CHECK(other == 0);
            CHECK(latest < 1ms);
        }
    }

    TEST_CASE("the first call to a shard fails as overloaded if there is no memory for its rings") {
        sim::world world(1);
        auto& host = world.add_host("a", 6);
        bool overloaded = false;
        bool later = false;
        host.start([&](weir::host&) -> future<> {
            co_await weir::on(1, [] {});  // leaves a record in the pool, where pools keep any
            weir::shard_id to = 1;
            for (std::uint64_t first = 0; !overloaded && first < 4; ++first) {
                ++to;  // each time a first call
                sim::memory::fail(first, 1);
                auto refused = weir::on(to, [] {});
                CHECK(sim::memory::stop_failing() == 1);
                try {
                    co_await std::move(refused);
                } catch (const weir::error& e) {
                    overloaded = e.is(weir::errc::overloaded);
                }
            }
            co_await weir::on(to, [&later] { later = true; });
        });
        REQUIRE(world.run_until([&] { return host.exited(); }, 10s));
        CHECK(host.failure() == "");
        CHECK(overloaded);
        CHECK(later);
    }
}
