// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include <doctest/doctest.h>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/io/file.hh>
#include <weir/io/sim/replay.hh>

namespace sim = weir::io::sim;
using weir::future;
using namespace std::chrono_literals;

namespace {

struct counts_destruction {
    explicit counts_destruction(int& count) : count(count) {}
    ~counts_destruction() { ++count; }
    int& count;
};

future<> hold_for_ever(int& destroyed) {
    const auto held = std::make_unique<counts_destruction>(destroyed);
    // NOLINTNEXTLINE(bugprone-unused-local-non-trivial-variable): memory that a leak would show
    const std::string text(1000, 'x');
    co_await weir::sleep_for(1h);
}

future<> write_synced(std::string path, std::string text) {
    auto file = co_await weir::io::file::open(
        path, {.mode = weir::io::op::access::read_write, .create = true});
    co_await file.write(0, std::as_bytes(std::span(text)));
    co_await file.sync();
    co_await weir::io::sync_directory("/");
    co_await file.close();
}

future<std::string> read_all(std::string path) {
    auto file = co_await weir::io::file::open(path, {});
    std::string text(co_await file.size(), '\0');
    co_await file.read(0, std::as_writable_bytes(std::span(text)));
    co_await file.close();
    co_return text;
}

future<> call_back_and_forth(unsigned times) {
    for (unsigned i = 0; i < times; ++i) {
        co_await weir::on(1, [] { return weir::this_shard().id(); });
        co_await weir::sleep_for(10us);
    }
}

}  // namespace

