// SPDX-License-Identifier: Apache-2.0
// Stages that only sleep: what a pipeline saves in time, without needing a core for it.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <support/numbers.hh>
#include <support/pipeline_app.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

constexpr const char* about =
    "Runs elements through four stages that each sleep: two side by side, then one, then another.\n"
    "The model sleeps four times for each element, one after the other. Deployed, the two sleep "
    "at\n"
    "the same time, and the next elements enter while the first ones are further on. Sharded, two\n"
    "copies of all of it take the even and the odd elements. A stage sleeps for one element at a\n"
    "time unless --window lets it have more. Sleeping takes no core: one shard is enough.";

constexpr const char* examples =
    "Examples:\n"
    "  weir-sleep                              5 elements, 250 ms a stage\n"
    "  weir-sleep --elements 100 --time-ms 10\n"
    "  weir-sleep --window 4 --shards 1\n"
    "  weir-sleep --record run.svg             the sharded one, to be played in a browser\n";

using namespace weir;
using namespace weir::pipeline;

struct options : apps::pipeline_options {
    std::size_t elements = 5;
    std::uint64_t time_ms = 250;
    std::size_t window = 1;
};

struct row {
    std::string name;
    duration took;
    double least_s;  // if nothing but sleeping took time
};

// [sleep]
template <typename Nap>
auto sleepers(std::size_t window, Nap sleep) {
    const auto nap = map_async(window, sleep);
    return describe<unit>(fanout(nap, nap) >> nap >> nap);
}

template <combinator P>
future<duration> time_deployed(apps::runs& all, const P& described,
                               const apps::pipeline_options& chosen, std::size_t elements) {
    const instant began = this_shard().now();
    co_await run_whole(all, from_list(std::vector<unit>(elements)) >> described >> discard(),
                       chosen);
    co_return this_shard().now() - began;
}
// [/sleep]

future<> measure(apps::runs& all, std::vector<row>& rows, const options& chosen) {
    const duration time = std::chrono::milliseconds(chosen.time_ms);
    const auto described =
        sleepers(chosen.window, [time](const auto&, abort_source& stop) -> future<unit> {
            co_await sleep_for(time, stop);
            co_return unit();
        });
    const auto meant =
        sleepers(chosen.window, [time, &stop = all.stopping()](const auto&) -> future<unit> {
            co_await sleep_for(time, stop);
            co_return unit();
        });
    const double one_s = static_cast<double>(chosen.time_ms) / 1e3;
    // What enters a stage together leaves it together, and there are three behind one another.
    const auto rounds = [&chosen](std::size_t elements) {
        const std::size_t entries = (elements + chosen.window - 1) / chosen.window;
        return entries == 0 ? 0.0 : static_cast<double>(entries + 2);
    };

    const instant began = this_shard().now();
    const listed<unit> ended = co_await model(meant, std::vector<unit>(chosen.elements));
    if (ended.failure) {
        std::rethrow_exception(ended.failure);
    }
    rows.push_back(
        {"model", this_shard().now() - began, 4 * one_s * static_cast<double>(chosen.elements)});
    apps::pipeline_options unwatched = chosen;
    unwatched.watch = {};
    rows.push_back({"deployed", co_await time_deployed(all, described, unwatched, chosen.elements),
                    one_s * rounds(chosen.elements)});
    const auto sharded = describe<unit>(weir::pipeline::shard<2>(described));
    rows.push_back({"sharded", co_await time_deployed(all, sharded, chosen, chosen.elements),
                    one_s * rounds((chosen.elements + 1) / 2)});
}

void print(const std::vector<row>& rows, const options& chosen) {
    fmt::print("{} elements, {} ms a stage, {} at a time\n\n", chosen.elements, chosen.time_ms,
               chosen.window);
    fmt::print("{:<10} {:>8} {:>8}\n", "", "took s", "least s");
    for (const row& each : rows) {
        fmt::print("{:<10} {:>8.2f} {:>8.2f}\n", each.name,
                   std::chrono::duration<double>(each.took).count(), each.least_s);
    }
}

int run(int argc, char** argv) {
    options chosen;
    CLI::App app(about, "weir-sleep");
    app.footer(examples);
    apps::between(
        *app.add_option("--elements", chosen.elements, "Elements that pass")->capture_default_str(),
        0, 1'000'000'000);
    apps::between(
        *app.add_option("--time-ms", chosen.time_ms, "Milliseconds that each stage sleeps for each")
             ->capture_default_str(),
        1, 3'600'000);
    apps::between(
        *app.add_option("--window", chosen.window, "Elements that a stage sleeps for at a time")
             ->capture_default_str(),
        1, max_batch);
    apps::add_options(app, chosen, "sleep");
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
    fmt::print(stderr, "weir-sleep: {}\n", e.what());
    return 1;
}
