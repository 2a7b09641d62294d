// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/foreign.hh>
#include <weir/core/gate.hh>
#include <weir/core/group.hh>
#include <weir/core/sharded.hh>

using namespace weir;

namespace {

struct tally {
    std::atomic<int> built = 0;
    std::atomic<int> stopped = 0;
    std::atomic<int> destroyed = 0;
};

struct counter {
    counter(tally* kept, std::string name, int refusing = -1)
        : kept(kept), name(std::move(name)), home(this_shard().id()) {
        if (static_cast<int>(home) == refusing) {
            throw std::runtime_error("no room on this shard");
        }
        ++kept->built;
    }
    ~counter() {
        CHECK(this_shard().id() == home);
        ++kept->destroyed;
    }
    future<> stop() {
        CHECK(this_shard().id() == home);
        co_await yield();
        ++kept->stopped;
        if (fail_stop) {
            throw std::runtime_error("stuck");
        }
    }

    tally* kept;
    std::string name;
    shard_id home;
    int value = 0;
    bool fail_stop = false;
};

/// Keys over shards: what clients ask here is looked up where it lives, and stop() waits for those
/// clients, as a server's does.
class cache {
  public:
    explicit cache(sharded<cache>* all) : _all(*all) {}

    void serve(int clients) {
        for (int i = 0; i < clients; ++i) {
            with_gate(_serving, [this, i] { return serve_one(i); }).ignore();
        }
    }
    future<> stop() {
        _stopping = true;
        return _serving.close();
    }
    int answers() const noexcept { return _answers; }

  private:
    future<> serve_one(int key) {
        for (; !_stopping; ++key) {
            const auto home = static_cast<shard_id>(key) % this_host().shard_count();
            CHECK(co_await _all.invoke_on(
                      home, [key](cache& owner) { return owner.look_up(key); }) == key + 1);
            ++_answers;
        }
    }
    int look_up(int key) const noexcept { return key + _added; }

    sharded<cache>& _all;
    gate _serving;
    bool _stopping = false;
    int _answers = 0;
    int _added = 1;
};

// The service is stopped while the clients of each shard ask all of them.
future<> stop_under_load() {
    sharded<cache> caches;
    co_await caches.start(&caches);
    co_await caches.invoke_on_all([](cache& own) { own.serve(8); });
    while (caches.local().answers() < 50) {
        co_await yield();
    }
    co_await caches.stop();
}

void stop_under_load_often(int times) {
    for (int i = 0; i < times; ++i) {
        test::run_threads(3, [] { return stop_under_load(); });
    }
}

}  // namespace

TEST_SUITE("core/sharded") {
    TEST_CASE("a service that is stopped under load ends when no peer needs it any more") {
        stop_under_load_often(5);
    }

    // Run by its name: core_test --no-skip -tc='*a hundred times*'
    TEST_CASE("a service is stopped under load a hundred times" * doctest::skip()) {
        stop_under_load_often(100);
    }

    TEST_CASE("those that were built are stopped, too, when another can't be") {
        tally kept;
        test::run_threads(3, [&kept]() -> future<> {
            sharded<counter> counters;
            try {
                co_await counters.start(&kept, "one", 2);
                FAIL("start must fail");
            } catch (const std::runtime_error& e) {
                CHECK(std::string(e.what()) == "no room on this shard");
            }
        });
        CHECK(kept.stopped == 2);
        CHECK(kept.destroyed == 2);
    }

    TEST_CASE("on_all calls on every shard and fails as the lowest that failed") {
        test::run_threads(3, []() -> future<> {
            std::vector<unsigned> seen(3);
            co_await on_all([&seen] { seen[this_shard().id()] = this_shard().id() + 1; });
            CHECK(seen == std::vector<unsigned>{1, 2, 3});
            try {
                co_await on_all([]() -> future<> {
                    co_await yield();
                    if (this_shard().id() != 0) {
                        throw std::runtime_error(std::to_string(this_shard().id()));
                    }
                });
                FAIL("on_all must fail");
            } catch (const std::runtime_error& e) {
                CHECK(std::string(e.what()) == "1");
            }
        });
    }

    TEST_CASE("each instance is built, used, stopped and destroyed on its own shard") {
        tally kept;
        test::run_threads(3, [&kept]() -> future<> {
            sharded<counter> counters;
            co_await counters.start(&kept, std::string(40, 'n'));
            CHECK(counters.local().home == 0);
            CHECK(co_await counters.invoke_on(2, [](counter& c) { return c.home; }) == 2);
            co_await counters.invoke_on_all([](counter& c) -> future<> {
                co_await yield();
                c.value = static_cast<int>(c.home) + 1;
            });
            const auto values = co_await counters.map([](counter& c) { return c.value; });
            CHECK(values == std::vector<int>{1, 2, 3});
            const auto names = co_await counters.map_reduce(
                [](counter& c) { return c.name + std::to_string(c.value); }, std::string(),
                [](std::string sum, std::string each) { return sum + each.back(); });
            CHECK(names == "123");
            co_await counters.stop();
            co_await counters.stop();
        });
        CHECK(kept.built == 3);
        CHECK(kept.stopped == 3);
        CHECK(kept.destroyed == 3);
    }

    TEST_CASE("an instance that cannot be built leaves none, and start may be tried again") {
        tally kept;
        test::run_threads(2, [&kept]() -> future<> {
            sharded<counter> counters;
            try {
                co_await counters.start(&kept, "one", 1);
                FAIL("start must fail");
            } catch (const std::runtime_error& e) {
                CHECK(std::string(e.what()) == "no room on this shard");
            }
            CHECK_FALSE(counters.started());
            CHECK(kept.destroyed == 1);
            co_await counters.start(&kept, "two");
            co_await counters.stop();
        });
        CHECK(kept.destroyed == 3);
    }

    TEST_CASE("an instance whose stop fails is destroyed all the same") {
        tally kept;
        test::run_threads(2, [&kept]() -> future<> {
            sharded<counter> counters;
            co_await counters.start(&kept, "name");
            counters.local().fail_stop = true;
            try {
                co_await counters.stop();
                FAIL("stop must fail");
            } catch (const std::runtime_error&) {
            }
        });
        CHECK(kept.stopped == 2);
        CHECK(kept.destroyed == 2);
    }
}

