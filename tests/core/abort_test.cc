// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/abort.hh>
#include <weir/core/sleep.hh>

using namespace weir;
using namespace std::chrono_literals;

namespace {

bool is(const std::exception_ptr& failure, errc cause) {
    try {
        std::rethrow_exception(failure);
    } catch (const error& e) {
        return e.is(cause);
    } catch (...) {
        return false;
    }
}

}  // namespace

TEST_SUITE("core/abort") {
    TEST_CASE("a request tells every subscriber once, in order, and later ones not at all") {
        test::bare_shard shard;
        abort_source source;
        std::vector<int> told;
        abort_callback first(source, [&](const std::exception_ptr&) { told.push_back(1); });
        abort_callback second(source, [&](const std::exception_ptr&) { told.push_back(2); });
        CHECK_FALSE(source.requested());
        CHECK(source.request());
        CHECK_FALSE(source.request());
        CHECK(told == std::vector<int>{1, 2});
        CHECK(is(source.reason(), errc::aborted));
        CHECK_THROWS_AS(source.check(), error);
        abort_callback late(source, [&](const std::exception_ptr&) { told.push_back(3); });
        CHECK(told == std::vector<int>{1, 2, 3});
    }

    TEST_CASE("a subscriber may take another one away while the request is under way") {
        test::bare_shard shard;
        abort_source source;
        bool told = false;
        auto forget = [&told](const std::exception_ptr&) { told = true; };
        std::unique_ptr<abort_callback<decltype(forget)>> second;
        abort_callback first(source, [&](const std::exception_ptr&) { second.reset(); });
        second = std::make_unique<abort_callback<decltype(forget)>>(source, forget);
        source.request();
        CHECK_FALSE(told);
    }

    TEST_CASE("a parent's request is its children's, with its reason, and not the reverse") {
        test::bare_shard shard;
        abort_source parent;
        abort_source child(parent);
        abort_source grandchild(child);
        abort_source other(parent);
        other.request();
        CHECK_FALSE(parent.requested());
        parent.request(std::make_exception_ptr(std::runtime_error("flood")));
        CHECK(grandchild.requested());
        CHECK_THROWS_WITH(grandchild.check(), "flood");
        abort_source late(grandchild);
        CHECK(late.requested());
    }

    TEST_CASE("a child that ends before its parent is forgotten") {
        test::bare_shard shard;
        abort_source parent;
        {
            abort_source child(parent);
        }
        CHECK(parent.request());
    }

    TEST_CASE("a source with a deadline requests itself then, with errc::timed_out") {
        test::bare_shard shard;
        abort_source source;
        source.abort_at(shard.outside.time + 5ms);
        CHECK(source.deadline() == shard.outside.time + 5ms);
        shard.pass(4ms);
        CHECK_FALSE(source.requested());
        shard.pass(1ms);
        CHECK(is(source.reason(), errc::timed_out));
        abort_source spared;
        spared.abort_at(shard.outside.time + 5ms);
        spared.abort_at(never);
        shard.pass(10ms);
        CHECK_FALSE(spared.requested());
    }

    TEST_CASE("with_deadline gives what the work gives in time") {
        test::bare_shard shard;
        promise<std::string> work;
        auto result = with_deadline(shard.outside.time + 1ms, work.get_future());
        work.set_value("in time");
        CHECK(shard.wait(std::move(result)) == "in time");
        shard.pass(2ms);
        CHECK(this_shard().timers().size() == 0);
    }

    TEST_CASE("with_deadline fails at its instant, and late work ends unobserved") {
        test::bare_shard shard;
        promise<int> work;
        promise<int> failing;
        auto result = with_deadline(shard.outside.time + 1ms, work.get_future());
        auto other = with_deadline(shard.outside.time + 1ms, failing.get_future());
        shard.pass(1ms);
        REQUIRE(result.failed());
        CHECK(is(result.take_failure(), errc::timed_out));
        CHECK(is(other.take_failure(), errc::timed_out));
        work.set_value(3);
        failing.set_failure(std::make_exception_ptr(std::runtime_error("too late")));
        shard.settle();
    }

    TEST_CASE("a deadline from now on for ever never passes") {
        test::bare_shard shard;
        shard.pass(1h);
        promise<int> work;
        auto result = with_deadline(this_shard().now() + duration::max(), work.get_future());
        abort_source* given = nullptr;
        auto other = with_deadline(this_shard().now() + forever, [&given](abort_source& source) {
            CHECK(source.deadline() == never);
            given = &source;
            return sleep_for(forever, source).then_wrapped([](future<> ended) {
                std::move(ended).ignore();
                return 2;
            });
        });
        shard.pass(24h);
        CHECK_FALSE(result.available());
        CHECK_FALSE(other.available());
        work.set_value(1);
        CHECK(shard.wait(std::move(result)) == 1);
        given->request();  // nothing else ends it
        CHECK(shard.wait(std::move(other)) == 2);
    }

    TEST_CASE("a deadline that nobody waits for any more keeps no timer, nor does late work") {
        test::bare_shard shard;
        promise<int> work;
        promise<int> failing;
        {
            auto dropped = with_deadline(shard.outside.time + 1h, work.get_future());
            with_deadline(shard.outside.time + 1h, failing.get_future()).ignore();
        }
        CHECK(this_shard().timers().size() == 0);
        work.set_value(1);
        failing.set_failure(std::make_exception_ptr(std::runtime_error("unseen")));
        abort_source source;
        auto late = with_deadline(shard.outside.time + 1ms, sleep_for(1h));
        auto aborted = with_abort(source, sleep_for(1h));
        shard.pass(1ms);
        source.request();
        CHECK(is(late.take_failure(), errc::timed_out));
        CHECK(is(aborted.take_failure(), errc::aborted));
        CHECK(this_shard().timers().size() == 0);
    }

    TEST_CASE("a deadline that is dropped in the turn in which its work ends lets it go") {
        test::bare_shard shard;
        promise<int> work;
        {
            auto dropped = with_deadline(shard.outside.time + 1ms, work.get_future());
            work.set_value(1);
        }
        shard.pass(1ms);
        CHECK(this_shard().timers().size() == 0);
    }

    TEST_CASE("work that ends in the turn of its deadline has one result") {
        test::bare_shard shard;
        promise<int> work;
        auto result = with_deadline(shard.outside.time + 1ms, work.get_future());
        work.set_value(3);  // its task is in line when the timer fires
        shard.pass(1ms);
        CHECK(is(result.take_failure(), errc::timed_out));
    }

    TEST_CASE("with_deadline over a function triggers its source and waits for its end") {
        test::bare_shard shard;
        bool cleaned = false;
        auto result =
            with_deadline(shard.outside.time + 1ms, [&cleaned](abort_source& source) -> future<> {
                try {
                    co_await sleep_for(1h, source);
                } catch (const error&) {
                    cleaned = true;
                    throw;
                }
            });
        shard.pass(1ms);
        CHECK(cleaned);
        CHECK(is(result.take_failure(), errc::timed_out));
    }

    TEST_CASE("with_abort fails with the reason as soon as the source is triggered") {
        test::bare_shard shard;
        abort_source source;
        promise<int> work;
        auto result = with_abort(source, work.get_future());
        auto already = with_abort(source, make_ready_future<int>(1));
        CHECK(already.take() == 1);
        source.request(std::make_exception_ptr(std::runtime_error("drain")));
        CHECK_THROWS_WITH(result.take(), "drain");
        promise<int> second;
        auto refused = with_abort(source, second.get_future());
        CHECK_THROWS_WITH(refused.take(), "drain");
        work.set_value(1);
        second.set_value(2);
        shard.settle();
    }
}

