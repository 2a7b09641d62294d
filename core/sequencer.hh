// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>

#include <weir/core/assert.hh>
#include <weir/core/prefetch.hh>
#include <weir/core/ring_gate.hh>

namespace weir {

/// Hands out the slots of a ring in order, apart from the slots themselves: any number of
/// columns indexed by sequence & (capacity - 1) share one sequencer. One producer; gated readers
/// join and leave on the producer's thread; nothing here waits and nothing allocates after
/// construction. Without a reader nothing holds the producer back: what it publishes is dropped.
/// source   LMAX SingleProducerSequencer, cppcoro single_producer_sequencer
class sequencer {
  public:
    /// capacity   slots, a power of two from 1 on
    /// max_gates  readers that can be joined at a time
    /// first      the number of the first element
    sequencer(std::size_t capacity, std::size_t max_gates, sequence first = 0)
        : _capacity(capacity),
          _last(first - 1),
          _reclaimed(first - 1),
          _limit(first - 1 + static_cast<sequence>(capacity)),
          _max_gates(max_gates),
          _gates(std::make_unique<ring_gate*[]>(max_gates)),
          _progress(first) {
        WEIR_ASSERT(capacity != 0 && (capacity & (capacity - 1)) == 0);
        WEIR_ASSERT(first >= 0 && first <= sequence_never / 2);
    }
    ~sequencer() {
        while (_gate_count != 0) {
            forget(_gate_count - 1);
        }
    }
    sequencer(const sequencer&) = delete;
    sequencer& operator=(const sequencer&) = delete;

    std::size_t capacity() const noexcept { return _capacity; }

    /// Claims up to `n` consecutive slots after those claimed before; never blocks, never moves
    /// the cursor. Before it gives less than asked it looks at the gates anew.
    /// n        slots
    /// freed    called with a sequence_range of elements that every reader has released, in
    ///          order, each once: where elements need destruction, this is the time
    /// returns  the range, short or empty when the slowest reader is too near (backpressure)
    ///          or the ring is closed
    /// thread   the producer
    /// cost     no shared line while the room seen last suffices
    /// source   LMAX SingleProducerSequencer.next
    template <typename Freed>
    sequence_range claim(std::size_t n, Freed&& freed) {
        const sequence last = cursor() + static_cast<sequence>(_claimed);
        auto room = static_cast<std::size_t>(_limit - last);
        if (room < n) [[unlikely]] {
            reclaim(freed);
            room = static_cast<std::size_t>(_limit - last);
        }
        const sequence_range range{last + 1, std::min(n, room)};
        _last = range.end() - 1;
        _claimed += range.count;
        return range;
    }

    /// claim() for columns whose elements need no destruction.
    sequence_range claim(std::size_t n) {
        return claim(n, [](sequence_range) {});
    }

    /// The slot that claim(1) would give, for publish_next(): one element at a time is cheapest
    /// when the producer stores nothing but the element and the cursor.
    /// freed    as in claim()
    /// returns  its sequence, -1 when there is no room; nothing may be claimed and unpublished
    /// thread   the producer
    template <typename Freed>
    sequence next(Freed&& freed) {
        WEIR_ASSERT(_claimed == 0);
        const sequence at = cursor() + 1;
        if (at > _limit) [[unlikely]] {
            reclaim(freed);
            if (at > _limit) {
                return -1;
            }
        }
        return at;
    }

    /// Shows the slot that next() gave to the readers.
    /// thread   the producer
    void publish_next(sequence at) noexcept { show(at); }

    /// Gives the `n` newest claimed slots back, unpublished.
    /// thread   the producer
    void unclaim(std::size_t n) noexcept {
        WEIR_ASSERT(n <= _claimed);
        _claimed -= n;
        _last -= static_cast<sequence>(n);
    }

    /// Shows the `n` oldest claimed slots to the readers.
    /// thread   the producer
    /// cost     one store to the line that the readers poll
    void publish(std::size_t n) noexcept {
        WEIR_ASSERT(n <= _claimed);
        if (n == 0) {
            return;  // _last means nothing while nothing is claimed
        }
        show(_last - static_cast<sequence>(_claimed - n));
        _claimed -= n;
    }

    /// Looks at the gates and takes back what every reader has released; drops those that left.
    /// freed    as in claim()
    /// returns  how many elements came back
    /// thread   the producer
    template <typename Freed>
    std::size_t reclaim(Freed&& freed) {
        // A gate may lead the cursor, what is not published can't come back.
        const sequence slowest_gate = std::min(slowest(), cursor());
        const sequence_range range{_reclaimed + 1,
                                   static_cast<std::size_t>(slowest_gate - _reclaimed)};
        if (!range.empty()) {
            freed(range);
            _reclaimed = slowest_gate;
            update_limit();
        }
        return range.count;
    }

