// SPDX-License-Identifier: Apache-2.0
// The law: what is deployed gives what its model gives, whatever the pipeline, the input, the
// placement, the capacity and the size of batches.
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/random_pipeline.hh>
#include <pipeline/seeded.hh>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>

TEST_SUITE_BEGIN("pipeline/law");

using namespace weir;

namespace {

constexpr unsigned shards = 3;
constexpr std::uint64_t batch = 25;  // cases in one world

std::string check_one(std::uint64_t seed, const std::vector<std::uint32_t>& choices) {
    return test::in_world(seed, shards, [&choices] {
        test::chooser choose(choices);
        return test::make_random_case(choose, shards).check();
    });
}

std::string text_of(const std::vector<std::uint32_t>& choices) {
    test::chooser choose(choices);
    return test::make_random_case(choose, shards).text;
}

/// Looks for a simpler case that fails too: drops decisions, and makes them smaller.
std::vector<std::uint32_t> shrink(std::uint64_t seed, std::vector<std::uint32_t> failing) {
    const auto fails = [&](const std::vector<std::uint32_t>& tried) {
        return !check_one(seed, tried).empty();
    };
    for (bool simpler = true; simpler;) {
        simpler = false;
        for (std::size_t length = failing.size() / 2; length > 0; length /= 2) {
            for (std::size_t at = 0; at + length <= failing.size();) {
                auto tried = failing;
                tried.erase(tried.begin() + static_cast<std::ptrdiff_t>(at),
                            tried.begin() + static_cast<std::ptrdiff_t>(at + length));
                if (fails(tried)) {
                    failing = tried;
                    simpler = true;
                } else {
                    at += length;
                }
            }
        }
        for (std::size_t at = 0; at < failing.size(); ++at) {
            for (const std::uint32_t smaller : {0U, failing[at] / 2, failing[at] - 1}) {
                auto tried = failing;
                tried[at] = smaller;
                if (smaller < failing[at] && fails(tried)) {
                    failing = tried;
                    simpler = true;
                }
            }
        }
    }
    return failing;
}

void report(std::uint64_t seed, const std::string& complaint) {
    test::chooser choose(seed);
    const auto random = test::make_random_case(choose, shards);
    MESSAGE("case ", seed, ": ", random.text, ": ", complaint);
    const auto simplest = shrink(seed, choose.choices());
    FAIL("simplest such case: ", text_of(simplest), ": ", check_one(seed, simplest),
         "\n  again: WEIR_LAW_SEED=", seed, " WEIR_LAW_PIPELINES=1 and the same test");
}

}  // namespace

TEST_CASE("random pipelines obey the law on the simulator") {
    const std::uint64_t first = test::number_from("WEIR_LAW_SEED", 1);
    const std::uint64_t count = test::number_from("WEIR_LAW_PIPELINES", 2000);
    MESSAGE("seeds ", first, " to ", first + count - 1);
    for (std::uint64_t seed = first; seed < first + count; seed += batch) {
        const std::uint64_t end = std::min(seed + batch, first + count);
        std::uint64_t at = seed;
        const std::string complaint = test::in_world(seed, shards, [&]() -> future<std::string> {
            for (at = seed; at < end; ++at) {
                test::chooser choose(at);
                std::string said = co_await test::make_random_case(choose, shards).check();
                if (!said.empty()) {
                    co_return said;
                }
            }
            co_return "";
        });
        if (!complaint.empty()) {
            report(at, complaint);
        }
    }
}

TEST_CASE("random pipelines obey the law on threads") {
    const std::uint64_t first = test::number_from("WEIR_LAW_SEED", 1'000'000);
    const std::uint64_t count = test::number_from("WEIR_LAW_THREADED", 200);
    MESSAGE("seeds ", first, " to ", first + count - 1);
    test::on_kernel(
        [first, count](host&) -> future<> {
            for (std::uint64_t seed = first; seed < first + count; ++seed) {
                test::chooser choose(seed);
                const auto random = test::make_random_case(choose, shards);
                const std::string said = co_await random.check();
                INFO("seed ", seed, ": ", random.text);
                CHECK(said == "");
            }
        },
        shards);
}