TEST_SUITE("io/sim/world") {
    TEST_CASE("waiting for a time by yielding ends, since a turn takes time") {
        sim::world world(1);
        auto& host = world.add_host("a", 1);
        host.start([](weir::host&) -> future<> {
            const auto end = weir::this_shard().now() + 1ms;
            while (weir::this_shard().now() < end) {
                co_await weir::yield();
            }
        });
        CHECK(world.run_until([&] { return host.exited(); }, 1s));
    }

    TEST_CASE("a killed host's memory comes back as a list, without destructors") {
        int destroyed = 0;
        sim::world world(1);
        auto& host = world.add_host("a", 2);
        host.start([&](weir::host&) { return hold_for_ever(destroyed); });
        world.run_for(1s);
        REQUIRE(sim::memory::tagged());
        CHECK(host.machine().memory().bytes > 1000);
        world.kill(host);
        CHECK(!host.running());
        CHECK(destroyed == 0);
        world.restart(host);
        CHECK(host.starts() == 2);
        world.run_for(1s);
        CHECK(host.running());
    }

    TEST_CASE("what a program synced is there after a power cut and a restart") {
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            CAPTURE(seed);
            sim::world world(seed);
            auto& host = world.add_host("a", 1);
            std::string found;
            host.start([&](weir::host&) -> future<> {
                if (co_await weir::io::exists("/note")) {
                    const std::string text = co_await read_all("/note");
                    const sim::memory::outside guard;
                    found = text;
                } else {
                    co_await write_synced("/note", "remember");
                    co_await weir::sleep_for(1h);
                }
            });
            world.run_for(1s);
            world.power_cut(host);
            world.run_for(1s);
            world.restart(host);
            CHECK(world.run_until([&] { return host.exited(); }, 1s));
            CHECK(host.failure() == "");
            CHECK(found == "remember");
        }
    }

    TEST_CASE("a program's failure is kept, and a stop reaches who waits for it") {
        sim::world world(1);
        auto& failing = world.add_host("failing", 1);
        failing.start([](weir::host&) -> future<> { co_await read_all("/missing"); });
        auto& waiting = world.add_host("waiting", 2);
        waiting.start([](weir::host& host) { return host.until_stop(); });
        world.run_for(1s);
        CHECK(failing.exited());
        CHECK(failing.failure().find("/missing") != std::string::npos);
        CHECK(waiting.running());
        world.stop(waiting);
        world.run_for(1s);
        CHECK(waiting.exited());
    }

    TEST_CASE("hosts have clocks of their own that never go back") {
        sim::world world(1);
        auto& a = world.add_host("a", 1).machine();
        auto& b = world.add_host("b", 1).machine();
        CHECK(a.clock().local(world.now()) != b.clock().local(world.now()));
        for (int i = 0; i < 1000; ++i) {
            const weir::instant before = world.now();
            world.run_for(duration_cast<weir::duration>(997ns * (i + 1)));
            CHECK(a.clock().local(world.now()) > a.clock().local(before));
            const weir::instant local = a.clock().local(world.now());
            CHECK(a.clock().local(a.clock().world(local)) >= local);
        }
        const auto wall = a.clock().wall(world.now());
        a.clock().step_wall(-5000);
        CHECK(a.clock().wall(world.now()) == wall - 5000);
    }

    TEST_CASE("a run that depends on where its memory lies is found out") {
        const auto honest = [](sim::world& world) {
            auto& host = world.add_host("a", 2);
            host.start([](weir::host&) { return call_back_and_forth(200); });
            world.run_until([&] { return host.exited(); }, 10s);
        };
        CHECK(sim::compare_runs(1, {}, honest) == "");
        const auto address_dependent = [&](sim::world& world) {
            honest(world);
            const auto one = std::make_unique<char[]>(100);
            world.note(reinterpret_cast<std::uintptr_t>(one.get()));
        };
        const std::string parted = sim::compare_runs(1, {}, address_dependent);
        CHECK(parted.find("part at event") != std::string::npos);
        CHECK(parted.find("note") != std::string::npos);
        const auto fill_dependent = [&](sim::world& world) {
            const std::unique_ptr<char[]> raw(new char[8]);  // not initialized, and read
            const volatile char* look = raw.get();
            world.note(static_cast<unsigned char>(look[0]));
            honest(world);
        };
        CHECK(sim::compare_runs(1, {}, fill_dependent) != "");
    }

    TEST_CASE("the canary of the lost bell is found within ten seeds, and there is none without") {
        for (const bool canary : {false, true}) {
            unsigned hung = 0;
            for (std::uint64_t seed = 1; seed <= 10; ++seed) {
                sim::world world(seed);
                weir::host_options options;
                options.name = "a";
                options.shards = 2;
                if (canary) {
                    options.canaries.insert("lost_bell");
                }
                auto& host = world.add_host(options);
                host.start([](weir::host&) { return call_back_and_forth(50); });
                hung += !world.run_until([&] { return host.exited(); }, 10s);
            }
            CHECK((canary ? hung > 0 : hung == 0));
        }
    }

    TEST_CASE("random faults of whole hosts strike, and afterwards everything heals") {
        std::uint64_t cuts = 0;
        const auto options = [](std::uint64_t) {
            sim::world_options chosen;
            for (const auto kind :
                 {sim::fault::power_cut, sim::fault::process_kill, sim::fault::partition,
                  sim::fault::one_way_partition, sim::fault::clog, sim::fault::wall_clock_step}) {
                chosen.faults[kind] = 200'000;
            }
            return chosen;
        };
        const auto scenario = [&](sim::world& world) {
            auto& a = world.add_host("a", 2);
            auto& b = world.add_host("b", 1);
            for (auto* host : {&a, &b}) {
                host->start([](weir::host& own) { return own.until_stop(); });
            }
            world.run_for(60s);
            world.stop_faults();
            const auto before = world.faults().injected();
            world.run_for(60s);
            CHECK(world.faults().injected() == before);
            CHECK(a.running());
            CHECK(b.running());
            CHECK(!world.net().blocked(a.machine(), b.machine()));
            cuts += a.starts() + b.starts() - 2;
        };
        const auto result = sim::explore(1, 10, options, scenario, true);
        CHECK(cuts > 10);
        CHECK(result.faults.injected(sim::fault::partition) > 0);
        CHECK(result.faults.injected(sim::fault::one_way_partition) > 0);
        CHECK(result.faults.injected(sim::fault::clog) > 0);
        CHECK(result.faults.injected(sim::fault::wall_clock_step) > 0);
        CHECK(result.report().find("power_cut") != std::string::npos);
    }
}
