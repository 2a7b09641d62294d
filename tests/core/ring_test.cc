// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/ring.hh>

namespace {

using weir::ring;
using weir::sequence;
using weir::sequence_range;

std::vector<int> taken(ring<int>::reader& in) {
    std::vector<int> values;
    while (in.drain(1000, [&](int each) { values.push_back(each); }) != 0) {
    }
    return values;
}

}  // namespace

TEST_SUITE("core/ring") {
    TEST_CASE("what is published is read once and in order") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        for (int i = 0; i < 100; ++i) {
            REQUIRE(out.emplace(i));
            CHECK(in.pop() == i);
            CHECK_FALSE(in.pop().has_value());
        }
        CHECK(numbers.cursor() == 99);
        CHECK(in.next() == 100);
    }

    TEST_CASE("a full ring refuses a claim until its slowest reader moves") {
        ring<int> numbers(2, 2);
        auto out = numbers.open();
        auto fast = *out.join();
        auto slow = *out.join();
        CHECK(out.emplace(1));
        CHECK(out.emplace(2));
        CHECK_FALSE(out.emplace(3));
        CHECK(taken(fast) == std::vector{1, 2});
        CHECK(out.claim(1).empty());
        slow.release(slow.read(1).count);
        CHECK(out.emplace(3));
        CHECK_FALSE(out.emplace(4));
        CHECK(taken(slow) == std::vector{2, 3});
    }

    TEST_CASE("a claim gives what there is, and shows nothing before it is published") {
        ring<int> numbers(8);
        auto out = numbers.open();
        auto in = *out.join();
        CHECK(out.claim(5) == sequence_range{0, 5});
        CHECK(out.claim(5) == sequence_range{5, 3});
        CHECK(out.claim(5) == sequence_range{8, 0});
        CHECK(out.claimed() == 8);
        CHECK(numbers.cursor() == -1);
        CHECK(in.read(8).empty());
        for (int i = 0; i < 8; ++i) {
            *out.slot(i) = i;
        }
        out.publish(2);
        CHECK(in.read(8) == sequence_range{0, 2});
        out.unclaim(4);
        out.publish(2);
        CHECK(in.ready() == 4);
        CHECK(out.claim(5) == sequence_range{4, 4});
    }

    TEST_CASE("publishing nothing leaves the cursor where it is") {
        ring<int> numbers(8);
        auto out = numbers.open();
        out.claim(1);
        out.unclaim(1);
        out.emplace(1);
        out.publish(0);
        CHECK(numbers.cursor() == 0);
    }

    TEST_CASE("a range that wraps around is two pieces of memory") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        const std::vector<int> three{1, 2, 3};
        REQUIRE(out.push(three) == 3);
        in.release(in.read(3).count);
        const std::vector<int> five{4, 5, 6, 7, 8};
        CHECK(out.push(five) == 4);
        const auto spans = in.slots(in.read(9));
        CHECK(std::vector<int>(spans.head.begin(), spans.head.end()) == std::vector{4});
        CHECK(std::vector<int>(spans.tail.begin(), spans.tail.end()) == std::vector{5, 6, 7});
    }

    TEST_CASE("reading again gives the same range until it is released") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        out.emplace(1);
        out.emplace(2);
        CHECK(in.read(1) == sequence_range{0, 1});
        CHECK(in.read(9) == sequence_range{0, 2});
        in.release(1);
        CHECK(in.read(9) == sequence_range{1, 1});
    }

    TEST_CASE("without a reader nothing holds the producer back") {
        ring<int> numbers(2);
        auto out = numbers.open();
        for (int i = 0; i < 9; ++i) {
            CHECK(out.emplace(i));
        }
        auto in = *out.join();
        CHECK(in.read(9).empty());
        out.emplace(9);
        CHECK(taken(in) == std::vector{9});
    }

    TEST_CASE("a reader that left no longer holds the producer back") {
        ring<int> numbers(1, 2);
        auto out = numbers.open();
        auto stays = *out.join();
        auto leaves = *out.join();
        CHECK(out.emplace(1));
        CHECK(taken(stays) == std::vector{1});
        CHECK_FALSE(out.emplace(2));
        leaves.leave();
        CHECK(out.readers() == 2);
        CHECK(out.emplace(2));
        CHECK(out.readers() == 1);
    }

    TEST_CASE("more readers than agreed are refused until one leaves") {
        ring<int> numbers(2, 1);
        auto out = numbers.open();
        auto first = out.join();
        REQUIRE(first);
        CHECK_FALSE(out.join());
        first.reset();
        CHECK(out.join());
    }

    TEST_CASE("a gate in the reader's memory is free once the producer has noticed") {
        ring<int> numbers(2);
        auto out = numbers.open();
        weir::ring_gate place;
        auto in = *out.join(place);
        CHECK(place.joined());
        out.emplace(1);
        SUBCASE("when the reader leaves") {
            in.leave();
            CHECK(place.joined());
            out.reclaim();
        }
        SUBCASE("when the reader is handed to the producer") {
            out.leave(std::move(in));
        }
        CHECK_FALSE(place.joined());
        CHECK(out.readers() == 0);
    }

    TEST_CASE("a closed ring is read to its end and takes no more") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        out.emplace(1);
        CHECK_FALSE(out.closed());
        out.close();
        CHECK(out.closed());
        CHECK_FALSE(out.emplace(2));
        CHECK_FALSE(in.finished());
        CHECK(taken(in) == std::vector{1});
        CHECK(in.finished());
    }

    TEST_CASE("an end announced ahead lets in exactly what comes before it") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        out.close_at(1);
        CHECK(out.claim(4) == sequence_range{0, 2});
        CHECK_FALSE(out.closed());
        *out.slot(0) = 1;
        *out.slot(1) = 2;
        out.publish(2);
        CHECK(out.closed());
        CHECK(taken(in) == std::vector{1, 2});
        CHECK(in.finished());
    }

    TEST_CASE("a producer that goes away closes the ring") {
        ring<int> numbers(4);
        std::optional<ring<int>::producer> out(numbers.open());
        auto in = *out->join();
        out->emplace(1);
        auto elsewhere = std::move(*out);
        out.reset();
        CHECK(elsewhere.emplace(2));
        {
            auto gone = std::move(elsewhere);
        }
        CHECK(taken(in) == std::vector{1, 2});
        CHECK(in.finished());
    }

    TEST_CASE("a gate may lead the cursor without letting the producer lap itself") {
        ring<int> numbers(4, 2);
        auto out = numbers.open();
        auto even = *out.join();
        auto odd = *out.join();
        odd.release_to(1);
        std::vector<int> seen;
        for (int i = 0; i < 40;) {
            const sequence_range range = out.claim(3);
            REQUIRE(out.claimed() <= 4);
            for (sequence at = range.first; at != range.end(); ++at) {
                *out.slot(at) = i++;
            }
            out.publish(range.count);
            for (auto* in : {&even, &odd}) {
                while (!in->read(1).empty()) {
                    seen.push_back((*in)[in->next()]);
                    in->release_to(in->next() + 2);
                }
            }
        }
        std::vector<int> sorted(seen);
        std::sort(sorted.begin(), sorted.end());
        std::vector<int> all(sorted.size());
        std::iota(all.begin(), all.end(), 0);
        CHECK(sorted == all);
    }

    TEST_CASE("columns that share a sequencer stay in step") {
        weir::sequencer order(4, 1);
        weir::column<int> numbers(4);
        weir::column<std::unique_ptr<int>> boxes(4);
        weir::ring_gate reader;
        const auto destroy = [&](sequence_range freed) { boxes.destroy(freed); };
        REQUIRE(order.join(reader, 0, destroy));
        for (int i = 0; i < 30; ++i) {
            const sequence_range range = order.claim(1, destroy);
            REQUIRE(range == sequence_range{i, 1});
            *numbers.slot(range.first) = i;
            std::construct_at(boxes.slot(range.first), std::make_unique<int>(-i));
            order.publish(1);
            if (i % 3 == 2) {
                const sequence_range batch = reader.read(9);
                REQUIRE(batch.count == 3);
                for (sequence at = batch.first; at != batch.end(); ++at) {
                    CHECK(*numbers.slot(at) == at);
                    CHECK(**boxes.slot(at) == -at);
                }
                reader.release(3);
            }
        }
        reader.leave();
        order.reclaim(destroy);
        CHECK(order.held().empty());
    }

    TEST_CASE("an element comes back from a quiet ring as soon as all readers released it") {
        ring<std::shared_ptr<int>> leases(8, 2);
        auto out = leases.open();
        auto first = *out.join();
        auto second = *out.join();
        const auto lease = std::make_shared<int>(7);
        REQUIRE(out.emplace(lease));
        first.release(first.read(1).count);
        CHECK(out.reclaim() == 0);
        CHECK(lease.use_count() == 2);
        second.release(second.read(1).count);
        CHECK(lease.use_count() == 2);
        CHECK(out.reclaim() == 1);
        CHECK(lease.use_count() == 1);
    }

    TEST_CASE("a callable that throws keeps its element in the ring") {
        ring<int> numbers(4);
        auto out = numbers.open();
        auto in = *out.join();
        for (int i = 0; i < 3; ++i) {
            out.emplace(i);
        }
        CHECK_THROWS_AS(in.drain(3,
                                 [](int each) {
                                     if (each == 1) {
                                         throw each;
                                     }
                                 }),
                        int);
        CHECK(taken(in) == std::vector{1, 2});
    }

    TEST_CASE("sequences go on far beyond 32 bits") {
        const sequence far = (sequence{1} << 62) - 3;
        ring<int> numbers(2, 1, far);
        auto out = numbers.open();
        auto in = *out.join();
        for (int i = 0; i < 10; ++i) {
            REQUIRE(out.emplace(i));
            CHECK(in.read(1).first == far + i);
            CHECK(in.pop() == i);
        }
    }
}
