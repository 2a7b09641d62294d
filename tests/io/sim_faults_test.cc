// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <set>

#include <doctest/doctest.h>
#include <io/sim_bench.hh>

namespace sim = weir::io::sim;
namespace op = weir::io::op;
using sim::fault;
using weir::test::sim_bench;
using namespace std::chrono_literals;

namespace {

sim::world_options always(fault which) {
    sim::world_options options;
    options.faults[which] = 1'000'000;
    return options;
}

struct alignas(512) sector_buffer {
    explicit sector_buffer(int value) { std::fill(std::begin(bytes), std::end(bytes), value); }
    iovec part(std::size_t length = 2048) { return {bytes, length}; }
    unsigned char bytes[2048];
};

}  // namespace

TEST_SUITE("io/sim/faults") {
    TEST_CASE("each fault of a file operation strikes and is counted") {
        const std::pair<fault, std::int32_t> writes[] = {{fault::write_error, -EIO},
                                                         {fault::no_space, -ENOSPC}};
        for (const auto& [kind, result] : writes) {
            sim_bench tested(1, always(kind));
            auto& machine = tested.add("a");
            sector_buffer buffer(1);
            const iovec part = buffer.part();
            CHECK(tested.run(machine, op::write{tested.open(machine, "/f"), 0, &part, 1}) ==
                  result);
            CHECK(tested.run(machine, op::write{tested.open(machine, "/g", true), 0, &part, 1}) ==
                  result);
            CHECK(tested.world.faults().injected(kind) == 2);
            CHECK(tested.world.faults().never_struck().size() == 3);  // those of a power cut
        }
        for (const fault kind : {fault::short_read, fault::read_error, fault::short_write}) {
            sim_bench tested(1, always(kind));
            auto& machine = tested.add("a");
            sector_buffer buffer(1);
            const iovec part = buffer.part();
            const int fd = tested.open(machine, "/f", true);
            const auto written = tested.run(machine, op::write{fd, 0, &part, 1});
            CHECK(written % 512 == 0);
            CHECK((written < 2048) == (kind == fault::short_write));
            const auto read = tested.run(machine, op::read{fd, 0, &part, 1});
            CHECK((kind == fault::read_error ? read == -EIO : read % 512 == 0));
            CHECK((kind != fault::short_read || read < 2048));
            CHECK(tested.world.faults().injected(kind) == 1);
        }
    }

    TEST_CASE(
        "a sync that fails loses the data, the next one succeeds and does not bring it back") {
        sim_bench tested(1, always(fault::sync_error));
        auto& machine = tested.add("a");
        const int fd = tested.open(machine, "/f");
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
        CHECK(tested.run(machine, op::sync{fd}) == -EIO);
        tested.world.faults().stop();
        CHECK(tested.run(machine, op::sync{fd}) == 0);
        const auto directory = tested.run(machine, op::open{.path = "/", .directory = true});
        CHECK(tested.run(machine, op::sync{directory}) == 0);
        const auto durable = machine.disk().durable_bytes("/f");
        CHECK(durable == std::vector<std::byte>(2048));
    }

    TEST_CASE("a sync that lies says yes and keeps nothing") {
        sim_bench tested(1, always(fault::sync_lie));
        auto& machine = tested.add("a");
        const int fd = tested.open(machine, "/f", true, true);
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
        CHECK(tested.run(machine, op::sync{fd}) == 0);
        CHECK(machine.disk().durable_bytes("/f").empty());
        CHECK(tested.world.faults().injected(fault::sync_lie) >= 1);
    }

    TEST_CASE("two direct writes in flight leave each sector to either of them") {
        std::set<std::vector<int>> seen;
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            sim_bench tested(seed);
            auto& machine = tested.add("a");
            const int fd = tested.open(machine, "/f", true);
            sector_buffer one(1);
            sector_buffer two(2);
            const iovec first = one.part();
            const iovec second = two.part();
            auto& a = tested.start(machine, op::write{fd, 0, &first, 1});
            auto& b = tested.start(machine, op::write{fd, 0, &second, 1});
            tested.pass(100ms);
            REQUIRE(a.done);
            REQUIRE(b.done);
            const auto left = machine.disk().bytes("/f");
            std::vector<int> sectors;
            for (std::size_t i = 0; i < left.size(); i += 512) {
                sectors.push_back(static_cast<int>(left[i]));
                CHECK((sectors.back() == 1 || sectors.back() == 2));
            }
            seen.insert(sectors);
        }
        CHECK(seen.size() > 4);  // mixtures, not only one or the other
    }

    TEST_CASE("a buffer that changes under a direct write may be written either way") {
        std::set<int> seen;
        for (std::uint64_t seed = 1; seed <= 30; ++seed) {
            sim_bench tested(seed);
            auto& machine = tested.add("a");
            const int fd = tested.open(machine, "/f", true);
            sector_buffer buffer(1);
            const iovec part = buffer.part(512);
            auto& write = tested.start(machine, op::write{fd, 0, &part, 1});
            buffer.bytes[0] = 2;
            tested.pass(100ms);
            REQUIRE(write.done);
            seen.insert(static_cast<int>(machine.disk().bytes("/f")[0]));
        }
        CHECK(seen == std::set<int>{1, 2});
    }

    TEST_CASE("a write in flight at a power cut is there by sectors") {
        std::set<std::vector<int>> seen;
        for (std::uint64_t seed = 1; seed <= 100; ++seed) {
            sim_bench tested(seed);
            auto& machine = tested.add("a");
            const int fd = tested.open(machine, "/f", true, true);
            sector_buffer one(1);
            const iovec first = one.part();
            REQUIRE(tested.run(machine, op::write{fd, 0, &first, 1}) == 2048);
            const int directory = tested.run(machine, op::open{.path = "/", .directory = true});
            REQUIRE(tested.run(machine, op::sync{directory}) == 0);
            sector_buffer two(2);
            const iovec second = two.part();
            tested.start(machine, op::write{fd, 0, &second, 1});
            tested.world.power_cut(*tested.world.hosts()[0]);
            const auto left = machine.disk().bytes("/f");
            REQUIRE(left.size() == 2048);
            seen.insert({static_cast<int>(left[0]), static_cast<int>(left[512]),
                         static_cast<int>(left[1024]), static_cast<int>(left[1536])});
        }
        CHECK(seen.contains({1, 1, 1, 1}));
        CHECK(seen.contains({2, 2, 2, 2}));
        CHECK(seen.size() > 4);
    }

    TEST_CASE("a killed process's writes stay in the kernel, a power cut may take them") {
        sim_bench tested(1);
        auto& machine = tested.add("a");
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        const int fd = tested.open(machine, "/f");
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
        tested.world.kill(*tested.world.hosts()[0]);
        CHECK(machine.disk().bytes("/f").size() == 2048);
        CHECK(machine.powered());
        machine.boot(1);
        const int again = tested.open(machine, "/f");
        CHECK(again == fd);  // descriptors start anew
        CHECK(tested.run(machine, op::read{again, 0, &part, 1}) == 2048);
    }

    TEST_CASE("direct operations must be aligned") {
        sim_bench tested(1);
        auto& machine = tested.add("a");
        const int fd = tested.open(machine, "/f", true);
        sector_buffer buffer(1);
        const iovec good = buffer.part(512);
        const iovec short_length = buffer.part(100);
        const iovec odd_address{buffer.bytes + 1, 512};
        CHECK(tested.run(machine, op::write{fd, 0, &good, 1}) == 512);
        CHECK(tested.run(machine, op::write{fd, 100, &good, 1}) == -EINVAL);
        CHECK(tested.run(machine, op::write{fd, 0, &short_length, 1}) == -EINVAL);
        CHECK(tested.run(machine, op::write{fd, 0, &odd_address, 1}) == -EINVAL);
        CHECK(tested.run(machine, op::read{fd, 1, &good, 1}) == -EINVAL);
    }

    TEST_CASE(
        "without descriptors nothing opens, listens, accepts or connects, and nothing is made") {
        sim::world_options options;
        options.faults[fault::no_descriptor] = 1'000'000;
        sim_bench tested(1, options);
        auto& machine = tested.add("a");
        tested.world.faults().stop();
        const int listener = tested.listen(machine, 80);
        REQUIRE(listener >= 0);
        auto& accepting = tested.start(machine, op::accept{listener});
        const int client = tested.connect(machine, machine, 80);
        REQUIRE(client >= 0);
        tested.pass(100ms);
        REQUIRE(accepting.outcomes.size() == 1);
        tested.world.faults().resume();
        const auto refused = [](std::int32_t result) {
            return result == -EMFILE || result == -ENFILE;
        };
        CHECK(refused(tested.run(machine, op::open{.path = "/f", .create = true})));
        CHECK(machine.disk().used() == 0);
        CHECK(tested.run(machine, op::unlink{.path = "/f"}) == -ENOENT);
        CHECK(refused(tested.listen(machine, 81)));
        CHECK(refused(tested.connect(machine, machine, 80)));
        CHECK(tested.world.faults().injected(fault::no_descriptor) == 3);
    }

    TEST_CASE("memory is refused to anything but a sync and a close") {
        sim::world_options options;
        options.faults[fault::no_memory] = 1'000'000;
        sim_bench tested(1, options);
        auto& machine = tested.add("a");
        CHECK(tested.run(machine, op::open{.path = "/f", .create = true}) == -ENOMEM);
        tested.world.faults().stop();
        const int fd = tested.open(machine, "/f");
        tested.world.faults().resume();
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == -ENOMEM);
        CHECK(tested.run(machine, op::sync{fd}) == 0);
        CHECK(tested.run(machine, op::close{fd}) == 0);
        CHECK(tested.world.faults().injected(fault::no_memory) == 2);
    }

    TEST_CASE("who is interrupted asks again, until it looks as if that were for ever") {
        sim::world_options options;
        options.faults[fault::interrupted] = 500'000;
        sim_bench tested(1, options);
        auto& machine = tested.add("a");
        const int fd = tested.open(machine, "/f", true, true);
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        for (int i = 0; i < 20; ++i) {
            CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
            CHECK(tested.run(machine, op::sync{fd}) == 0);
        }
        CHECK(tested.world.faults().injected(fault::interrupted) > 10);

        sim_bench hopeless(1, always(fault::interrupted));
        const auto given_up = hopeless.run(hopeless.add("a"), op::open{.path = "/f"});
        CHECK((given_up == -EINTR || given_up == -EAGAIN));
        CHECK(hopeless.world.faults().injected(fault::interrupted) == 256);
    }

    TEST_CASE("an accept and a receive end early with a good result, and may be asked again") {
        sim_bench tested(1, always(fault::short_multishot));
        auto& machine = tested.add("a");
        const auto fds = tested.connected(machine, machine);
        for (int i = 0; i < 3; ++i) {
            auto& receiving = tested.start(machine, op::receive{fds.server});
            CHECK(tested.send(machine, fds.client, "x") == 1);
            tested.pass(100ms);
            REQUIRE(receiving.done);
            REQUIRE(receiving.outcomes.size() == 1);
            CHECK(receiving.result() == 1);
            machine.backend(0).release(receiving.outcomes[0].buffer);
        }
        CHECK(tested.world.faults().injected(fault::short_multishot) == 4);
    }

    TEST_CASE(
        "a byte at rest that rots is rotten for readers and after a power cut, and no other") {
        sim_bench tested(1);
        auto& machine = tested.add("a");
        sector_buffer buffer(1);
        const iovec part = buffer.part();
        const int fd = tested.open(machine, "/f", false, true);
        const int dirty = tested.open(machine, "/g");
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
        CHECK(tested.run(machine, op::write{dirty, 0, &part, 1}) == 2048);
        CHECK(!machine.disk().spoil("/f", 2048));
        CHECK(!machine.disk().spoil("/none", 0));
        REQUIRE(machine.disk().spoil("/f", 700, 0x10));
        REQUIRE(machine.disk().spoil("/g", 700));
        CHECK(machine.disk().durable_bytes("/g").empty());  // it became no more durable
        auto expected = std::vector<std::byte>(2048, std::byte{1});
        expected[700] = std::byte{0x11};
        CHECK(machine.disk().bytes("/f") == expected);
        const int directory = tested.run(machine, op::open{.path = "/", .directory = true});
        REQUIRE(tested.run(machine, op::sync{directory}) == 0);
        CHECK(machine.disk().durable_bytes("/f") == expected);
        tested.world.power_cut(*tested.world.hosts()[0]);
        CHECK(machine.disk().bytes("/f") == expected);
    }

    TEST_CASE("rot comes by itself, a bit at a time, where the plan has it") {
        sim_bench tested(1, always(fault::bit_rot));
        auto& machine = tested.add("a");
        sector_buffer buffer(0);
        const iovec part = buffer.part();
        const int fd = tested.open(machine, "/f");
        CHECK(tested.run(machine, op::write{fd, 0, &part, 1}) == 2048);
        tested.world.run_for(30s);
        const auto strikes = tested.world.faults().injected(fault::bit_rot);
        CHECK(strikes > 15);
        const auto left = machine.disk().bytes("/f");
        CHECK(left.size() == 2048);
        CHECK(static_cast<std::uint64_t>(std::ranges::count(left, std::byte{0})) >= 2048 - strikes);
        CHECK(std::ranges::count(left, std::byte{0}) < 2048);
    }

    TEST_CASE("the swarm turns each survivable fault on for some seeds and off for others") {
        for (std::size_t i = 0; i < sim::fault_count; ++i) {
            const auto kind = static_cast<fault>(i);
            int on = 0;
            for (std::uint64_t seed = 0; seed < 100; ++seed) {
                on += sim::fault_plan::swarm(seed)[kind] != 0;
            }
            CAPTURE(sim::to_string(kind));
            if (kind == fault::sync_lie || kind == fault::junk_anything || kind == fault::bit_rot) {
                CHECK(on == 0);
            } else {
                CHECK((on > 20 && on < 80));
            }
        }
    }
}
