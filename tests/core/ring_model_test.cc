// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/ring.hh>

namespace {

using weir::ring;
using weir::sequence;
using weir::sequence_range;

/// Counts how many of its kind are alive, and notices when one dies twice.
struct counted {
    counted(long number, long* alive) noexcept : value(number), count(alive) { ++*count; }
    counted(const counted& other) noexcept : value(other.value), count(other.count) { ++*count; }
    counted(counted&& other) noexcept : value(other.value), count(other.count) { ++*count; }
    counted& operator=(const counted&) = delete;
    ~counted() {
        REQUIRE(count != nullptr);
        --*count;
        count = nullptr;
    }

    long value;
    long* count;
};

/// A ring of counted elements beside an obvious model of it, driven by random operations.
class ring_against_deque {
  public:
    ring_against_deque(std::uint64_t seed, std::size_t capacity, std::size_t max_readers)
        : _random(seed),
          _capacity(capacity),
          _max_readers(max_readers),
          _ring(capacity, max_readers),
          _out(std::make_unique<ring<counted>::producer>(_ring.open())) {}

    ~ring_against_deque() {
        discard_claims(_pending.size());
        for (auto& each : _readers) {
            each.in.reset();
        }
        _out->reclaim();
        _out.reset();
    }

    void step() {
        switch (below(16)) {
            case 0:
            case 1:
            case 2:
                return claim();
            case 3:
            case 4:
                return publish(below(_pending.size() + 1));
            case 5:
                return discard_claims(below(_pending.size() + 1));
            case 6:
                return emplace();
            case 7:
                return push();
            case 8:
                CHECK(_out->reclaim() == look());
                return;
            case 9:
                return join();
            case 10:
                return below(8) == 0 ? leave() : void();
            case 11:
                return below(400) == 0 ? close() : void();
            default:
                return _readers.empty() ? void() : read(_readers[below(_readers.size())]);
        }
    }

    void check() {
        std::erase_if(_dropped, [](auto& place) { return place == nullptr || !place->joined(); });
        CHECK(_dropped.size() <= _gone);
        REQUIRE(_alive == static_cast<long>(_held.size() + _pending.size()));
        CHECK(_out->held() == _held.size());
        CHECK(_out->claimed() == _pending.size());
        CHECK(_out->cursor() == published());
        CHECK(_out->readers() == _readers.size() + _gone);
        CHECK(_out->closed() == (_end <= published()));
        for (auto& each : _readers) {
            CHECK(each.in->finished() == (each.next > _end));
            CHECK(each.in->next() == each.next);
        }
    }

  private:
    struct model_reader {
        std::unique_ptr<weir::ring_gate> place;  // null if the ring's own
        std::unique_ptr<ring<counted>::reader> in;
        sequence next;
        sequence seen;  // the cursor as the reader last saw it
    };

    std::size_t below(std::size_t n) { return _random() % n; }
    sequence published() const { return _reclaimed + static_cast<sequence>(_held.size()); }
    sequence claimed() const { return published() + static_cast<sequence>(_pending.size()); }
    std::size_t room() const {
        const auto limit = std::min(_reclaimed + static_cast<sequence>(_capacity), _end);
        return static_cast<std::size_t>(limit - claimed());
    }

    /// What the producer does when it looks at its gates.
    std::size_t look() {
        _gone = 0;
        sequence slowest = published();
        for (const auto& each : _readers) {
            slowest = std::min(slowest, each.next - 1);
        }
        const auto count = static_cast<std::size_t>(slowest - _reclaimed);
        _held.erase(_held.begin(), _held.begin() + static_cast<std::ptrdiff_t>(count));
        _reclaimed = slowest;
        return count;
    }

    std::size_t expect_claim(std::size_t n) {
        if (room() < n) {
            look();
        }
        return std::min(n, room());
    }

    void claim() {
        const std::size_t n = below(_capacity + 2);
        const sequence first = claimed() + 1;
        const sequence_range range = _out->claim(n);
        CHECK(range == sequence_range{first, expect_claim(n)});
        for (sequence at = range.first; at != range.end(); ++at) {
            std::construct_at(_out->slot(at), _value, &_alive);
            _pending.push_back(_value++);
        }
    }

    void publish(std::size_t n) {
        _out->publish(n);
        _held.insert(_held.end(), _pending.begin(),
                     _pending.begin() + static_cast<std::ptrdiff_t>(n));
        _pending.erase(_pending.begin(), _pending.begin() + static_cast<std::ptrdiff_t>(n));
    }

    void discard_claims(std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) {
            std::destroy_at(_out->slot(claimed()));
            _pending.pop_back();
        }
        _out->unclaim(n);
    }

