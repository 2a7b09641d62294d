// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bed.hh"
#include "crash.hh"

namespace weir::broker {

using namespace storage_test;

TEST_SUITE("broker/storage/crash") {
    TEST_CASE("after power cuts and kills nothing acknowledged is lost and no offset changes") {
        crash_statistics all;
        for (std::uint64_t seed = 1; seed <= 150; ++seed) {
            crash_run run(seed, {}, io::sim::fault_plan::none());
            const auto broken = run.rounds(6);
            INFO("seed ", seed);
            REQUIRE(broken.value_or("") == "");
            all += run.statistics;
        }
        MESSAGE("acknowledged ", all.acknowledged, ", cuts ", all.power_cuts, ", kills ", all.kills,
                ", torn tails ", all.torn_tails, ", segments ", all.segments);
        // A test that meets no torn commit and no roll proves little.
        CHECK(all.acknowledged > 1000);
        CHECK(all.torn_tails > 0);
        CHECK(all.segments > 100);
    }

    TEST_CASE("the same with errors, short transfers, full disks and failed syncs between") {
        crash_statistics all;
        for (std::uint64_t seed = 1000; seed < 1150; ++seed) {
            io::sim::fault_plan plan = io::sim::fault_plan::none();
            plan[io::sim::fault::write_error] = 3000;
            plan[io::sim::fault::sync_error] = 3000;
            plan[io::sim::fault::no_space] = 5000;
            plan[io::sim::fault::short_write] = 20000;
            plan[io::sim::fault::short_read] = 20000;
            plan[io::sim::fault::slow_disk] = 20000;
            crash_run run(seed, {}, plan);
            const auto broken = run.rounds(6);
            INFO("seed ", seed);
            REQUIRE(broken.value_or("") == "");
            all += run.statistics;
        }
        MESSAGE("acknowledged ", all.acknowledged, ", reopened ", all.reopened, ", full ",
                all.full_disks);
        CHECK(all.reopened > 10);
        CHECK(all.full_disks > 10);
    }

    // Each deliberate bug must be found by the same checks, within the stated number of seeds.
    std::optional<std::uint64_t> first_seed_that_finds(const char* canary, std::uint64_t limit) {
        for (std::uint64_t seed = 1; seed <= limit; ++seed) {
            crash_run run(seed, {canary}, io::sim::fault_plan::none());
            if (const auto broken = run.rounds(6)) {
                MESSAGE(std::string(canary), ": seed ", seed, ": ", *broken);
                return seed;
            }
        }
        return std::nullopt;
    }

    TEST_CASE("a byte of an acknowledged batch that is spoilt at a kill costs no other batch") {
        crash_statistics all;
        for (std::uint64_t seed = 2000; seed < 2150; ++seed) {
            crash_run run(seed, {}, io::sim::fault_plan::none(),
                          {.may_refuse = true, .spoil = true});
            const auto broken = run.rounds(6);
            INFO("seed ", seed);
            REQUIRE(broken.value_or("") == "");
            all += run.statistics;
        }
        MESSAGE("spoilt ", all.spoilt, ", refused ", all.refusals);
        CHECK(all.spoilt > 50);
        CHECK(all.refusals > all.spoilt / 2);
    }
    TEST_CASE("a cut of acknowledged batches is found within 20 seeds") {
        std::optional<std::string> broken;
        std::uint64_t seed = 0;
        while (!broken && ++seed <= 20) {
            crash_run run(seed, {"cut-of-acknowledged"}, io::sim::fault_plan::none(),
                          {.may_refuse = true, .spoil = true});
            broken = run.rounds(6);
        }
        MESSAGE("cut-of-acknowledged: seed ", seed, ": ", broken.value_or("not found"));
        CHECK(broken);
    }
    TEST_CASE("an acknowledgement before the write is found within 20 seeds") {
        CHECK(first_seed_that_finds("acknowledge-early", 20));
    }
    TEST_CASE("a directory that is not synced is found within 20 seeds") {
        CHECK(first_seed_that_finds("missing-directory-sync", 20));
    }
    TEST_CASE("two writes of one tail page at once are found within 50 seeds") {
        CHECK(first_seed_that_finds("overlapping-tail-writes", 50));
    }
    TEST_CASE("a stale batch behind a cut is found within 300 seeds") {
        CHECK(first_seed_that_finds("stale-batch", 300));
    }
}

}  // namespace weir::broker
