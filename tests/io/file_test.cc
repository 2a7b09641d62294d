// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/core/scope.hh>
#include <weir/core/sleep.hh>
#include <weir/io/budget.hh>
#include <weir/io/file.hh>
#include <weir/io/run.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/replay.hh>
#include <weir/io/submit.hh>

using namespace weir;
using namespace std::chrono_literals;
namespace sim = io::sim;

namespace {

std::string path_of(const char* name) {
    return name + std::to_string(::getpid());
}

io::file::options for_writing() {
    return {.mode = io::op::access::read_write, .create = true, .truncate = true};
}

iovec part_of(std::string& text) {
    return {text.data(), text.size()};
}

/// Runs `body` on both, with a budget of its own, and a disk that cuts operations short.
void with_budget(const io::budget_options& budget, const test::program& body) {
    const auto options = [&](std::uint64_t) {
        sim::world_options rough;
        rough.backend.budget = budget;
        rough.faults[sim::fault::short_read] = 100'000;
        rough.faults[sim::fault::short_write] = 100'000;
        rough.faults[sim::fault::interrupted] = 100'000;
        return rough;
    };
    sim::explore(1, 10, options, [&](sim::world& world) {
        sim::sim_host& host = world.add_host("tested", 1);
        host.start(body);
        REQUIRE(world.run_until([&] { return host.exited(); }, 600s));
        REQUIRE(host.failure() == "");
    });
    io::run_options real;
    real.placement.shards = 1;
    real.pin = false;
    real.handle_signals = false;
    real.uring.budget = budget;
    CHECK(io::run(real, body) == 0);
}

std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>((i * 2654435761U + seed) >> 13);
    }
    return bytes;
}

const io::budget& budget_here() {
    return io::this_backend().budget();
}

}  // namespace

