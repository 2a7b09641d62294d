// SPDX-License-Identifier: Apache-2.0
#include <tests/support/bare_host.hh>

#include <weir/core/gate.hh>

using namespace weir;

TEST_SUITE("core/gate") {
    TEST_CASE("a closed gate refuses who comes and waits for who is inside") {
        test::bare_shard shard;
        gate door;
        CHECK(door.try_enter());
        auto inside = door.hold();
        CHECK(door.inside() == 2);
        future<> empty = door.close();
        CHECK_FALSE(door.try_enter());
        CHECK_THROWS_AS(door.enter(), error);
        CHECK_FALSE(empty.available());
        door.leave();
        CHECK_FALSE(empty.available());
        inside = {};
        CHECK(empty.available());
    }

    TEST_CASE("an empty gate closes at once") {
        test::bare_shard shard;
        gate door;
        CHECK(door.close().available());
    }

    TEST_CASE("with_gate holds the gate until the work has ended, however") {
        test::bare_shard shard;
        gate door;
        promise<int> work;
        auto result = with_gate(door, [&work] { return work.get_future(); });
        auto failing = with_gate(door, []() -> int { throw std::runtime_error("weed"); });
        CHECK_THROWS_WITH(failing.take(), "weed");
        CHECK(door.inside() == 1);
        future<> empty = door.close();
        CHECK_THROWS_AS(with_gate(door, [] { return 1; }).take(), error);
        work.set_value(4);
        CHECK(shard.wait(std::move(result)) == 4);
        CHECK(empty.available());
    }
}
