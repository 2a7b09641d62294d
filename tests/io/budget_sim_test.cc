// SPDX-License-Identifier: Apache-2.0
// The budget under real files: on the simulator's disk, whose width and speed the test decides,
// and on the real kernel.
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/core/group.hh>
#include <weir/core/metrics.hh>
#include <weir/core/scope.hh>
#include <weir/io/budget.hh>
#include <weir/io/file.hh>
#include <weir/io/run.hh>
#include <weir/io/sim/replay.hh>
#include <weir/io/submit.hh>

using namespace weir;
using namespace std::chrono_literals;
namespace sim = io::sim;

namespace {

constexpr std::size_t block = 16 << 10;
constexpr std::uint64_t blocks = 64;

sim::world_options quiet(std::uint64_t) {
    sim::world_options options;
    options.disk.channels = 4;
    options.disk.read = {100us, 200us};
    options.backend.operations = 1024;
    return options;
}

future<io::file> make_file(std::string path) {
    io::file made = co_await io::file::open(
        path, {.mode = io::op::access::read_write, .create = true, .direct = true});
    co_await made.write(0, io::aligned_buffer(block * blocks).span());
    co_return made;
}

/// Reads one block after the other until told to stop.
future<> read_on(io::file& from, const bool& stop, std::uint64_t& done) {
    io::aligned_buffer into(block);
    std::uint64_t at = 0;
    while (!stop) {
        co_await from.read(at++ % blocks * block, into.span());
        ++done;
    }
}

/// A program in which groups read at once, each with so many readers, until the test ends it. What
/// it did is read from outside.
struct readers {
    unsigned many[2];
    unsigned shares[2] = {1000, 1000};
    bool stop = false;
    std::uint64_t done[2] = {0, 0};

    sim::application program() {
        return [this](host& own) -> future<> {
            const scheduling_group groups[2] = {co_await own.create_group("a", 1000, shares[0]),
                                                co_await own.create_group("b", 1000, shares[1])};
            // In the group, so that a lone group is alone.
            io::file file = co_await with_group(groups[0], [] { return make_file("/data"); });
            co_await with_scope([&](scope& all) {
                for (int i = 0; i < 2; ++i) {
                    for (unsigned n = 0; n < many[i]; ++n) {
                        all.spawn([&, i] {
                            return with_group(groups[i],
                                              [&, i] { return read_on(file, stop, done[i]); });
                        });
                    }
                }
            });
            co_await file.close();
        };
    }
};

/// Runs it for a while; returns how many reads each group has done in that time.
std::pair<double, double> count(sim::world& world, readers& program, duration time) {
    const std::uint64_t before[2] = {program.done[0], program.done[1]};
    world.run_for(time);
    return {static_cast<double>(program.done[0] - before[0]),
            static_cast<double>(program.done[1] - before[1])};
}

void end(sim::world& world, sim::sim_host& host, readers& program) {
    program.stop = true;
    REQUIRE(world.run_until([&] { return host.exited(); }, 10s));
    REQUIRE(host.failure() == "");
}

std::string path_of(const char* name) {
    return name + std::to_string(::getpid());
}

/// Writes blocks and reads them back, all at once.
future<> write_and_read(io::file& file, std::uint64_t first, std::uint64_t number) {
    co_await with_scope([&](scope& all) {
        for (std::uint64_t i = first; i < first + number; ++i) {
            all.spawn([&file, i]() -> future<> {
                io::aligned_buffer bytes(block);
                std::fill_n(bytes.data(), block, static_cast<std::byte>(i));
                co_await file.write(i * block, bytes.span());
                io::aligned_buffer back(block);
                CHECK(co_await file.read(i * block, back.span()) == block);
                CHECK(std::equal(bytes.data(), bytes.data() + block, back.data()));
            });
        }
    });
}

double value_of(const metrics_snapshot& all, std::string_view name, std::string_view group) {
    for (const metric_family& family : all.families) {
        for (const metric_sample& each : family.samples) {
            if (family.name == name && each.labels.at(0).value == group) {
                const auto* counted = std::get_if<std::uint64_t>(&each.value);
                return counted != nullptr ? static_cast<double>(*counted)
                                          : std::get<double>(each.value);
            }
        }
    }
    return -1;
}

}  // namespace

