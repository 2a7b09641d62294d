// SPDX-License-Identifier: Apache-2.0
#include <pipeline/seeded.hh>

#include <cstdlib>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

namespace weir::test {

using namespace std::chrono_literals;

namespace {

// The draws of a world have seeds of their own, each world's next to one another.
constexpr std::uint64_t seeds_apart = 1000;

future<std::string> draw_all(const drawn_check& check, std::uint64_t seed, std::uint64_t draws) {
    for (std::uint64_t i = 0; i < draws; ++i) {
        chooser draw(seed * seeds_apart + i);
        if (const std::string said = co_await check(draw); !said.empty()) {
            co_return fmt::format("draw {}: {}", i, said);
        }
    }
    const std::uint64_t ignored = this_shard().counters().failures_ignored;
    co_return ignored == 0 ? "" : fmt::format("{} failures ignored", ignored);
}

}  // namespace

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string in_world(std::uint64_t seed, unsigned shards,
                     const std::function<future<std::string>()>& body) {
    std::string said = "never ended: stages wait for one another";
    io::sim::world world(seed, rough_world(seed));
    host_options options;
    options.shards = shards;
    io::sim::sim_host& tested = world.add_host(options);
    tested.start([&](host&) -> future<> {
        const std::string own = co_await body();
        const io::sim::memory::outside guard;  // the host's memory goes with it
        said = own;
    });
    world.run_until([&] { return tested.exited(); }, 600s);
    return tested.failure().empty() ? said : tested.failure();
}

void on_seeds(seed_counts counts, const drawn_check& check) {
    const std::uint64_t first = number_from("WEIR_LAW_SEED", 1);
    counts.worlds = number_from("WEIR_LAW_SEEDS", counts.worlds);
    counts.threaded = number_from("WEIR_LAW_SEEDS", counts.threaded);
    for (std::uint64_t seed = first; seed < first + counts.worlds; ++seed) {
        const std::string said =
            in_world(seed, law_shards, [&] { return draw_all(check, seed, counts.draws); });
        if (!said.empty()) {
            FAIL("on the simulator: ", said, "\n  again: WEIR_LAW_SEED=", seed,
                 " WEIR_LAW_SEEDS=1 and the same test");
        }
    }
    // On threads the seed says what is drawn, not how it goes.
    on_kernel(
        [&](host&) -> future<> {
            for (std::uint64_t seed = first; seed < first + counts.threaded; ++seed) {
                const std::string said = co_await draw_all(check, seed, 1);
                INFO("on threads, WEIR_LAW_SEED=", seed);
                CHECK(said == "");
            }
        },
        law_shards);
}

}  // namespace weir::test
