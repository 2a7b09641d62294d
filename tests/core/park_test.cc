// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <tests/support/bare_host.hh>

#include <weir/core/host.hh>

namespace weir {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

/// A poller whose clock moves by a microsecond each time that it is read, and whose sleep lasts
/// and ends as the test says.
class scripted_poller final : public test::bare_poller {
  public:
    instant now() noexcept override { return time += microseconds(1); }
    void submit() override { ++submits; }
    void submit_before_park() override { ++left_to_park; }
    void park(instant) override {
        ++parks;
        time += sleep;
        if (bell != nullptr) {
            bell->ring(1);
        }
    }

    duration sleep = milliseconds(1);
    weir::bell* bell = nullptr;  // rings and ends the sleep
    int submits = 0;
    int left_to_park = 0;
    int parks = 0;
};

class parking_shard {
  public:
    parking_shard() : _scope((_host.add_shard(0, outside), _host.connect(), &_host.at(0))) {}
    shard& it() { return _host.at(0); }
    void turn_and_park(int times) {
        for (int i = 0; i < times; ++i) {
            it().park(it().turn());
        }
    }
    /// Until spinning in vain has ended spinning.
    void stop_spinning() { turn_and_park(20); }

    scripted_poller outside;

  private:
    host _host{host_options{}};
    shard_scope _scope;
};

}  // namespace

TEST_SUITE("core/park") {
    TEST_CASE("a shard that spins submits before it does, one that sleeps at once leaves it") {
        parking_shard tested;
        tested.turn_and_park(1);
        CHECK(tested.outside.submits == 1);
        CHECK(tested.outside.left_to_park == 0);
        tested.stop_spinning();
        const int submits = tested.outside.submits, parks = tested.outside.parks;
        tested.turn_and_park(10);
        CHECK(tested.outside.submits == submits);
        CHECK(tested.outside.parks == parks + 10);
    }

    TEST_CASE("what the turn left to park is submitted when a bell keeps the shard awake") {
        parking_shard tested;
        tested.stop_spinning();
        const instant next = tested.it().turn();
        const int submits = tested.outside.submits, parks = tested.outside.parks;
        tested.it().bell().ring(1);
        tested.it().park(next);
        CHECK(tested.outside.submits == submits + 1);
        CHECK(tested.outside.parks == parks);
    }

    TEST_CASE("a shard spins again when a bell ends its sleep early, and only then") {
        parking_shard tested;
        tested.stop_spinning();
        bool spins = false;
        SUBCASE("a bell, soon") {
            tested.outside.bell = &tested.it().bell();
            tested.outside.sleep = microseconds(20);
            spins = true;
        }
        SUBCASE("a bell, late") {
            tested.outside.bell = &tested.it().bell();
        }
        SUBCASE("a completion, soon") {
            tested.outside.sleep = microseconds(20);
        }
        tested.turn_and_park(1);
        tested.outside.bell = nullptr;
        const int submits = tested.outside.submits;
        tested.turn_and_park(1);
        CHECK(tested.outside.submits - submits == (spins ? 1 : 0));
    }
}

}  // namespace weir
