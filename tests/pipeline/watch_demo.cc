// SPDX-License-Identifier: Apache-2.0
// For tests in a browser: weir_watch_demo RECORDING. Runs a pipeline that never ends beside an
// admin page, prints the page's address, and ends at the end of its input. Before that it leaves
// the recording of a short run.
#include <cstdio>
#include <string>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/io/run.hh>
#include <weir/io/submit.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/watch.hh>
#include <weir/pipeline/watch_board.hh>

namespace {

using namespace weir::pipeline;
using weir::future;
using weir::host;

// Words, counted by two copies and measured by a third stage; a store that answers late.
auto words() {
    const auto letters = [](const std::string& word) { return word.size(); };
    const auto hash = [](const std::string& word) {
        std::size_t value = 7;
        for (int round = 0; round < 40; ++round) {
            for (const char each : word) {
                value = value * 31 + static_cast<unsigned char>(each);
            }
        }
        return value;
    };
    return named("split", map([](int i) { return "word" + std::to_string(i % 5000); })) >>
           fanout(named("letters", map(letters)), shard<2>(named("hash", map(hash)))) >>
           named("add up", fold(std::size_t{0},
                                [](std::size_t& sum, const auto& both) {
                                    return sum += both.first + both.second % 2;
                                })) >>
           named("store", map_async(16, [](std::size_t sum) -> future<std::size_t> {
                     co_await weir::sleep_for(std::chrono::microseconds(400));
                     co_return sum;
                 }));
}

auto count_to(int end) {
    return generate(
        [i = 0, end]() mutable { return i == end ? std::optional<int>() : std::optional(i++); });
}

future<> serve(std::string recording) {
    co_await run_watched(
        count_to(2000) >> words() >> discard(), {.capacity = 64},
        {.record = recording, .recording = {.title = "words into a slow store", .elements = 3}});
    watch_board board;
    weir::net::admin_options options;
    options.at = weir::net::address::loopback(0);
    options.title = "watch";
    weir::net::admin_server page(options);
    board.add_to(page);
    co_await page.start();
    page.set_ready();
    {
        const auto slow = co_await deploy(count_to(-1) >> words() >> discard(), {.capacity = 64});
        const auto busy = co_await deploy(
            count_to(-1) >> named("square", map([](int i) { return i * i % 1009; })) >>
                loop(std::vector<int>{0, 0}, named("mix", map([](const auto& both) {
                                                       int value = both.first;
                                                       for (int round = 0; round < 200; ++round) {
                                                           value =
                                                               (value * 31 + both.second) % 10007;
                                                       }
                                                       return std::pair(value, value % 13);
                                                   }))) >>
                discard(),
            {.capacity = 256});
        const auto first = board.show(*slow, "words into a slow store");
        const auto second = board.show(*busy, "a loop");
        std::printf("%s\n", page.where().to_string().c_str());
        std::fflush(stdout);
        char byte = 0;
        const iovec part{&byte, 1};
        while (co_await weir::io::submit(weir::io::op::read{0, 0, &part, 1}) > 0) {
        }
        co_await slow->stop();
        co_await busy->stop();
        co_await slow->join();
        co_await busy->join();
    }
    co_await page.stop();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: weir_watch_demo RECORDING\n");
        return 2;
    }
    weir::io::run_options options;
    options.placement.shards = 2;
    return weir::io::run(options, [path = std::string(argv[1])](host&) { return serve(path); });
}
