// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdio>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <hwloc.h>
#include <hwloc/distances.h>
#include <sched.h>
#include <unistd.h>

#include <weir/core/error.hh>
#include <weir/core/topology.hh>

using weir::proximity;
using weir::topology;
using list = std::vector<unsigned>;

namespace {

constexpr const char* two_sockets = "pack:2 numa:1 l3:2 core:2 pu:2";

std::string refusal_of_list(std::string_view text, weir::errc cause) {
    try {
        weir::parse_cpu_list(text);
    } catch (const weir::error& failure) {
        CHECK(failure.is(cause));
        return failure.what();
    }
    return "accepted";
}

// Writes what lstopo would write of a machine whose firmware tells unequal distances.
void write_with_distances(const std::string& path) {
    hwloc_topology_t machine = nullptr;
    REQUIRE(hwloc_topology_init(&machine) == 0);
    REQUIRE(hwloc_topology_set_synthetic(machine, "numa:3 core:2 pu:1") == 0);
    REQUIRE(hwloc_topology_load(machine) == 0);
    std::vector<hwloc_obj_t> nodes;
    for (unsigned i = 0; i < 3; ++i) {
        nodes.push_back(hwloc_get_obj_by_type(machine, HWLOC_OBJ_NUMANODE, i));
    }
    hwloc_uint64_t values[] = {10, 17, 28, 17, 10, 18, 29, 18, 10};
    const hwloc_distances_add_handle_t matrix = hwloc_distances_add_create(
        machine, "NUMALatency", HWLOC_DISTANCES_KIND_FROM_OS | HWLOC_DISTANCES_KIND_MEANS_LATENCY,
        0);
    REQUIRE(matrix != nullptr);
    REQUIRE(hwloc_distances_add_values(machine, matrix, 3, nodes.data(), values, 0) == 0);
    REQUIRE(hwloc_distances_add_commit(machine, matrix, 0) == 0);
    REQUIRE(hwloc_topology_export_xml(machine, path.c_str(), 0) == 0);
    hwloc_topology_destroy(machine);
}

}  // namespace