TEST_SUITE("io/file") {
    TEST_CASE("a write of nothing succeeds, and stops nothing") {
        test::on_both([](host&) -> future<> {
            const std::string path = path_of("nothing");
            io::file::options how = for_writing();
            how.data_sync = true;
            io::file tried = co_await io::file::open(path, how);
            std::string text = "text", none;
            co_await tried.write(0, std::span<const std::byte>());
            co_await tried.write(0, std::vector<iovec>());
            co_await tried.write(100, std::vector<iovec>(3000, part_of(none)));
            co_await tried.allocate(0, 0);
            CHECK(co_await tried.size() == 0);
            std::vector<iovec> some(2000, part_of(none));
            some.push_back(part_of(text));
            some.push_back(part_of(none));
            co_await tried.write(0, some);
            CHECK(co_await tried.size() == 4);
            CHECK(!tried.stopped());
            co_await tried.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE(
        "a file that is closed while writes wait for their turn gets them, and no other does") {
        // One operation fills the window: the others wait.
        io::budget_options narrow;
        narrow.window_min = narrow.window_max = 4096;
        with_budget(narrow, [](host&) -> future<> {
            const std::string path = path_of("closed"), other_path = path_of("other");
            io::file written = co_await io::file::open(path, for_writing());
            const auto bytes = pattern(5 * 8192);
            std::vector<future<>> writes;
            for (std::uint64_t i = 0; i < 5; ++i) {
                writes.push_back(written.write(i * 8192, std::span(bytes).subspan(i * 8192, 8192)));
            }
            CHECK(budget_here().waiting() > 0);
            CHECK(written.under_way() == 5);
            future<> closed = written.close();
            CHECK(!written.is_open());
            io::file other = co_await io::file::open(other_path, for_writing());
            co_await std::move(closed);
            CHECK(written.under_way() == 0);
            for (auto& each : writes) {
                co_await std::move(each);
            }
            CHECK(co_await other.size() == 0);
            co_await other.close();
            io::file again = co_await io::file::open(path, {});
            std::vector<std::byte> back(bytes.size() + 1);
            CHECK(co_await again.read(0, back) == bytes.size());
            back.pop_back();
            CHECK(back == bytes);
            co_await again.close();
            co_await io::unlink(path);
            co_await io::unlink(other_path);
        });
    }

    TEST_CASE("a file may be moved, and destroyed, while operations are under way") {
        io::budget_options narrow;
        narrow.window_min = narrow.window_max = 4096;
        with_budget(narrow, [](host&) -> future<> {
            const std::string path = path_of("moved");
            const auto bytes = pattern(3 * 8192);
            std::vector<future<>> writes;
            {
                io::file first = co_await io::file::open(path, for_writing());
                writes.push_back(first.write(0, std::span(bytes).first(8192)));
                writes.push_back(first.write(8192, std::span(bytes).subspan(8192, 8192)));
                io::file second = std::move(first);
                writes.push_back(second.write(16384, std::span(bytes).subspan(16384)));
                CHECK(second.under_way() == 3);
            }
            for (auto& each : writes) {
                co_await std::move(each);
            }
            io::file again = co_await io::file::open(path, {});
            CHECK(co_await again.size() == bytes.size());
            co_await again.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("files that go without close() are closed, also when there is no memory") {
        sim::world world(1);
        sim::sim_host& host = world.add_host("tested", 1);
        host.start([](class host&) -> future<> {
            std::vector<io::file> files;
            for (int i = 0; i < 100; ++i) {  // more than a pool keeps blocks for
                files.push_back(co_await io::file::open("left", for_writing()));
            }
            sim::memory::fail(0, UINT64_MAX);
            files.clear();
            sim::memory::stop_failing();
            co_await sleep_for(1s);
        });
        REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
        CHECK(host.failure() == "");
    }

    TEST_CASE(
        "whichever allocation of a close or of a directory's sync fails, no descriptor is lost") {
        sim::world_options few;
        few.network.descriptors = 16;
        sim::world world(1, few);
        sim::sim_host& host = world.add_host("tested", 1);
        host.start([](class host&) -> future<> {
            co_await io::make_directories("/a folder with a long name");
            for (int i = 0; i < 20; ++i) {
                bool met = true;
                for (std::uint64_t first = 0; met; ++first) {
                    auto left =
                        co_await io::file::open("/a folder with a long name/left", for_writing());
                    sim::memory::fail(first, 1);
                    try {
                        co_await io::sync_directory("/a folder with a long name");
                        co_await left.close();
                    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): may be
                    } catch (...) {
                        sim::memory::stop_failing();
                        throw;
                    }
                    met = sim::memory::stop_failing() > 0;
                }
            }
        });
        REQUIRE(world.run_until([&] { return host.exited(); }, 60s));
        CHECK(host.failure() == "");
    }

    TEST_CASE("large reads and writes go in pieces, and others have turns between them") {
        io::budget_options small;
        small.operation_bytes_max = 64 << 10;
        small.direct_operation_bytes_max = 128 << 10;
        small.window_min = small.window_max = (64 << 10) + small.operation_cost;
        with_budget(small, [](host&) -> future<> {
            constexpr std::size_t size = 4 << 20;
            const std::string path = path_of("large");
            io::file whole = co_await io::file::open(path, for_writing());
            auto bytes = pattern(size + 100);
            const scheduling_group group = this_shard().context().group;
            std::uint64_t most = 0;
            unsigned others = 0;
            bool ended = false;
            const auto look_on = [&]() -> future<> {
                std::byte one{};
                while (!ended) {
                    most = std::max(most, budget_here().in_flight());
                    co_await whole.read(0, {&one, 1});
                    ++others;
                }
            };
            future<> looking = look_on();
            const std::uint64_t before = budget_here().of(group).admitted;
            std::vector<iovec> parts;
            for (std::size_t at = 0; at < bytes.size(); at += 100'000) {
                parts.push_back(
                    {bytes.data() + at, std::min<std::size_t>(100'000, bytes.size() - at)});
            }
            co_await whole.write(0, parts);
            std::vector<std::byte> back(bytes.size() + 1);
            CHECK(co_await whole.read(0, back) == bytes.size());
            ended = true;
            co_await std::move(looking);
            back.pop_back();
            CHECK(back == bytes);
            CHECK(budget_here().of(group).admitted - before >= 2 * size / (64 << 10));
            CHECK(others > 2 * size / (64 << 10) / 2);  // a turn for each piece, or nearly
            CHECK(most <= 2 * ((64 << 10) + (16 << 10)));
            co_await whole.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("a large direct read gives what is there, whatever ends early, and so it fails") {
        io::budget_options small;
        small.direct_operation_bytes_max = 16 << 10;
        with_budget(small, [](host&) -> future<> {
            const std::string path = path_of("direct");
            io::file::options how = for_writing();
            how.direct = true;
            io::file whole = co_await io::file::open(path, how);
            io::aligned_buffer bytes(200 << 10), back(400 << 10);
            std::ranges::copy(pattern(bytes.size()), bytes.data());
            co_await whole.write(0, bytes.span());
            CHECK(co_await whole.read(0, back.span()) == bytes.size());
            CHECK(std::equal(bytes.data(), bytes.data() + bytes.size(), back.data()));
            CHECK(co_await whole.read(100 << 10, back.span().first(64 << 10)) == 64 << 10);
            CHECK(std::equal(back.data(), back.data() + (64 << 10), bytes.data() + (100 << 10)));
            co_await whole.truncate(50'000);
            CHECK(co_await whole.read(0, back.span()) == 50'000);
            abort_source give_up;
            give_up.request();
            bool failed = false;
            try {
                co_await whole.read(0, back.span(), &give_up);
            } catch (const error& e) {
                failed = e.is(errc::aborted);
            }
            CHECK(failed);
            CHECK(whole.under_way() == 0);
            co_await whole.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("who is interrupted writes on, and a data_sync file is not stopped by it") {
        with_budget({}, [](host&) -> future<> {
            const std::string path = path_of("interrupted");
            io::file::options how = for_writing();
            how.data_sync = true;
            io::file written = co_await io::file::open(path, how);
            const auto bytes = pattern(100);
            for (std::uint64_t i = 0; i < 50; ++i) {
                co_await written.write(i * bytes.size(), bytes);
                co_await written.sync();
            }
            CHECK(!written.stopped());
            CHECK(co_await written.size() == 50 * bytes.size());
            co_await written.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("limits of pieces that are none are refused") {
        io::budget_options wrong;
        for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1000}, UINT64_MAX}) {
            wrong.operation_bytes_max = bytes;
            CHECK_THROWS_AS(wrong.check(), error);
        }
    }
}
