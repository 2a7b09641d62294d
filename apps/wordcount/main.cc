// SPDX-License-Identifier: Apache-2.0
// Lines, words and characters of a file, counted side by side: what wc -lwm prints.
#include <cstdio>
#include <exception>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <support/pipeline_app.hh>
#include <sys/stat.h>
#include <unistd.h>
#include <wordcount/count.hh>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/descriptors.hh>
#include <weir/pipeline/files.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

constexpr const char* about =
    "Prints the lines, words and characters of a file, or of the standard input, as wc -lwm does\n"
    "in a UTF-8 locale. One stage reads blocks of the file, and three others count, each on a "
    "core\n"
    "if there are enough; all three look at the same blocks, which nobody copies.\n"
    "A character is a code point. Bytes that are not valid UTF-8 don't count as characters and\n"
    "neither end a word nor make one, and what can't be printed doesn't make one either.";

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

struct options : apps::pipeline_options {
    std::string path = "-";
    std::size_t block_kib = 256;
};

struct counts {
    std::uint64_t lines = 0;
    std::uint64_t words = 0;
    std::uint64_t characters = 0;
    bool whole = false;
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

source_of<block> input(const options& chosen) {
    const std::size_t block_bytes = chosen.block_kib * 1024;
    if (chosen.path == "-") {
        return descriptor_blocks(STDIN_FILENO, {.name = "stdin", .buffer_bytes = block_bytes});
    }
    return file_blocks(chosen.path, {.read = {.buffer_bytes = block_bytes, .depth = 4}});
}

future<> count(counts& result, const options& chosen) {
    result.whole = co_await apps::run_to_end(count_into(result, input(chosen)), chosen);
}

/// As wide as wc makes its columns: by the size of the file, if it is one.
int width_of(const std::string& path) {
    struct stat status{};
    const bool known =
        path == "-" ? ::fstat(STDIN_FILENO, &status) == 0 : ::stat(path.c_str(), &status) == 0;
    return known && S_ISREG(status.st_mode)
               ? static_cast<int>(std::to_string(status.st_size).size())
               : 7;
}

int run(int argc, char** argv) {
    options chosen;
    chosen.deploy.capacity = 32;  // of blocks, which are large
    CLI::App app(about, "weir-wordcount");
    app.footer(examples);
    app.add_option("FILE", chosen.path, "What to count; default: the standard input");
    app.add_option("--block-kib", chosen.block_kib, "KiB read at once; a multiple of 4")
        ->check([](const std::string& text) {
            const bool good = !text.empty() && text.size() < 8 &&
                              text.find_first_not_of("0123456789") == std::string::npos &&
                              std::stoul(text) % 4 == 0 && std::stoul(text) > 0;
            return good ? std::string() : "it takes a positive multiple of 4, not " + text;
        })
        ->capture_default_str();
    apps::add_options(app, chosen, "wordcount");
    CLI11_PARSE(app, argc, argv);

    counts result;
    const int status = io::run(chosen.run, [&](host&) { return count(result, chosen); });
    if (status != 0 || !result.whole) {
        return 1;
    }
    const int width = width_of(chosen.path);
    fmt::print("{:>{}} {:>{}} {:>{}}{}\n", result.lines, width, result.words, width,
               result.characters, width, chosen.path == "-" ? "" : " " + chosen.path);
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
    fmt::print(stderr, "weir-wordcount: {}\n", e.what());
    return 1;
}
