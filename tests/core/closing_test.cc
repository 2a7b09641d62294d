// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <stdexcept>
#include <string>

#include <tests/support/bare_host.hh>

#include <weir/core/closing.hh>
#include <weir/core/gate.hh>

using namespace weir;

namespace {

// Must be closed before it goes, as most of what is closed.
struct sluice {
    sluice() = default;
    explicit sluice(const char* failure) : failing(failure) {}
    sluice(sluice&& other) noexcept
        : failing(other.failing), closed(std::exchange(other.closed, true)) {}
    ~sluice() { CHECK(closed); }
    future<> close() {
        co_await yield();
        closed = true;
        if (failing != nullptr) {
            throw std::runtime_error(failing);
        }
    }
    const char* failing = nullptr;
    bool closed = false;
};

struct service {
    future<> stop() {
        ++stopped;
        return make_ready_future();
    }
    void close() { FAIL("stop() ends more than close()"); }
    int stopped = 0;
};

}  // namespace

TEST_SUITE("core/closing") {
    TEST_CASE("what is opened is closed when the work has ended, and its value comes through") {
        test::bare_shard shard;
        promise<> slow;
        sluice gate;
        auto result = with_closing(gate, [&slow](sluice& own) -> future<std::string> {
            co_await slow.get_future();
            CHECK_FALSE(own.closed);
            co_return "level";
        });
        shard.settle();
        CHECK_FALSE(gate.closed);
        slow.set_value();
        CHECK(shard.wait(std::move(result)) == "level");
        CHECK(gate.closed);
        CHECK(shard.wait(with_closing(sluice(), [](sluice&) { return 3; })) == 3);
        shard.wait(
            with_closing(std::make_unique<sluice>(), [](sluice& own) { own.failing = nullptr; }));
        service kept;
        shard.wait(with_closing(&kept, [](service&) {}));
        CHECK(kept.stopped == 1);
        weir::gate door;
        shard.wait(with_closing(door, [](weir::gate& own) { (void)own.hold(); }));
        CHECK(door.closed());
    }

    TEST_CASE("work that fails, at once or later, closes too, and its failure is told") {
        test::bare_shard shard;
        CHECK_THROWS_WITH(
            shard.wait(with_closing(
                sluice(), [](sluice&) -> future<int> { throw std::runtime_error("leak"); })),
            "leak");
        auto at_once = [](sluice&) { throw std::runtime_error("burst"); };
        CHECK_THROWS_WITH(shard.wait(with_closing(sluice("stuck"), at_once)), "burst");
    }

    TEST_CASE("an end that fails is told if the work did not") {
        test::bare_shard shard;
        CHECK_THROWS_WITH(shard.wait(with_closing(sluice("stuck"), [](sluice&) { return 1; })),
                          "stuck");
    }
}