TEST_SUITE("core/sleep") {
    TEST_CASE("a sleeper wakes at the first turn at or after its time, the earliest first") {
        test::bare_shard shard;
        std::vector<int> woken;
        auto sleeper = [&](int name, duration time) -> future<> {
            co_await sleep_for(time);
            woken.push_back(name);
        };
        future<> slow = sleeper(1, 3ms);
        future<> quick = sleeper(2, 1ms);
        future<> none = sleeper(3, 0ms);
        CHECK(woken == std::vector<int>{3});
        shard.pass(1ms - 1ns);
        CHECK(woken == std::vector<int>{3});
        shard.pass(1ns);
        CHECK(woken == std::vector<int>{3, 2});
        shard.pass(1h);
        CHECK(woken == std::vector<int>{3, 2, 1});
    }

    TEST_CASE("an aborted sleep fails with the reason and leaves no timer behind") {
        test::bare_shard shard;
        abort_source source;
        future<> asleep = sleep_for(1h, source);
        source.request();
        CHECK(is(asleep.take_failure(), errc::aborted));
        CHECK(this_shard().timers().size() == 0);
        CHECK(is(sleep_for(1h, source).take_failure(), errc::aborted));
    }

    TEST_CASE("a sleep that nobody waits for any more ends quietly") {
        test::bare_shard shard;
        abort_source source;
        {
            future<> dropped = sleep_for(1ms, source);
        }
        {
            future<> dropped = sleep_for(1ms);
        }
        CHECK(this_shard().timers().size() == 0);
        sleep_for(1h).ignore();
        CHECK(this_shard().timers().size() == 0);
        source.request();
    }

    TEST_CASE("a sleep for ever never ends, at whatever time it begins") {
        test::bare_shard shard;
        shard.pass(1h);
        future<> endless = sleep_for(duration::max());
        abort_source source;
        future<> until = sleep_for(forever, source);
        shard.pass(24h * 365);
        CHECK_FALSE(endless.available());
        CHECK_FALSE(until.available());
        source.request();
        CHECK(is(until.take_failure(), errc::aborted));
    }
}
