// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/error.hh>
#include <weir/core/placement.hh>

using list = std::vector<unsigned>;

namespace {

constexpr const char* two_sockets = "pack:2 numa:1 core:4 pu:2";

list cpus_of(const std::vector<weir::shard_place>& places) {
    list result;
    for (const weir::shard_place& each : places) {
        result.push_back(each.cpu);
    }
    return result;
}

list placed(const weir::topology& machine, const weir::placement_options& options = {}) {
    return cpus_of(weir::place(machine, options));
}

std::string refusal(const weir::topology& machine, const weir::placement_options& options) {
    try {
        weir::place(machine, options);
    } catch (const weir::error& failure) {
        return failure.what();
    }
    return "accepted";
}

}  // namespace

TEST_SUITE("core/placement") {
    TEST_CASE("the default is one shard per physical core") {
        const weir::topology machine = weir::synthetic_topology(two_sockets);
        CHECK(placed(machine) == list{0, 2, 4, 6, 8, 10, 12, 14});
    }

    TEST_CASE("siblings carry shards only when asked, and after every core has one") {
        const weir::topology machine = weir::synthetic_topology("core:3 pu:2");
        CHECK(placed(machine, {.use_smt = true}) == list{0, 1, 2, 3, 4, 5});
        CHECK(placed(machine, {.shards = 3, .use_smt = true}) == list{0, 2, 4});
        CHECK(placed(machine, {.shards = 4, .use_smt = true}) == list{0, 1, 2, 4});
    }

    TEST_CASE("few shards stay on one node") {
        const weir::topology machine = weir::synthetic_topology(two_sockets);
        for (const weir::shard_place& each : weir::place(machine, {.shards = 4})) {
            CHECK(each.node == 0);
        }
        CHECK(weir::place(machine, {.shards = 5}).back().node == 1);
    }

    TEST_CASE("a cpuset that holds one sibling of a core still gives that core a shard") {
        const weir::topology machine = weir::synthetic_topology(two_sockets, {1, 2, 3, 9});
        CHECK(placed(machine) == list{1, 2, 9});
    }

    TEST_CASE("a list of cpus is taken as it stands, siblings and order too") {
        const weir::topology machine = weir::synthetic_topology(two_sockets);
        CHECK(placed(machine, {.cpus = {9, 0, 1}}) == list{9, 0, 1});
        CHECK(placed(machine, {.shards = 2, .cpus = {9, 0, 1}}) == list{9, 0});
    }

    TEST_CASE("a quota bounds the default and nothing that was asked for") {
        const weir::topology machine = weir::synthetic_topology(two_sockets);
        CHECK(placed(machine, {.quota_cpus = 2.9}).size() == 2);
        CHECK(placed(machine, {.quota_cpus = 0.1}).size() == 1);
        CHECK(placed(machine, {.quota_cpus = 100}).size() == 8);
        CHECK(placed(machine, {.shards = 6, .quota_cpus = 2}).size() == 6);
        CHECK(placed(machine, {.cpus = {0, 1, 2}, .quota_cpus = 1}).size() == 3);
    }

    TEST_CASE("too many shards: the error counts both sides and says what would work") {
        const weir::topology small = weir::synthetic_topology("core:2 pu:1");
        CHECK(refusal(small, {.shards = 8}) ==
              "place 8 shards on 2 cores (cpus 0-1); ask for at most 2, or allow overcommit: "
              "limit exceeded");
        const weir::topology smt = weir::synthetic_topology("core:2 pu:2");
        CHECK(refusal(smt, {.shards = 3}) ==
              "place 3 shards on 2 cores (cpus 0-3); ask for at most 2, use SMT siblings for up "
              "to 4, or allow overcommit: limit exceeded");
        CHECK(refusal(smt, {.shards = 3, .cpus = {2}}) ==
              "place 3 shards on 1 cpu (cpus 2); ask for at most 1, or allow overcommit: limit "
              "exceeded");
        CHECK(refusal(small, {.shards = 0}) ==
              "place 0 shards; ask for at least 1: malformed input");
    }

    TEST_CASE("a cpu outside the cpuset, or twice, is refused by name") {
        const weir::topology machine = weir::synthetic_topology(two_sockets, {0, 1, 2, 8});
        CHECK(refusal(machine, {.cpus = {0, 3}}) ==
              "place shards on cpu 3; this process may use cpus 0-2,8: malformed input");
        CHECK(refusal(machine, {.cpus = {0, 2, 0}}) ==
              "place shards on cpu 0 twice: malformed input");
    }

    TEST_CASE("overcommit spreads the shards evenly") {
        const weir::topology machine = weir::synthetic_topology("core:2 pu:1");
        CHECK(placed(machine, {.shards = 5, .allow_overcommit = true}) == list{0, 0, 0, 1, 1});
        CHECK(placed(machine, {.shards = 3, .cpus = {1}, .allow_overcommit = true}) ==
              list{1, 1, 1});
    }

    TEST_CASE("any machine, any cpuset: every shard has an allowed cpu, none two without need") {
        const char* machines[] = {"core:1 pu:1", "pack:2 numa:2 l3:2 core:2 pu:2", "core:6 pu:4",
                                  "numa:8 core:2 pu:1", "[numa] pack:2 [numa] core:3 pu:2"};
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            const char* text = machines[random() % std::size(machines)];
            const list all = weir::synthetic_topology(text).cpus();
            list allowed;
            for (const unsigned cpu : all) {
                if (random() % 3 != 0) {
                    allowed.push_back(cpu);
                }
            }
            const weir::topology machine = weir::synthetic_topology(text, allowed);
            const bool use_smt = random() % 2 == 0;
            const auto places = weir::place(machine, {.use_smt = use_smt});
            CHECK(places.size() == (use_smt ? machine.cpus().size() : machine.cores.size()));
            std::set<unsigned> used;
            for (const weir::shard_place& each : places) {
                CHECK(machine.contains(each.cpu));
                CHECK(machine.core_of(each.cpu) == each.core);
                CHECK(machine.cores[each.core].node == each.node);
                CHECK(used.insert(each.cpu).second);
            }
            CHECK(std::is_sorted(places.begin(), places.end(),
                                 [](const auto& a, const auto& b) { return a.node < b.node; }));
        }
    }
}