    void emplace() {
        if (!_pending.empty()) {
            return;  // one-step operations are for producers without claims under way
        }
        const bool expected = expect_claim(1) == 1;
        CHECK(_out->emplace(_value, &_alive) == expected);
        if (expected) {
            _held.push_back(_value++);
        }
    }

    void push() {
        if (!_pending.empty()) {
            return;
        }
        const std::size_t n = below(_capacity + 2);
        std::vector<counted> elements;
        for (std::size_t i = 0; i < n; ++i) {
            elements.emplace_back(_value + static_cast<long>(i), &_alive);
        }
        const std::size_t expected = expect_claim(n);
        CHECK(_out->push(elements) == expected);
        for (std::size_t i = 0; i < expected; ++i) {
            _held.push_back(_value + static_cast<long>(i));
        }
        _value += static_cast<long>(n);
    }

    void join() {
        auto place = below(2) == 0 ? std::make_unique<weir::ring_gate>() : nullptr;
        if (place == nullptr || _readers.size() + _gone == _max_readers) {
            look();
        }
        auto in = place ? _out->join(*place) : _out->join();
        REQUIRE(in.has_value() == (_readers.size() < _max_readers));
        if (in) {
            auto handle = std::make_unique<ring<counted>::reader>(std::move(*in));
            _readers.push_back({std::move(place), std::move(handle), published() + 1, published()});
        }
    }

    void leave() {
        if (_readers.empty()) {
            return;
        }
        std::swap(_readers[below(_readers.size())], _readers.back());
        model_reader going = std::move(_readers.back());
        _readers.pop_back();
        const std::size_t how = below(3);
        if (how == 0) {
            _out->leave(std::move(*going.in));
            look();
            CHECK((going.place == nullptr || !going.place->joined()));
            return;
        }
        how == 1 ? going.in->leave() : going.in.reset();
        ++_gone;
        _dropped.push_back(std::move(going.place));  // lives until the producer looks
    }

    static std::size_t unread(const model_reader& from) {
        return static_cast<std::size_t>(std::max<sequence>(from.seen - from.next + 1, 0));
    }

    void read(model_reader& from) {
        const std::size_t n = below(_capacity + 2);
        if (below(8) == 0) {  // a view's reader jumps ahead
            from.next += static_cast<sequence>(n);
            return from.in->release_to(from.next);
        }
        if (below(2) == 0) {
            from.seen = published();
            CHECK(from.in->ready() == unread(from));
        } else if (from.seen < from.next) {
            from.seen = published();
        }
        const std::size_t count = std::min(n, unread(from));
        if (below(2) == 0) {
            CHECK(from.in->drain(n, [&](const counted& each) { expect(each, from.next++); }) ==
                  count);
            return;
        }
        const sequence_range range = from.in->read(n);
        CHECK(range == sequence_range{from.next, count});
        const auto spans = from.in->slots(range);
        sequence at = range.first;
        for (const counted& each : spans.head) {
            expect(each, at++);
        }
        for (const counted& each : spans.tail) {
            expect(each, at++);
        }
        const std::size_t released = below(count + 1);
        from.in->release(released);
        from.next += static_cast<sequence>(released);
    }

    void expect(const counted& element, sequence at) {
        const auto index = static_cast<std::size_t>(at - _reclaimed - 1);
        REQUIRE(index < _held.size());
        CHECK(element.value == _held[index]);
    }

    void close() {
        if (_end != weir::sequence_never) {
            return;
        }
        if (below(2) == 0) {
            _end = claimed() + static_cast<sequence>(below(_capacity + 2));
            _out->close_at(_end);
        } else {
            discard_claims(_pending.size());
            _out->close();
            _end = published();
        }
    }

    std::mt19937_64 _random;
    const std::size_t _capacity;
    const std::size_t _max_readers;
    long _alive = 0;
    long _value = 0;
    ring<counted> _ring;
    std::unique_ptr<ring<counted>::producer> _out;

    std::deque<long> _held;     // published, not taken back
    std::deque<long> _pending;  // claimed and constructed, not published
    sequence _reclaimed = -1;
    sequence _end = weir::sequence_never;
    std::vector<model_reader> _readers;
    std::size_t _gone = 0;  // readers that left and were not noticed yet
    std::vector<std::unique_ptr<weir::ring_gate>> _dropped;
};

}  // namespace

TEST_SUITE("core/ring") {
    TEST_CASE("under random operations a ring does what a deque does") {
        for (std::uint64_t seed = 1; seed <= 300; ++seed) {
            CAPTURE(seed);
            const std::size_t capacity = std::size_t{1} << (seed % 5 == 4 ? 10 : seed % 5);
            ring_against_deque both(seed, capacity, 1 + seed % 4);
            for (int step = 0; step < 600; ++step) {
                CAPTURE(step);
                both.step();
                both.check();
            }
        }
    }
}
