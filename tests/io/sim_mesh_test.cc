// SPDX-License-Identifier: Apache-2.0
// Calls between shards where peers run in the middle of a turn, as cores do.
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
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
};

/// Calls another shard, whose handler calls another, and so on.
future<> call_down(unsigned levels) {
    const unsigned shards = weir::this_host().shard_count();
    const auto step = static_cast<shard_id>(1 + this_shard().random() % (shards - 1));
    return weir::on((this_shard().id() + step) % shards, [levels] {
        return levels == 1 ? weir::make_ready_future() : call_down(levels - 1);
    });
}

future<> call_repeatedly(unsigned rounds, unsigned levels) {
    for (unsigned i = 0; i < rounds; ++i) {
        co_await call_down(levels);
    }
}

future<> call_all_at_once(const load& what) {
    std::vector<future<>> callers;
    callers.reserve(what.coroutines);
    for (unsigned i = 0; i < what.coroutines; ++i) {
        callers.push_back(call_repeatedly(what.rounds, i % 2 == 0 ? what.depth : 1));
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
            what.depth = static_cast<unsigned>(random.between(1, 3));
            what.mesh.call_credits = static_cast<unsigned>(random.between(1, 8)) * 8;
            what.mesh.call_credits <<= random.below(5);
            const auto held_up_one_in = static_cast<unsigned>(random.below(5));
            CAPTURE(seed);
            CAPTURE(what.coroutines);
            CAPTURE(what.mesh.call_credits);
            REQUIRE(run(seed, what, held_up_one_in) == "");
        }
    }

    TEST_CASE("ten thousand coroutines at once that call three deep come to an end") {
        load what{.shards = 3, .coroutines = 10'000, .rounds = 1, .depth = 3};
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
                auto& outside = static_cast<sim::shard_backend&>(this_shard().outside());
                const weir::instant asked = outside.now();
                weir::instant heard = weir::never;
                std::vector<future<>> calls;
                for (int i = 0; i < 40; ++i) {
                    calls.push_back(weir::on(
                        1, [&heard] { heard = std::min(heard, this_shard().outside().now()); }));
                }
                outside.spend(300ms);
                co_await weir::when_all_succeed(std::move(calls));
                waited = heard - asked;
            });
            REQUIRE(world.run_until([&] { return host.exited(); }, 10s));
            CHECK(host.failure() == "");
            CHECK(waited < 1ms);
        }
    }
}
