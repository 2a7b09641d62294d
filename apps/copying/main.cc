// SPDX-License-Identifier: Apache-2.0
// Millions of elements to five or ten readers each: what fan-out and shards cost without copies.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <support/numbers.hh>
#include <support/pipeline_app.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/host.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

constexpr const char* about =
    "Gives every element to 5 or to 10 branches and puts their results side by side again, with "
    "and\n"
    "without two copies of all branches for the even and the odd elements. Branches either do\n"
    "nothing, so that a reader finds the same element 5 or 10 times, or add one to it. Every\n"
    "result is looked at, and their sum is checked. No element is copied on its way: branches are\n"
    "views of one ring.";

constexpr const char* examples =
    "Examples:\n"
    "  weir-copying                            5 million elements\n"
    "  weir-copying --elements 100000 --shards 1\n"
    "  weir-copying --record run.svg           the last of the runs, to be played in a browser\n";

using namespace weir;
using namespace weir::pipeline;

using number = std::uint64_t;

struct options : apps::pipeline_options {
    number elements = 5'000'000;
};

struct row {
    std::size_t branches;
    std::string does;
    bool sharded;
    duration took;
};

// [copying]
template <std::size_t N, combinator P>
auto to_each_of(const P& branch) {
    if constexpr (N == 1) {
        return branch;
    } else {
        return fanout(branch, to_each_of<N - 1>(branch));
    }
}

number sum_of(number one) {
    return one;
}
template <typename A, typename B>
number sum_of(const std::pair<A, B>& several) {
    return several.first + sum_of(several.second);
}

template <combinator P>
future<duration> time_sum(apps::runs& all, const P& described, number expected,
                          const options& chosen, watching how = {}) {
    apps::pipeline_options own = chosen;
    own.watch = std::move(how);
    number sum = 0;
    const instant began = this_shard().now();
    co_await run_whole(all,
                       from_range(std::views::iota(number{0}, chosen.elements)) >> described >>
                           for_each([&sum](const auto& each) { sum += sum_of(each); }),
                       own);
    const duration took = this_shard().now() - began;
    if (sum != expected) {
        throw error("sum", fmt::format("{} in place of {}", sum, expected), errc::corrupt);
    }
    co_return took;
}
// [/copying]

template <std::size_t N, combinator P>
future<> measure_branches(apps::runs& all, const P& branch, number added, std::string does,
                          const options& chosen, std::vector<row>& rows, watching how = {}) {
    const number expected =
        N * (chosen.elements * (chosen.elements - 1) / 2 + added * chosen.elements);
    const auto branches = to_each_of<N>(branch);
    rows.push_back({N, does, false, co_await time_sum(all, branches, expected, chosen)});
    const auto sharded = weir::pipeline::shard<2>(branches);
    rows.push_back({N, does, true, co_await time_sum(all, sharded, expected, chosen, how)});
}

future<> measure(apps::runs& all, std::vector<row>& rows, const options& chosen) {
    const auto add = map([](number i) { return i + 1; });
    co_await measure_branches<5>(all, id(), 0, "nothing", chosen, rows);
    co_await measure_branches<10>(all, id(), 0, "nothing", chosen, rows);
    co_await measure_branches<5>(all, add, 1, "add one", chosen, rows);
    co_await measure_branches<10>(all, add, 1, "add one", chosen, rows, chosen.watch);
}

void print(const std::vector<row>& rows, const options& chosen) {
    fmt::print("{} elements\n\n{:>8} {:<8} {:<8} {:>8} {:>14}\n", chosen.elements, "branches", "do",
               "sharded", "took s", "elements/s");
    for (const row& each : rows) {
        const double seconds = std::chrono::duration<double>(each.took).count();
        fmt::print("{:>8} {:<8} {:<8} {:>8.3f} {:>14.0f}\n", each.branches, each.does,
                   each.sharded ? "yes" : "no", seconds,
                   static_cast<double>(chosen.elements) / seconds);
    }
}

int run(int argc, char** argv) {
    options chosen;
    CLI::App app(about, "weir-copying");
    app.footer(examples);
    apps::between(
        *app.add_option("--elements", chosen.elements, "Elements that pass")->capture_default_str(),
        1, 1'000'000'000);
    apps::add_options(app, chosen, "copying");
    if (const auto wrong = apps::parse(app, argc, argv)) {
        return *wrong;
    }

    std::vector<row> rows;
    const int status = io::run(chosen.run, [&](host&) {
        return apps::with_runs([&](apps::runs& all) { return measure(all, rows, chosen); });
    });
    if (status == 0) {
        print(rows, chosen);
    }
    return status;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
    fmt::print(stderr, "weir-copying: {}\n", e.what());
    return 1;
}
