// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <bench/cores_result.hh>
#include <doctest/doctest.h>

using weir::bench::cores_result;
using weir::bench::pair_result;

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) {
        ++count;
    }
    return count;
}

// Two sockets as they were measured elsewhere, roughly: nearer is faster, with some scatter.
cores_result fixed_data(const char* machine = "pack:2 numa:1 l3:2 core:2 pu:2") {
    cores_result result;
    result.map = weir::synthetic_topology(machine);
    result.map.synthetic = false;
    result.machine = "a <test> machine & more";
    result.cpus = result.map.cpus();
    for (std::size_t i = 0; i < result.cpus.size(); ++i) {
        for (std::size_t j = i + 1; j < result.cpus.size(); ++j) {
            pair_result pair{result.cpus[i], result.cpus[j]};
            const unsigned rank = weir::bench::group_of(result.map, pair.a, pair.b).rank;
            const double base = rank == 0 ? 60 : rank < 10 ? 150 : rank == 10 ? 260 : 520;
            const double scatter = 1 + static_cast<double>((i * 7 + j * 13) % 10) / 60;
            pair.round_trip_ns = base * scatter;
            pair.bare_ns = pair.round_trip_ns * 0.8;
            pair.forward_per_s = 2e10 / pair.round_trip_ns;
            pair.backward_per_s = pair.forward_per_s * 0.97;
            result.pairs.push_back(pair);
        }
    }
    for (unsigned from = 0; from < result.map.nodes.size(); ++from) {
        for (unsigned to = 0; to < result.map.nodes.size(); ++to) {
            const double far = from == to ? 1 : 1.6;
            result.memory.push_back({from, to, 85 * far, 14'000 / far, 92'000 / far});
        }
    }
    return result;
}

// returns  whether each element that is opened is closed, in order, and no text breaks out
bool is_well_formed(const std::string& text) {
    std::vector<std::string> open;
    for (std::size_t at = 0; (at = text.find('<', at)) != std::string::npos;) {
        const std::size_t end = text.find('>', at);
        if (end == std::string::npos || text.find('<', at + 1) < end) {
            return false;
        }
        const std::string tag = text.substr(at + 1, end - at - 1);
        const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
        if (tag.starts_with("/")) {
            if (open.empty() || "/" + open.back() != name) {
                return false;
            }
            open.pop_back();
        } else if (!tag.ends_with("/")) {
            open.push_back(name);
        }
        if (std::count(tag.begin(), tag.end(), '\'') % 2 != 0) {
            return false;
        }
        at = end;
    }
    return open.empty();
}

}  // namespace

TEST_SUITE("bench/cores") {
    TEST_CASE("pairs are grouped by the nearest thing that they share, the nearest group first") {
        const cores_result result = fixed_data();
        const auto groups = weir::bench::summarize(result);
        REQUIRE(groups.size() == 4);
        CHECK(groups[0].group.row_name == "smt_sibling");
        CHECK(groups[0].pairs.size() == 8);
        CHECK(groups[1].group.row_name == "shared_l3");
        CHECK(groups[1].pairs.size() == 16);
        CHECK(groups[2].group.row_name == "same_node");
        CHECK(groups[2].pairs.size() == 32);
        CHECK(groups[3].group.row_name == "distance_20");
        CHECK(groups[3].pairs.size() == 64);
        CHECK(groups[3].round_trip_ns.low <= groups[3].round_trip_ns.median);
        CHECK(groups[3].round_trip_ns.median <= groups[3].round_trip_ns.high);
        CHECK(weir::bench::surprises(groups).empty());
    }

    TEST_CASE("a group that is slower than a farther one is named") {
        cores_result result = fixed_data();
        for (pair_result& each : result.pairs) {
            if (result.map.between(each.a, each.b) == weir::proximity::shared_cache) {
                each.round_trip_ns = 2000;
            }
        }
        const auto found = weir::bench::surprises(weir::bench::summarize(result));
        REQUIRE(found.size() == 2);
        CHECK(contains(found[0], "share an L3 cache (2000 ns) are slower than those that share a"));
        CHECK(contains(weir::bench::cores_table(result), found[1]));
        CHECK(contains(weir::bench::cores_svg(result), "Not as expected"));
        result.map.synthetic = true;  // then the threads ran elsewhere and the order means nothing
        CHECK_FALSE(contains(weir::bench::cores_table(result), "xpect"));
        CHECK_FALSE(contains(weir::bench::cores_svg(result), "Not as expected"));
    }

    TEST_CASE("the table names nodes, groups, pairs and memory") {
        cores_result result = fixed_data();
        result.notes = {"A note."};
        const std::string table = weir::bench::cores_table(result);
        CAPTURE(table);
        CHECK(contains(table, "node 1: 4 cores, cpus 8-15, 1.0 GiB, distances 20 10 (guessed)\n"));
        CHECK(contains(table, "a core (SMT siblings)"));
        CHECK(contains(table, "nothing (distance 20)"));
        CHECK(contains(table, "Order as the topology lets expect.\n"));
        CHECK(contains(table, "1 -> 0                          20       136.0"));
        CHECK(contains(table, "\nA note.\n"));
        CHECK(count_of(table, "\n  15 ") == 1);
        const std::string wide = weir::bench::cores_table(fixed_data("core:20 pu:1"));
        CHECK_FALSE(contains(wide, "\n  15 "));  // no matrix that no terminal could show
    }

    TEST_CASE("the drawing has a cell for each ordered pair, its text is escaped") {
        const cores_result result = fixed_data();
        const std::string svg = weir::bench::cores_svg(result);
        CHECK(is_well_formed(svg));
        CHECK(contains(svg, "a &lt;test&gt; machine &amp; more"));
        CHECK(count_of(svg, "<circle ") == result.pairs.size());
        const std::size_t cells = 2 * 16 * 16 + 3 * 2 * 2;
        CHECK(count_of(svg, "<rect ") >= cells);
        CHECK(contains(svg, ">node 1</text>"));
        if (const char* path = std::getenv("WEIR_CORES_SVG")) {
            std::ofstream(path) << svg;  // to be looked at
        }
    }

    TEST_CASE("one cpu, no pairs, figures of zero and 256 cpus are drawn as well") {
        CHECK(is_well_formed(weir::bench::cores_svg(fixed_data("core:1 pu:1"))));
        cores_result zero = fixed_data("core:2 pu:1");
        zero.pairs = {{0, 1}};
        zero.memory[0] = {};
        const std::string svg = weir::bench::cores_svg(zero);
        CHECK(is_well_formed(svg));
        CHECK_FALSE(contains(svg, "nan"));
        CHECK_FALSE(contains(svg, "inf"));
        CHECK(is_well_formed(weir::bench::cores_svg({})));
        CHECK_FALSE(weir::bench::cores_table({}).empty());
        const std::string big =
            weir::bench::cores_svg(fixed_data("pack:2 numa:4 l3:2 core:8 pu:2"));
        CHECK(is_well_formed(big));
    }

    TEST_CASE("numbers for people have three digits at most") {
        using weir::bench::short_number;
        CHECK(short_number(0) == "0");
        CHECK(short_number(7) == "7");
        CHECK(short_number(7.25) == "7.2");
        CHECK(short_number(512.4) == "512");
        CHECK(short_number(999.6) == "1.0k");
        CHECK(short_number(1'240) == "1.2k");
        CHECK(short_number(34'000'000) == "34M");
        CHECK(short_number(2.5e12) == "2.5T");
    }
}