TEST_SUITE("core/group") {
    TEST_CASE("a group is known on every shard, and its work runs and is counted in it") {
        test::run_threads(2, []() -> future<> {
            host& here = this_host();
            const scheduling_group batch = co_await here.create_group("batch", 200);
            const scheduling_group other = co_await here.create_group("other", 100);
            CHECK(batch.index != other.index);
            const scheduling_group seen =
                co_await with_group(batch, []() -> future<scheduling_group> {
                    co_await yield();
                    co_return co_await on(1, [] {
                        CHECK(this_shard().scheduler().name(this_shard().context().group) ==
                              "batch");
                        return this_shard().context().group;
                    });
                });
            CHECK(seen == batch);
            CHECK(this_shard().context().group.index == 0);
            CHECK(this_shard().scheduler().counters(batch).tasks >= 2);
            co_await here.set_group_shares(batch, 300);
            CHECK(co_await with_group(scheduling_group{0}, [] { return 7; }) == 7);
        });
    }

    TEST_CASE("a group without shares is refused: it would never run") {
        test::run_threads(2, []() -> future<> {
            host& here = this_host();
            const auto refused = [](future<> asked) -> future<bool> {
                try {
                    co_await std::move(asked);
                } catch (const error& e) {
                    co_return e.is_errno(EINVAL);
                }
                co_return false;
            };
            const scheduling_group known = co_await here.create_group("known", 100);
            CHECK(co_await refused(here.create_group("none", 0).then([](auto) {})));
            CHECK(co_await refused(here.set_group_shares(known, 0)));
            CHECK(co_await refused(here.set_group_io_shares(known, 0)));
            co_await here.create_group("none", 1);  // nothing of it was left
        });
    }

    TEST_CASE("a group's name is unique and the number of groups has a limit") {
        test::run_threads(2, []() -> future<> {
            host& here = this_host();
            errc cause{};
            auto create = [&](std::string name) -> future<> {
                try {
                    co_await here.create_group(std::move(name), 100);
                } catch (const error& e) {
                    cause = static_cast<errc>(e.code().value());
                }
            };
            co_await create("main");
            CHECK(cause == errc::duplicate);
            cause = {};
            for (unsigned i = 1; i < scheduler::max_groups; ++i) {
                co_await create("group " + std::to_string(i));
            }
            CHECK(cause == errc{});
            co_await create("one too many");
            CHECK(cause == errc::limit_exceeded);
        });
    }
}

TEST_SUITE("core/foreign") {
    TEST_CASE("a thread without a shard calls one and gets the value or the failure") {
        // Kept until the threads have ended. Exceptions are counted inside libstdc++, where
        // ThreadSanitizer doesn't see that the last of two threads to let go of one comes last.
        std::shared_future<void> failing;
        test::run_threads(2, [&failing]() -> future<> {
            promise<> done;
            future<> ended = done.get_future();
            std::thread foreign([&done, &failing, &owner = this_host()] {
                CHECK(call_from_outside(owner, 1, [] { return this_shard().id(); }).get() == 1);
                auto text = std::string(100, 't');
                CHECK(call_from_outside(owner, 1, [text]() -> future<std::string> {
                          co_await yield();
                          co_return text;
                      }).get() == text);
                failing =
                    call_from_outside(owner, 0, [] { throw std::runtime_error("silt"); }).share();
                CHECK_THROWS_WITH(failing.get(), "silt");
                call_from_outside(owner, 0, [&done] { done.set_value(); });
            });
            co_await std::move(ended);
            foreign.join();
        });
    }

    TEST_CASE("calls from outside above the limit are refused, not queued") {
        host_options options;
        options.mesh.foreign_calls = 2;
        test::bare_poller outside;
        host owner(options);
        shard& only = owner.add_shard(0, outside);
        owner.connect();
        std::vector<std::future<int>> results;
        for (int i = 0; i < 3; ++i) {
            results.push_back(call_from_outside(owner, 0, [i] { return i; }));
        }
        CHECK_THROWS_AS(results[2].get(), error);
        CHECK(only.port().counters().foreign_refused == 1);
        const shard_scope scope(&only);
        only.turn();
        CHECK(results[0].get() == 0);
        CHECK(results[1].get() == 1);
    }

    TEST_CASE("a stop that is still in a shard's line goes with the host, after that line") {
        test::bare_poller outside;
        host owner({});
        owner.add_shard(0, outside);
        owner.connect();
        owner.request_stop();
        CHECK(owner.stop_requested());
    }
}