    /// Closes the ring behind the last published element; claims not published are void.
    /// thread   the producer
    void close() noexcept {
        _claimed = 0;
        close_at(cursor());
    }

    /// Announces the last sequence there will be; claims stop there.
    /// last     not before what is claimed, nor after an end announced earlier
    /// thread   the producer
    void close_at(sequence last) noexcept {
        WEIR_ASSERT(last >= cursor() + static_cast<sequence>(_claimed));
        WEIR_ASSERT(last <= end());
        _progress.end.store(last, std::memory_order_relaxed);
        update_limit();
    }

    /// Adds a reader: the producer waits for it from now on.
    /// first    the first element that it will see, not yet published
    /// returns  false when max_gates readers are joined, even after those that left are dropped
    /// thread   the producer; then the gate is handed to its reader
    template <typename Freed>
    bool join(ring_gate& reader, sequence first, Freed&& freed) {
        if (_gate_count == _max_gates) {
            reclaim(freed);
        }
        if (_gate_count == _max_gates) {
            return false;
        }
        WEIR_ASSERT(!reader.joined());
        // The room that we know of ends a capacity after what was taken back, and that is at
        // most the cursor: it needs no clamp for a reader that starts behind the cursor.
        WEIR_ASSERT(first > cursor());
        reader._source = &_progress;
        reader._seen = cursor();
        reader._released.store(first - 1, std::memory_order_relaxed);
        reader._joined.store(true, std::memory_order_relaxed);
        _gates[_gate_count++] = &reader;
        return true;
    }

    /// returns  readers that are joined, those included that left unnoticed
    /// thread   the producer
    std::size_t gates() const noexcept { return _gate_count; }
    /// returns  slots claimed and not yet published
    /// thread   the producer
    std::size_t claimed() const noexcept { return _claimed; }
    /// returns  the elements that were published and not taken back
    /// thread   the producer
    sequence_range held() const noexcept {
        return {_reclaimed + 1, static_cast<std::size_t>(cursor() - _reclaimed)};
    }
    /// Begins to fetch the line that publish() writes.
    /// thread   the producer
    void prefetch() const noexcept { prefetch_to_write(&_progress.cursor); }
    /// returns  the last published sequence; only a sample
    /// thread   any
    sequence cursor() const noexcept { return _progress.cursor.load(std::memory_order_relaxed); }
    /// returns  the last sequence there will be, sequence_never while nobody knows
    /// thread   any
    sequence end() const noexcept { return _progress.end.load(std::memory_order_relaxed); }

  private:
    // Between its stores to the slots and this one the producer leaves shared lines alone: a load
    // of the cursor there, while readers poll it, fetches the line once more than needed and was
    // measured to cost up to nine tenths of the throughput; even a store to a line of its own
    // costs a sixth of the round trip. So what publish() keeps for itself it stores afterwards.
    void show(sequence last) noexcept {
        // Pairs with the acquires in ring_gate::read and ring_gate::refresh.
        _progress.cursor.store(last, std::memory_order_release);
    }

    sequence slowest() noexcept {
        sequence minimum = sequence_never;
        for (std::size_t i = 0; i < _gate_count;) {
            // Pairs with the releases in ring_gate::release_to and ring_gate::leave.
            const sequence released = _gates[i]->_released.load(std::memory_order_acquire);
            if (released == sequence_never) [[unlikely]] {
                forget(i);
                continue;
            }
            minimum = std::min(minimum, released);
            ++i;
        }
        return minimum;
    }

    void forget(std::size_t i) noexcept {
        ring_gate* const reader = _gates[i];
        _gates[i] = _gates[--_gate_count];
        // Pairs with the acquire in ring_gate::joined: after this the gate may be freed.
        reader->_joined.store(false, std::memory_order_release);
    }

    void update_limit() noexcept {
        _limit = std::min(_reclaimed + static_cast<sequence>(_capacity), end());
    }

    // Line pair 0, the producer's own, and what never changes.
    alignas(line_pair) const std::size_t _capacity;
    sequence _last;            // the last claimed sequence, while something is claimed
    std::size_t _claimed = 0;  // slots claimed and not published
    sequence _reclaimed;       // the last one that every reader released, as last seen
    sequence _limit;           // the last one that may be claimed before looking at the gates
    std::size_t _gate_count = 0;
    const std::size_t _max_gates;
    const std::unique_ptr<ring_gate*[]> _gates;

    // Line pair 1, shared: the producer writes it, the readers poll it.
    ring_progress _progress;
};

}  // namespace weir
