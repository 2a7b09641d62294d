// SPDX-License-Identifier: Apache-2.0
// What a process says of its bugs and of failures that nobody looked at.
#include <stdexcept>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>
#include <tests/support/child.hh>

#include <weir/core/call.hh>
#include <weir/core/semaphore.hh>
#include <weir/core/shared_future.hh>

using namespace weir;

namespace {

/// A host of two shards, in one thread.
struct two_shards {
    explicit two_shards(log_sink* log = nullptr) : owner(options(log)) {
        owner.add_shard(0, outside[0]);
        owner.add_shard(1, outside[1]);
        owner.connect();
    }
    static host_options options(log_sink* log) {
        host_options made;
        made.shards = 2;
        made.log = log;
        return made;
    }
    test::bare_poller outside[2];
    host owner;
};

// Runs `body` in a process of its own, on shard 0 of two.
test::child_end on_two_shards(const std::function<void(two_shards&)>& body) {
    return test::in_child([&body] {
        two_shards both;
        const shard_scope scope(&both.owner.at(0));
        body(both);
        return 0;
    });
}

future<> await(future<>& awaited) {
    co_await std::move(awaited);
}

future<> fails_after_a_while() {
    co_await yield();
    throw std::runtime_error("the dam broke");
}

// The one line that tells of a failure that went unseen.
std::string told(const std::function<void()>& body) {
    capturing_log_sink log;
    two_shards both(&log);
    {
        const shard_scope scope(&both.owner.at(0));
        body();
        for (int i = 0; i < 3; ++i) {
            this_shard().turn();
        }
    }
    REQUIRE(log.lines().size() == 1);
    return log.lines().front();
}

bool has(const std::string& line, std::string_view text) {
    return line.find(text) != std::string::npos;
}

}  // namespace

TEST_SUITE("core/diagnosis") {
    TEST_CASE("an assertion names its shard and the calls that led to it") {
        const auto end = on_two_shards([](two_shards& both) {
            const shard_scope scope(&both.owner.at(1));
            WEIR_ASSERT(1 + 1 == 3);
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("shard 1: "));
        CHECK(end.says("assertion failed: 1 + 1 == 3"));
        CHECK(end.says("on_two_shards"));
    }

    TEST_CASE("a call to a shard that is not there names it, and how many there are") {
        const auto end = on_two_shards([](two_shards&) { on(9, [] {}).ignore(); });
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("shard 0: a call to shard 9: this host has 2"));
        const auto asked = on_two_shards([](two_shards& both) { both.owner.at(2).turn(); });
        CHECK(asked.says("shard 2: this host has 2"));
    }

    TEST_CASE("a future that is awaited on another shard names both") {
        const auto end = on_two_shards([](two_shards& both) {
            promise<> source;
            future<> awaited = source.get_future();
            const shard_scope scope(&both.owner.at(1));
            await(awaited).ignore();
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("shard 1: a future of shard 0 was used here"));
    }

    TEST_CASE("a promise that is settled on another shard names both") {
        for (const bool fails : {false, true}) {
            const auto end = on_two_shards([fails](two_shards& both) {
                promise<> source;
                const future<> awaited = source.get_future();
                const shard_scope scope(&both.owner.at(1));
                fails ? source.set_failure(std::make_exception_ptr(1)) : source.set_value();
            });
            CHECK(end.signal == SIGABRT);
            CHECK(end.says("shard 1: a promise of shard 0 was used here"));
        }
    }

    TEST_CASE("units that are given back on another shard than that of who waits name both") {
        const auto end = on_two_shards([](two_shards& both) {
            semaphore shared(0);
            const auto waiting = shared.acquire();
            const shard_scope scope(&both.owner.at(1));
            shared.release();
        });
        CHECK(end.says("shard 1: a promise of shard 0 was used here"));
    }

    TEST_CASE("a second who waits for the stop is told that there is one") {
        const auto end = on_two_shards([](two_shards& both) {
            const future<> first = both.owner.until_stop();
            const future<> second = both.owner.until_stop();
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("until_stop() is waited for already"));
    }

    TEST_CASE("who waits for the stop may leave, and another come") {
        two_shards both;
        const shard_scope scope(&both.owner.at(0));
        {
            const future<> dropped = both.owner.until_stop();
        }
        const future<> second = both.owner.until_stop();
        both.owner.request_stop();
        this_shard().turn();
        CHECK(second.available());
    }

    TEST_CASE(
        "a failure that nobody looks at names the coroutine that it left, and who dropped it") {
        const std::string line = told([] { (void)fails_after_a_while(); });
        CHECK(has(line, "the dam broke"));
        CHECK(has(line, "made=\"(anonymous namespace)::fails_after_a_while()"));
        CHECK(has(line, "backtrace="));
    }

    TEST_CASE("a failure that nobody looks at names the line where it was made") {
        const std::string made = told([] { (void)make_failed_future(std::runtime_error("made")); });
        CHECK(has(made, "diagnosis_test.cc:"));
        CHECK(has(made, "::told"));  // the backtrace
        const std::string broken = told([] {
            promise<> source;
            (void)source.get_future();
            source.set_failure(std::make_exception_ptr(std::runtime_error("set")));
        });
        CHECK(has(broken, "diagnosis_test.cc:"));
        const std::string thrown =
            told([] { (void)futurize([] { throw std::runtime_error("thrown"); }); });
        CHECK(has(thrown, "diagnosis_test.cc:"));
    }

    TEST_CASE("a failure keeps its origin on its way through continuations and shared futures") {
        const std::string passed = told([] {
            (void)make_failed_future(std::runtime_error("made")).then([] {}).then([] {
                return make_ready_future<int>(1);
            });
        });
        CHECK(has(passed, "diagnosis_test.cc:"));
        const std::string shared = told([] { const shared_future<> kept(fails_after_a_while()); });
        CHECK(has(shared, "fails_after_a_while"));
    }

    TEST_CASE("what is no std::exception is told by its type") {
        CHECK(has(told([] { (void)make_failed_future(std::make_exception_ptr(7)); }),
                  "a thrown int"));
        CHECK(what_of(std::make_exception_ptr("reeds")) == "reeds");
        struct flood {};
        CHECK(has(what_of(std::make_exception_ptr(flood{})), "flood"));
    }

    TEST_CASE("a flood of failures costs no names beyond what the log lets pass") {
        capturing_log_sink log;
        two_shards both(&log);
        const shard_scope scope(&both.owner.at(0));
        for (int i = 0; i < 100; ++i) {
            (void)make_failed_future(std::runtime_error("made"));
        }
        CHECK(this_shard().counters().failures_ignored == 100);
        CHECK(log.lines().size() == 20);
    }
}
