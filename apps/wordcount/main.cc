// SPDX-License-Identifier: Apache-2.0
// Lines, words and characters of a file, counted side by side: what wc -lwm prints.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <support/numbers.hh>
#include <support/pipeline_app.hh>
#include <support/quoted.hh>
#include <sys/stat.h>
#include <unistd.h>
#include <wordcount/count.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/pipeline/descriptors.hh>
#include <weir/pipeline/files.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

constexpr const char* about =
    "Prints the lines, words and characters of each file, or of the standard input (-), and their\n"
    "sums, as wc -lwm of Debian 12 does in a UTF-8 locale. One stage reads blocks of the file,\n"
    "and three others count, each on a core if there are enough; all three look at the same\n"
    "blocks, which nobody copies.\n"
    "A character is a code point. Bytes that are not valid UTF-8 don't count as characters and\n"
    "neither end a word nor make one, and what can't be printed doesn't make one either. Spaces\n"
    "that don't break a line part words, unless the environment has POSIXLY_CORRECT.";

constexpr const char* examples =
    "Examples:\n"
    "  weir-wordcount README.md\n"
    "  LC_ALL=C.UTF-8 wc -lwm README.md        the same\n"
    "  seq 10 | weir-wordcount                 the standard input\n"
    "  weir-wordcount --shards 1 FILE          all on one core, in turns\n"
    "  weir-wordcount --record run.svg FILE    then open run.svg in a browser\n";

using namespace weir;
using namespace weir::pipeline;
using namespace wordcount;

constexpr const char* standard_input = "-";

struct options : apps::pipeline_options {
    std::vector<std::string> paths;
    bool named = true;  // by the command line
    std::size_t block_kib = 256;
};

struct counts {
    std::uint64_t lines = 0;
    std::uint64_t words = 0;
    std::uint64_t characters = 0;
    counts& operator+=(const counts& other) {
        lines += other.lines;
        words += other.words;
        characters += other.characters;
        return *this;
    }
};

template <typename Counter>
auto counting(std::string name, Counter zero) {
    return named(std::move(name), reduce(std::move(zero), [](Counter& so_far, const block& next) {
                     so_far.add(next.bytes());
                 }));
}

// [wordcount]
program count_into(counts& result, source_of<block> from) {
    return from >>
           fanout(counting("lines", line_counter()),
                  fanout(counting("words", word_counter(std::make_shared<character_classes>())),
                         counting("characters", character_counter()))) >>
           for_each([&result](const auto& of) {
               result.lines = of.first.total();
               result.words = of.second.first.total();
               result.characters = of.second.second.total();
           });
}
// [/wordcount]

source_of<block> input(const std::string& path, const options& chosen) {
    const std::size_t block_bytes = chosen.block_kib * 1024;
    if (path == standard_input) {
        return descriptor_blocks(STDIN_FILENO, {.name = "stdin", .buffer_bytes = block_bytes});
    }
    return file_blocks(path, {.read = {.buffer_bytes = block_bytes, .depth = 4}});
}

/// As wide as wc makes its columns: by the sizes of all files, if they are files.
int width_of(const std::vector<std::string>& paths) {
    std::uint64_t sizes = 0;
    std::size_t least = 1;
    for (const std::string& path : paths) {
        struct stat status{};
        const bool known = path == standard_input ? ::fstat(STDIN_FILENO, &status) == 0
                                                  : ::stat(path.c_str(), &status) == 0;
        if (known && S_ISREG(status.st_mode)) {
            sizes += static_cast<std::uint64_t>(status.st_size);
        } else if (known) {
            least = 7;
        }
    }
    return static_cast<int>(std::max(least, std::to_string(sizes).size()));
}

/// What is said about all files.
struct report {
    std::string text;
    counts sum;
    int width = 1;
    bool good = true;

    void add(const counts& of, const std::string& name) {
        text += fmt::format("{:>{}} {:>{}} {:>{}}{}{}\n", of.lines, width, of.words, width,
                            of.characters, width, name.empty() ? "" : " ",
                            name.find('\n') == std::string::npos ? name : apps::quoted(name));
    }
};

/// returns  false if the run is over
future<bool> count(apps::runs& all, report& into, const std::string& path, const options& chosen) {
    counts result;
    if (path.empty()) {
        fmt::print(stderr, "weir-wordcount: invalid zero-length file name\n");
        into.good = false;
        co_return true;
    }
    try {
        if (!co_await all.run(count_into(result, input(path, chosen)), chosen)) {
            co_return false;
        }
    } catch (const error& failure) {
        // A recording that can't be written is no fault of what was counted.
        const bool recorded = failure.subject() == chosen.watch.record;
        fmt::print(stderr, "weir-wordcount: {}: {}\n",
                   apps::quoted(recorded ? failure.subject() : path), failure.code().message());
        into.good = false;
        if (failure.is(errc::aborted)) {
            co_return false;
        }
        if (failure.operation() == "open" && !recorded) {
            co_return true;
        }
    }
    into.add(result, chosen.named ? path : "");
    into.sum += result;
    co_return true;
}

future<> count_all(report& into, const options& chosen) {
    apps::runs all;
    std::exception_ptr failure;
    try {
        for (const std::string& each : chosen.paths) {
            if (!co_await count(all, into, each, chosen)) {
                into.good = false;
                break;
            }
        }
    } catch (...) {
        failure = std::current_exception();
    }
    co_await all.close();
    if (failure) {
        std::rethrow_exception(failure);
    }
    if (chosen.paths.size() > 1) {
        into.add(into.sum, "total");
    }
}

int run(int argc, char** argv) {
    options chosen;
    chosen.deploy.capacity = 32;  // of blocks, which are large
    CLI::App app(about, "weir-wordcount");
    app.footer(examples);
    apps::add_files(app, chosen.paths, "What to count; default, and -: the standard input");
    CLI::Option* const block =
        app.add_option("--block-kib", chosen.block_kib, "KiB read at once; a multiple of 4")
            ->capture_default_str();
    apps::between(*block, 4, 1 << 20);
    block->check([](const std::string& text) {
        return std::stoul(text) % 4 == 0 ? "" : "'" + text + "' is not a multiple of 4";
    });
    apps::add_options(app, chosen, "wordcount");
    if (const auto status = apps::parse(app, argc, argv)) {
        return *status;
    }
    if (chosen.paths.empty()) {
        chosen.named = false;
        chosen.paths.emplace_back(standard_input);
    }

    report all;
    all.width = width_of(chosen.paths);
    const int status = io::run(chosen.run, [&](host&) { return count_all(all, chosen); });
    if (std::fwrite(all.text.data(), 1, all.text.size(), stdout) != all.text.size() ||
        std::fflush(stdout) != 0) {
        fmt::print(stderr, "weir-wordcount: write stdout: {}\n",
                   std::generic_category().message(errno));
        return 1;
    }
    return status == 0 && all.good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
    fmt::print(stderr, "weir-wordcount: {}\n", e.what());
    return 1;
}
