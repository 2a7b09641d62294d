// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <memory>
#include <optional>
#include <random>

#include <tests/support/bare_host.hh>

#include <weir/core/queue.hh>

using namespace weir;

TEST_SUITE("core/queue") {
    TEST_CASE("a full queue makes who pushes wait, an empty one who pops") {
        test::bare_shard shard;
        queue<std::unique_ptr<int>> pipe(1);
        CHECK(pipe.push(std::make_unique<int>(1)).take());
        auto waiting = pipe.push(std::make_unique<int>(2));
        CHECK_FALSE(waiting.available());
        auto kept = std::make_unique<int>(3);
        CHECK_FALSE(pipe.try_push(std::move(kept)));
        CHECK(kept);
        CHECK(**pipe.pop().take() == 1);
        CHECK(waiting.take());
        CHECK(**pipe.try_pop() == 2);
        CHECK_FALSE(pipe.try_pop());
        auto hungry = pipe.pop();
        CHECK(pipe.try_push(std::move(kept)));
        CHECK(**hungry.take() == 3);
    }

    TEST_CASE("a queue without room hands over") {
        test::bare_shard shard;
        queue<int> pipe(0);
        CHECK_FALSE(pipe.try_push(1));
        auto pushed = pipe.push(2);
        CHECK_FALSE(pushed.available());
        CHECK(pipe.pop().take() == 2);
        CHECK(pushed.take());
    }

    TEST_CASE("a closed queue gives what it has, then nothing, and takes no more") {
        test::bare_shard shard;
        queue<int> pipe(1);
        CHECK(pipe.push(1).take());
        auto refused = pipe.push(2);
        pipe.close();
        CHECK_FALSE(refused.take());
        CHECK_FALSE(pipe.push(3).take());
        CHECK(pipe.pop().take() == 1);
        CHECK_FALSE(pipe.pop().take());
        queue<int> empty(1);
        auto hungry = empty.pop();
        empty.close();
        CHECK_FALSE(hungry.take());
    }

    TEST_CASE("an aborted wait fails, and the queue goes on") {
        test::bare_shard shard;
        queue<int> pipe(1);
        abort_source source;
        auto hungry = pipe.pop(source);
        source.request();
        CHECK_THROWS_AS(hungry.take(), error);
        CHECK_THROWS_AS(pipe.push(1, source).take(), error);
        CHECK(pipe.try_push(2));
        CHECK_THROWS_AS(pipe.pop(source).take(), error);
        CHECK(pipe.try_pop() == 2);
    }

    TEST_CASE("random pushes, pops and drops agree with two lists") {
        test::bare_shard shard;
        const unsigned seed = 20261123;
        CAPTURE(seed);
        std::mt19937 random(seed);
        for (std::size_t capacity : {0U, 1U, 3U}) {
            queue<int> pipe(capacity);
            struct push {
                int value;
                future<bool> done;
            };
            struct pop {
                future<std::optional<int>> got;
            };
            std::deque<int> inside;    // model: what is in the queue
            std::deque<push> pushing;  // model: who waits to push, and with what
            std::deque<pop> popping;   // model: who waits to pop
            for (int step = 0; step < 10000; ++step) {
                switch (random() % 5) {
                    case 0:
                    case 1: {
                        push added{step, pipe.push(step)};
                        if (!popping.empty()) {
                            CHECK(added.done.take());
                            CHECK(popping.front().got.take() == step);
                            popping.pop_front();
                        } else if (inside.size() < capacity) {
                            CHECK(added.done.take());
                            inside.push_back(step);
                        } else {
                            pushing.push_back(std::move(added));
                        }
                        break;
                    }
                    case 2:
                    case 3: {
                        pop asked{pipe.pop()};
                        if (!inside.empty() || !pushing.empty()) {
                            if (!pushing.empty()) {
                                inside.push_back(pushing.front().value);
                                CHECK(pushing.front().done.take());
                                pushing.pop_front();
                            }
                            CHECK(asked.got.take() == inside.front());
                            inside.pop_front();
                        } else {
                            popping.push_back(std::move(asked));
                        }
                        break;
                    }
                    default:  // someone loses interest: passed over as if never there
                        if (!pushing.empty()) {
                            pushing.erase(pushing.begin() + random() % pushing.size());
                        } else if (!popping.empty()) {
                            popping.erase(popping.begin() + random() % popping.size());
                        }
                }
                REQUIRE(pipe.size() == inside.size());
                for (push& each : pushing) {
                    REQUIRE_FALSE(each.done.available());
                }
                for (pop& each : popping) {
                    REQUIRE_FALSE(each.got.available());
                }
            }
        }
    }
}
