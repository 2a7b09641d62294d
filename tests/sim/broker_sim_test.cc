// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <sim/broker_scenario.hh>

namespace sim = weir::io::sim;
using namespace weir::broker::sim_test;

namespace {

void show(const sim::exploration& result, const statistics& counts) {
    MESSAGE(result.report());
    MESSAGE(describe(counts));
}

/// The first seed whose run breaks a promise, with one deliberate bug in the broker.
std::optional<std::uint64_t> first_seed_that_finds(const char* canary, std::uint64_t limit) {
    statistics counts;
    for (std::uint64_t seed = 1; seed <= limit; ++seed) {
        try {
            sim::run_once(seed, cuts_only(seed), broker_scenario(counts, {canary}));
        } catch (const std::runtime_error& broken) {
            MESSAGE(std::string(canary), ": seed ", seed, ": ", std::string(broken.what()));
            return seed;
        }
    }
    return std::nullopt;
}

}  // namespace

TEST_SUITE("sim/broker") {
    TEST_CASE("through cuts, kills and stops nothing acknowledged is lost, changed or doubled") {
        statistics counts;
        const auto result = sim::explore(1, 40, cuts_only, broker_scenario(counts));
        show(result, counts);
        CHECK(result.faults.injected(sim::fault::power_cut) > 40);
        CHECK(result.faults.injected(sim::fault::process_kill) > 10);
        CHECK(counts.acknowledged > 10'000);
        CHECK(counts.durability_checks > 1'000);
        CHECK(counts.look_ups > 1'000);
        CHECK(counts.graceful_stops > 5);
    }

    TEST_CASE("the same while disks, network, clocks and hosts fail at random") {
        statistics counts;
        const auto result = sim::explore(1000, 40, rough, broker_scenario(counts));
        show(result, counts);
        CHECK(counts.retried > 100);
        CHECK(counts.storage_errors > 20);
        CHECK(result.faults.injected(sim::fault::write_error) > 0);
        CHECK(result.faults.injected(sim::fault::sync_error) > 0);
        CHECK(result.faults.injected(sim::fault::no_space) > 0);
        CHECK(result.faults.injected(sim::fault::torn_write) > 0);
        CHECK(result.faults.injected(sim::fault::partition) > 0);
        CHECK(result.faults.injected(sim::fault::connection_loss) > 0);
    }

    TEST_CASE("a run of the broker depends on nothing but its seed") {
        statistics counts;
        sim::explore(5000, 5, rough, broker_scenario(counts), true);
    }

    // The first case runs the same seeds without a bug.
    TEST_CASE("an acknowledgement before the write is found within 20 seeds") {
        CHECK(first_seed_that_finds("acknowledge-early", 20));
    }
    TEST_CASE("a directory that is not synced is found within 20 seeds") {
        CHECK(first_seed_that_finds("missing-directory-sync", 20));
    }
    TEST_CASE("an answer out of order is found within 20 seeds") {
        CHECK(first_seed_that_finds("answer-out-of-order", 20));
    }
    TEST_CASE("a lost bell is found within 20 seeds") {
        CHECK(first_seed_that_finds("lost_bell", 20));
    }
    TEST_CASE("two writes of one tail page at once are found within 20 seeds") {
        CHECK(first_seed_that_finds("overlapping-tail-writes", 20));
    }
    TEST_CASE("a log that a start refuses ends the run, and nobody asks for it for ever") {
        statistics counts;
        bool refused = false;
        for (std::uint64_t seed = 1; seed <= 100 && !refused; ++seed) {
            try {
                const auto faulty = broker_scenario(counts, {"overlapping-tail-writes"});
                sim::run_once(seed, cuts_only(seed), faulty);
            } catch (const std::runtime_error& broken) {
                const std::string what = broken.what();
                REQUIRE(what.find("wait for ever") == std::string::npos);
                refused = what.find("a log does not start") != std::string::npos;
            }
        }
        CHECK(refused);
    }
    TEST_CASE("a stale batch behind a cut is found within 100 seeds") {
        CHECK(first_seed_that_finds("stale-batch", 100));
    }
}