TEST_SUITE("io/budget/sim") {
    TEST_CASE("two groups that keep the device busy get what their shares say") {
        sim::explore(1, 8, quiet, [](sim::world& world) {
            readers program{.many = {64, 64}, .shares = {1000, 3000}};
            sim::sim_host& host = world.add_host("tested", 1);
            host.start(program.program());
            world.run_for(200ms);
            const auto [a, b] = count(world, program, 2s);
            CHECK(b / a == doctest::Approx(3).epsilon(0.1));
            // Four channels of 150 us and 1 ms for a MiB: the device is never short of work.
            CHECK(a + b > 0.9 * 4 * (2e6 / (150 + 1000.0 / 64)));
            end(world, host, program);
        });
    }

    TEST_CASE("a group alone gets the whole device, at any depth, and never waits") {
        sim::explore(1, 4, quiet, [](sim::world& world) {
            readers program{.many = {512, 0}};
            sim::sim_host& host = world.add_host("tested", 1);
            host.start(program.program());
            world.run_for(200ms);
            const io::budget& tested = host.machine().backend(0).budget();
            CHECK(tested.of({1}).in_flight > 500);
            const auto [a, b] = count(world, program, 1s);
            CHECK(a > 0.97 * 4 * (1e6 / (150 + 1000.0 / 64)));
            CHECK(tested.limit() == io::budget_options{}.window_max);
            CHECK(tested.of({1}).wait_ns == 0);
            end(world, host, program);
        });
    }

    TEST_CASE("a rare read does not wait behind the many of another group") {
        sim::explore(1, 4, quiet, [](sim::world& world) {
            readers program{.many = {256, 1}};
            sim::sim_host& host = world.add_host("tested", 1);
            host.start(program.program());
            world.run_for(200ms);
            const auto [a, b] = count(world, program, 1s);
            const io::budget& tested = host.machine().backend(0).budget();
            CHECK(tested.of({1}).waiting > 150);
            // Without a budget it waits for 256 of 166 us on 4 channels, 10.6 ms: 94 a second.
            CHECK(b > 450);
            end(world, host, program);
        });
    }

    TEST_CASE("the window shrinks when the disk does less at once, and grows back") {
        const auto wide = [](std::uint64_t seed) {
            sim::world_options options = quiet(seed);
            options.disk.channels = 32;
            return options;
        };
        sim::explore(1, 2, wide, [&](sim::world& world) {
            readers program{.many = {256, 256}};
            sim::sim_host& host = world.add_host("tested", 1);
            host.start(program.program());
            const io::budget& tested = host.machine().backend(0).budget();
            world.run_for(300ms);
            const double at_first = static_cast<double>(tested.window().size());
            sim::disk_options narrow = host.disk().options();
            narrow.channels = 2;
            host.disk().change(narrow);
            world.run_for(1500ms);
            const double shrunk = static_cast<double>(tested.window().size());
            CHECK(shrunk < at_first / 4);
            narrow.channels = 32;
            host.disk().change(narrow);
            world.run_for(1s);
            CHECK(static_cast<double>(tested.window().size()) > shrunk * 3);
            end(world, host, program);
        });
    }

    TEST_CASE("a disk that is slow whatever it is given is given more again") {
        sim::explore(1, 2, quiet, [&](sim::world& world) {
            readers program{.many = {64, 64}};
            sim::sim_host& host = world.add_host("tested", 1);
            sim::disk_options slow = host.disk().options();
            slow.channels = 0;
            host.disk().change(slow);
            host.start(program.program());
            world.run_for(200ms);
            slow.read = {10ms, 12ms};
            host.disk().change(slow);
            world.run_for(5s);
            const auto [a, b] = count(world, program, 1s);
            CHECK(a + b > 0.8 * 128 / 0.011);
            end(world, host, program);
        });
    }

    TEST_CASE("an aborted operation, or one whose deadline passes, leaves the line unstarted") {
        const auto narrow = [](std::uint64_t seed) {
            sim::world_options options = quiet(seed);
            options.backend.budget.window_min = options.backend.budget.window_max = 32 << 10;
            return options;
        };
        sim::explore(1, 20, narrow, [](sim::world& world) {
            sim::sim_host& host = world.add_host("tested", 1);
            host.start([](weir::host&) -> future<> {
                io::file file = co_await make_file("/data");
                const io::budget& tested = io::this_backend().budget();
                bool stop = false;
                std::uint64_t done = 0;
                future<> busy = read_on(file, stop, done);
                future<> too = read_on(file, stop, done);
                future<> third = read_on(file, stop, done);
                io::aligned_buffer bytes(block);
                std::fill_n(bytes.data(), block, std::byte{1});
                abort_source source;
                const std::uint64_t before = tested.waiting();
                future<> late = file.write(block, bytes.span(), &source);
                CHECK(tested.waiting() == before + 1);
                source.request();
                CHECK(tested.waiting() == before);
                CHECK_THROWS_AS(co_await std::move(late), error);
                CHECK_FALSE(file.stopped());
                abort_source deadline;
                deadline.abort_at(this_shard().now() + 1ns);
                bool timed_out = false;
                try {
                    co_await file.write(block, bytes.span(), &deadline);
                } catch (const error& e) {
                    timed_out = e.is(errc::timed_out);
                }
                CHECK(timed_out);
                CHECK_THROWS_AS(co_await file.read(0, bytes.span(), &source), error);
                stop = true;
                co_await std::move(busy);
                co_await std::move(too);
                co_await std::move(third);
                CHECK(co_await file.read(block, bytes.span()) == block);
                CHECK(bytes.data()[0] == std::byte{0});
                CHECK(tested.in_flight() == 0);
                co_await file.close();
            });
            REQUIRE(world.run_until([&] { return host.exited(); }, 10s));
            REQUIRE(host.failure() == "");
        });
    }
}

