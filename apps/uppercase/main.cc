// SPDX-License-Identifier: Apache-2.0
// Lines of the standard input in upper case, even and odd ones on two cores.
#include <cerrno>
#include <csignal>
#include <exception>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <support/numbers.hh>
#include <support/pipeline_app.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/pipeline/descriptors.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

constexpr const char* about =
    "Copies lines from the standard input to the standard output with a-z turned to A-Z. Lines\n"
    "are dealt to two copies of the stage that works, even ones to one core and odd ones to the\n"
    "other, and come out in the order in which they went in. Input and output may be pipes,\n"
    "terminals or files. Each line written ends with a newline.";

constexpr const char* examples =
    "Examples:\n"
    "  echo 'so it flows' | weir-uppercase\n"
    "  weir-uppercase                          type lines; Ctrl-D ends them\n"
    "  weir-uppercase --shards 1 <in >out      everything on one core\n"
    "  weir-uppercase --record run.svg <in >out\n";

using namespace weir;
using namespace weir::pipeline;

struct options : apps::pipeline_options {
    std::size_t line_bytes_max = std::size_t(64) << 20;
};

// [uppercase]
std::string upper(const line& from) {
    std::string text(from.text());
    for (char& each : text) {
        each = each >= 'a' && each <= 'z' ? static_cast<char>(each - 'a' + 'A') : each;
    }
    return text;
}

program uppercase(const options& chosen) {
    return stdin_lines({.line_bytes_max = chosen.line_bytes_max}) >>
           weir::pipeline::shard<2>(map(upper)) >> stdout_lines();
}
// [/uppercase]

struct outcome {
    int status = 1;
    bool unread = false;  // who read us has had enough
};

future<> filter(const options& chosen, outcome& ended) {
    try {
        const bool whole = co_await apps::run_to_end(uppercase(chosen), chosen);
        ended.status = whole ? 0 : 1;
    } catch (const error& failure) {
        ended.unread = failure.is_errno(EPIPE);
        if (!ended.unread) {
            fmt::print(stderr, "weir-uppercase: {}\n", failure.what());
        }
    }
}

int run(int argc, char** argv) {
    options chosen;
    CLI::App app(about, "weir-uppercase");
    app.footer(examples);
    apps::between(
        *app.add_option("--line-bytes-max", chosen.line_bytes_max,
                        "A longer line ends the run with an error: it has to lie in memory")
             ->capture_default_str(),
        1, std::uint64_t(1) << 40);
    apps::add_options(app, chosen, "uppercase");
    if (const auto status = apps::parse(app, argc, argv)) {
        return *status;
    }
    outcome ended;
    const int failed = io::run(chosen.run, [&](host&) { return filter(chosen, ended); });
    if (ended.unread) {
        std::raise(SIGPIPE);  // as any filter; whoever ignores that is told
        fmt::print(stderr, "weir-uppercase: write stdout: {}\n",
                   std::generic_category().message(EPIPE));
    }
    return failed != 0 ? failed : ended.status;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
    fmt::print(stderr, "weir-uppercase: {}\n", e.what());
    return 1;
}
