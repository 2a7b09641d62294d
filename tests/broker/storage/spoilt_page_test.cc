// SPDX-License-Identifier: Apache-2.0
// Devices that keep less than weir asks for: those that may spoil any sector on its way when the
// power goes, and those that call durable what is not.
#include <map>

#include "bed.hh"
#include "crash.hh"

namespace weir::broker {

using namespace storage_test;
using io::sim::fault;

namespace {

io::sim::fault_plan spoiling() {
    io::sim::fault_plan plan = io::sim::fault_plan::none();
    plan[fault::junk_sector] = 300'000;
    plan[fault::junk_anything] = 300'000;
    return plan;
}

crash_statistics run_seeds(std::uint64_t first, std::uint64_t count,
                           const io::sim::fault_plan& plan, crash_settings settings) {
    crash_statistics all;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        crash_run run(seed, {}, plan, settings);
        const auto broken = run.rounds(6);
        INFO("seed ", seed);
        REQUIRE(broken.value_or("") == "");
        all += run.statistics;
    }
    MESSAGE("acknowledged ", all.acknowledged, ", cuts ", all.power_cuts, ", torn tails ",
            all.torn_tails, ", restored ", all.restored_tails, ", reopened ", all.reopened,
            ", refused ", all.refusals);
    return all;
}

/// Appends until the power goes, on a device that lies about what is durable, and opens the log
/// again on an honest one.
class lie_run {
  public:
    lie_run(std::uint64_t seed, std::uint32_t parts_per_million)
        : _on(seed, [&] {
              io::sim::world_options options;
              options.faults[fault::sync_lie] = parts_per_million;
              return options;
          }()) {
        _options.segment_bytes = 24 << 10;
        _options.max_batch_bytes = 8 << 10;
        _options.max_commit_bytes = 8 << 10;
    }

    enum class outcome { whole, shorter, refused };

    outcome run() {
        _on.start([this] { return append(); });
        _on.world.run_for(duration(_on.world.random().between(1'000'000, 60'000'000)));
        REQUIRE(_on.host.running());
        _on.world.power_cut(_on.host);
        _on.world.faults().stop();
        outcome met = outcome::whole;
        _on.run([this, &met]() -> future<> { met = co_await look(); });
        return met;
    }

  private:
    future<> append() {
        co_await io::make_directories("/data/t-0");
        recent_memory recent(0);
        auto opened = co_await log::open("/data/t-0", _options, recent);
        static constexpr std::size_t sizes[] = {8, 200, 200, 700, 2000, 6000};
        for (std::uint64_t value = 1;; ++value) {
            const auto result =
                co_await opened->append(batch_of(value, 1, sizes[this_shard().random() % 6]));
            const outside world;
            _acknowledged.push_back(value);
            CHECK(result.base_offset + 1 == static_cast<std::int64_t>(_acknowledged.size()));
        }
    }

    future<outcome> look() {
        co_await io::make_directories("/data/t-0");
        recent_memory recent(0);
        std::unique_ptr<log> opened;
        try {
            opened = co_await log::open("/data/t-0", _options, recent);
        } catch (const error& e) {
            CHECK(e.is(errc::corrupt));
            co_return outcome::refused;
        }
        // Whatever is there is there as it was acknowledged: nothing else, no gap, no other order.
        outcome met = outcome::whole;
        try {
            const std::vector<std::uint64_t> there =
                co_await read_all(*opened, opened->start_offset());
            const auto start = static_cast<std::uint64_t>(opened->start_offset());
            CHECK(there == numbers(start + 1, there.size()));
            CHECK(start + there.size() <= _acknowledged.size() + 1);
            met = there.size() < _acknowledged.size() ? outcome::shorter : outcome::whole;
        } catch (const error& e) {
            CHECK(e.is(errc::corrupt));  // in a segment whose end is good
            met = outcome::refused;
        }
        co_await opened->close();
        co_return met;
    }

    bed _on;
    log_options _options = small_options();
    std::vector<std::uint64_t> _acknowledged;
};

}  // namespace

TEST_SUITE("broker/storage/spoilt page") {
    TEST_CASE("with a tail copy nothing is lost when any sector on its way may be junk") {
        const auto met = run_seeds(1, 150, spoiling(), {.tail_copy = true});
        CHECK(met.acknowledged > 1000);
        CHECK(met.restored_tails > 20);
        CHECK(met.torn_tails > 20);
    }

    TEST_CASE("the same with errors, short transfers, full disks and failed syncs between") {
        io::sim::fault_plan plan = spoiling();
        plan[fault::write_error] = 3000;
        plan[fault::sync_error] = 3000;
        plan[fault::no_space] = 5000;
        plan[fault::short_write] = 20000;
        plan[fault::short_read] = 20000;
        const auto met = run_seeds(1000, 100, plan, {.tail_copy = true});
        CHECK(met.reopened > 10);
        CHECK(met.restored_tails > 10);
    }

    TEST_CASE("with a tail copy an honest device loses nothing either") {
        const auto met = run_seeds(2000, 60, io::sim::fault_plan::none(), {.tail_copy = true});
        CHECK(met.torn_tails > 0);
    }

    TEST_CASE("without a tail copy junk ends in a refusal, never in a silent loss") {
        const auto met = run_seeds(3000, 200, spoiling(), {.may_refuse = true});
        CHECK(met.refusals > 50);
    }

    TEST_CASE("a copy that is not made is found within 20 seeds") {
        std::optional<std::string> broken;
        std::uint64_t seed = 0;
        while (!broken && ++seed <= 20) {
            crash_run run(seed, {"missing-tail-copy"}, spoiling(), {.tail_copy = true});
            broken = run.rounds(6);
        }
        MESSAGE("seed ", seed, ": ", broken.value_or("not found"));
        CHECK(broken);
    }

    TEST_CASE("of what a lying device lost the rest is in order, or the start is refused") {
        std::map<lie_run::outcome, int> met;
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            CAPTURE(seed);
            lie_run run(seed, 200'000);
            ++met[run.run()];
        }
        MESSAGE("whole ", met[lie_run::outcome::whole], ", shorter ",
                met[lie_run::outcome::shorter], ", refused ", met[lie_run::outcome::refused]);
        CHECK(met[lie_run::outcome::whole] > 0);
        CHECK(met[lie_run::outcome::shorter] > 0);
        CHECK(met[lie_run::outcome::refused] > 10);
    }
}

}  // namespace weir::broker