TEST_SUITE("io/budget/kernel") {
    TEST_CASE("through a window of a few operations all groups' bytes are written and read") {
        io::run_options options;
        options.placement.shards = 1;
        options.pin = false;
        options.handle_signals = false;
        options.uring.budget.window_min = 64 << 10;
        options.uring.budget.window_max = 128 << 10;
        capturing_log_sink log;
        options.host.log = &log;
        const std::string path = path_of("budget");
        const int status = io::run(options, [&path](host& own) -> future<> {
            const scheduling_group group = co_await own.create_group("second", 500);
            io::file file = co_await io::file::open(
                path, {.mode = io::op::access::read_write, .create = true, .data_sync = true});
            const auto both = [&](std::uint64_t first) { return write_and_read(file, first, 40); };
            co_await when_all_succeed(both(0), with_group(group, [&] { return both(40); }));
            const io::budget& tested = io::this_backend().budget();
            CHECK(tested.in_flight() == 0);
            CHECK(tested.waiting() == 0);
            const metrics_snapshot all = this_shard().metrics().snapshot(0);
            for (const char* name : {"main", "second"}) {
                INFO(name);
                CHECK(value_of(all, "weir_io_group_admitted_total", name) >= 80);
                CHECK(value_of(all, "weir_io_group_bytes_total", name) >= 80 * block);
                CHECK(value_of(all, "weir_io_group_waiting", name) == 0);
                CHECK(value_of(all, "weir_io_group_in_flight", name) == 0);
                CHECK(value_of(all, "weir_io_group_wait_seconds_total", name) > 0);
            }
            co_await file.close();
            co_await io::unlink(path);
        });
        CHECK(status == 0);
    }

    TEST_CASE("what waits in the line at the end of the program is cancelled") {
        io::run_options options;
        options.placement.shards = 1;
        options.pin = false;
        options.handle_signals = false;
        options.uring.budget.window_min = options.uring.budget.window_max = 16 << 10;
        capturing_log_sink log;
        options.host.log = &log;
        int settled = 0;
        static constexpr int many = 50;
        const std::string path = path_of("left");
        const int status = io::run(options, [&](host&) -> future<> {
            auto file = std::make_shared<io::file>(co_await io::file::open(
                path, {.mode = io::op::access::read_write, .create = true, .data_sync = true}));
            for (int i = 0; i < many; ++i) {
                auto bytes = std::make_shared<io::aligned_buffer>(block);
                file->write(static_cast<std::uint64_t>(i) * block, bytes->span())
                    .then_wrapped([&settled, file, bytes](future<> done) {
                        ++settled;
                        std::move(done).ignore();
                    })
                    .ignore();
            }
            CHECK(io::this_backend().budget().waiting() > many / 2);
        });
        CHECK(status == 0);
        CHECK(settled == many);
        ::unlink(path.c_str());
    }
}