TEST_SUITE("core/topology") {
    TEST_CASE("a synthetic machine has the cores, nodes and caches that its text says") {
        const topology machine = weir::synthetic_topology(two_sockets);
        CHECK(machine.synthetic);
        REQUIRE(machine.cores.size() == 8);
        REQUIRE(machine.nodes.size() == 2);
        CHECK(machine.cpus().size() == 16);
        CHECK(machine.cores[5].cpus == list{10, 11});
        CHECK(machine.cores[5].node == 1);
        CHECK(machine.cores[5].package == 1);
        CHECK(machine.core_of(11) == 5);
        CHECK(machine.nodes[1].cpus.size() == 8);
        REQUIRE(machine.caches.size() == 4);
        CHECK(machine.caches[3].level == 3);
        CHECK(machine.caches[3].cpus == list{12, 13, 14, 15});
        CHECK(machine.contains(15));
        CHECK_FALSE(machine.contains(16));
    }

    TEST_CASE("two cpus are as near as the nearest thing that they share") {
        const topology machine = weir::synthetic_topology(two_sockets);
        CHECK(machine.between(3, 3) == proximity::same_cpu);
        CHECK(machine.between(2, 3) == proximity::smt_sibling);
        CHECK(machine.between(0, 2) == proximity::shared_cache);
        CHECK(machine.shared_cache_level(0, 2) == 3);
        CHECK(machine.between(0, 4) == proximity::same_node);
        CHECK(machine.between(0, 8) == proximity::other_node);
        for (const unsigned a : machine.cpus()) {
            for (const unsigned b : machine.cpus()) {
                CHECK(machine.between(a, b) == machine.between(b, a));
            }
        }
        CHECK(weir::name_of(proximity::smt_sibling) == "SMT sibling");
    }

    TEST_CASE("guessed distances say so and grow with every border") {
        const topology split = weir::synthetic_topology("pack:2 numa:2 core:1 pu:1");
        CHECK_FALSE(split.distances_known);
        REQUIRE(split.nodes.size() == 4);
        CHECK(split.nodes[0].distances == list{10, 12, 20, 20});
        CHECK(split.nodes[3].distances == list{20, 20, 12, 10});
    }

    TEST_CASE("distances that a machine's description has are taken from it") {
        const std::string path = "/tmp/weir-topology-" + std::to_string(::getpid()) + ".xml";
        write_with_distances(path);
        const topology machine = weir::synthetic_topology(path);
        std::remove(path.c_str());
        CHECK(machine.synthetic);
        CHECK(machine.distances_known);
        REQUIRE(machine.nodes.size() == 3);
        CHECK(machine.nodes[0].distances == list{10, 17, 28});
        CHECK(machine.nodes[2].distances == list{29, 18, 10});
        CHECK_THROWS_AS(weir::synthetic_topology("/does/not/exist.xml"), weir::error);
    }

    TEST_CASE("a cpuset leaves out whole cores, single siblings and whole nodes") {
        const topology machine = weir::synthetic_topology(two_sockets, {1, 2, 3, 9});
        REQUIRE(machine.cores.size() == 3);
        CHECK(machine.cores[0].cpus == list{1});
        CHECK(machine.cores[1].cpus == list{2, 3});
        CHECK(machine.cores[2].node == 1);
        CHECK(machine.cpus() == list{1, 2, 3, 9});
        CHECK(machine.nodes[1].cpus == list{9});
        CHECK_THROWS_AS(weir::synthetic_topology(two_sockets, {99}), weir::error);
    }

    TEST_CASE("a core belongs to the smallest node that holds it") {
        // Memory of two kinds: a node a package, and one for the whole machine.
        const topology machine = weir::synthetic_topology("[numa] pack:2 [numa] core:2 pu:1");
        REQUIRE(machine.nodes.size() == 3);
        for (const topology::core& core : machine.cores) {
            CHECK(machine.nodes[core.node].cpus.size() == 2);
        }
        CHECK(machine.cores[0].node != machine.cores[3].node);
    }

    TEST_CASE("a text that describes no machine is refused with an example") {
        try {
            weir::synthetic_topology("banana:2");
            FAIL("it was accepted");
        } catch (const weir::error& failure) {
            CHECK(std::string(failure.what()) ==
                  "parse synthetic topology \"banana:2\" (an example: "
                  "\"pack:2 numa:1 core:4 pu:2\", or an .xml file): malformed input");
        }
    }

    TEST_CASE("lists of cpus read as Linux writes them") {
        CHECK(weir::parse_cpu_list("0-3,8") == list{0, 1, 2, 3, 8});
        CHECK(weir::parse_cpu_list("7,5,5-6") == list{5, 6, 7});
        CHECK(weir::to_cpu_list({8, 3, 2, 1, 0, 2}) == "0-3,8");
        CHECK(weir::to_cpu_list({}) == "-");
        for (const char* bad : {"", "a", "1,", ",1", "3-1", "1-", "-1", "1 ", "1--2", "1;2"}) {
            CAPTURE(bad);
            CHECK(refusal_of_list(bad, weir::errc::malformed) != "accepted");
        }
        for (const char* big : {"65536", "0-99999999999999999999"}) {
            CHECK(refusal_of_list(big, weir::errc::limit_exceeded) != "accepted");
        }
        std::string repeated = "0-65535";
        for (unsigned i = 0; i < 100; ++i) {
            repeated += ",0-65535";
        }
        CHECK(refusal_of_list(repeated, weir::errc::limit_exceeded) != "accepted");
    }

    TEST_CASE("this machine: every cpu of the mask once, and each can be pinned") {
        cpu_set_t mask;
        REQUIRE(::sched_getaffinity(0, sizeof mask, &mask) == 0);
        const topology machine = weir::discover_topology();
        const list cpus = machine.cpus();
        CHECK(std::set<unsigned>(cpus.begin(), cpus.end()).size() == cpus.size());
        CHECK(cpus.size() == static_cast<std::size_t>(CPU_COUNT(&mask)));
        CHECK_FALSE(machine.nodes.empty());
        for (const unsigned cpu : cpus) {
            CHECK(CPU_ISSET(cpu, &mask));
            std::thread([cpu] {
                weir::pin_this_thread(cpu);
                CHECK(::sched_getcpu() == static_cast<int>(cpu));
            }).join();
        }
    }

    TEST_CASE("the affinity mask of the thread that asks cuts the machine down") {
        const list before = weir::discover_topology().cpus();
        std::thread([&before] {
            weir::pin_this_thread(before.back());
            CHECK(weir::discover_topology().cpus() == list{before.back()});
        }).join();
        CHECK(weir::discover_topology().cpus() == before);
    }

    TEST_CASE("pinning to a cpu that is not there names the cpu") {
        try {
            weir::pin_this_thread(4000);
            FAIL("it was accepted");
        } catch (const weir::error& failure) {
            CHECK(failure.is_errno(EINVAL));
            CHECK(std::string(failure.what()) == "pin thread to cpu 4000: Invalid argument");
        }
    }

    TEST_CASE("asking for local memory works or says that it is forbidden") {
        std::thread([] {
            const bool bound = weir::bind_memory_local();
            MESSAGE("bind_memory_local: ", bound);
            std::vector<char> touched(1 << 20, 'x');
            CHECK(touched.back() == 'x');
        }).join();
    }
}
