// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <weir/core/assert.hh>
#include <weir/core/prefetch.hh>
#include <weir/core/sequence.hh>

namespace weir {

/// A reader's place in a ring: the producer overwrites nothing beyond it. It belongs to the
/// reader and lies in the reader's memory; a sequencer that it joined holds a pointer to it, so
/// it may be destroyed or join again only when joined() is false.
///
/// Leaving takes two steps, so that it needs no lock and the producer need not stop. The reader
/// calls leave(): from then on it touches no slot, and the producer is no longer held back. The
/// producer drops the pointer the next time that it looks at its gates, and only then does
/// joined() turn false.
class ring_gate {
  public:
    ring_gate() noexcept : _released(sequence_never), _joined(false) {}
    ~ring_gate() { WEIR_ASSERT(!joined()); }
    ring_gate(const ring_gate&) = delete;
    ring_gate& operator=(const ring_gate&) = delete;

    /// What is published and not yet released, from the oldest on; asking again gives it again.
    /// While something is left that was seen earlier, that is all it gives: refresh() sees more.
    /// max      elements, at most
    /// returns  the range, empty only when the reader has caught up
    /// thread   the reader
    /// cost     no shared line unless the reader had caught up with what it saw last
    sequence_range read(std::size_t max) noexcept {
        const sequence first = next();
        if (_seen < first) {
            // Pairs with the release in sequencer::publish: the slots up to here are written.
            _seen = _source->cursor.load(std::memory_order_acquire);
            if (_seen < first) {
                return {first, 0};
            }
        }
        return {first, std::min(max, static_cast<std::size_t>(_seen - first + 1))};
    }

    /// Looks at the cursor even if something that was seen before is left.
    /// returns  how many elements are published and not released
    /// thread   the reader
    std::size_t refresh() noexcept {
        // Pairs with the release in sequencer::publish.
        _seen = _source->cursor.load(std::memory_order_acquire);
        return _seen < next() ? 0 : static_cast<std::size_t>(_seen - next() + 1);
    }

    /// Begins to fetch the line that the producer publishes in.
    /// thread   the reader
    void prefetch() const noexcept { prefetch_to_read(&_source->cursor); }

    /// Gives the `n` oldest elements back to the producer, who may destroy them at once.
    /// n        at most what the last read() or refresh() could see
    /// thread   the reader
    void release(std::size_t n) noexcept {
        WEIR_ASSERT(n <= static_cast<std::size_t>(std::max<sequence>(_seen - next() + 1, 0)));
        release_to(next() + static_cast<sequence>(n));
    }

    /// Declares that the reader's next element is `wanted`; it may lie beyond the cursor, as for
    /// one who reads every second element.
    /// thread   the reader
    void release_to(sequence wanted) noexcept {
        WEIR_ASSERT(wanted >= next());
        // Pairs with the acquire in sequencer::slowest: our reads end before slots are reused.
        _released.store(wanted - 1, std::memory_order_release);
    }

    /// returns  whether the ring is closed and this reader has released its last element
    /// thread   the reader
    bool finished() const noexcept {
        // Relaxed: the answer is a matter of numbers, and no slot is read because of it.
        return next() > _source->end.load(std::memory_order_relaxed);
    }

    /// Stops reading for good. The gate stays joined until the producer has noticed.
    /// thread   the reader
    void leave() noexcept {
        // Pairs with the acquire in sequencer::slowest: our reads end before slots are reused.
        _released.store(sequence_never, std::memory_order_release);
    }

    /// returns  whether a sequencer may still look at this gate
    /// thread   any
    bool joined() const noexcept {
        // Pairs with the release in sequencer::forget: the producer's last look lies before.
        return _joined.load(std::memory_order_acquire);
    }

    /// returns  the next sequence that this reader wants
    /// thread   the reader
    sequence next() const noexcept { return released() + 1; }

    /// returns  the last sequence given back, sequence_never after leave(); only a sample
    /// thread   any
    sequence released() const noexcept { return _released.load(std::memory_order_relaxed); }

  private:
    friend class sequencer;

    // Line pair 0, shared: the reader writes it once a batch, the producer reads it when it runs
    // out of room, and writes it only as the reader joins and when it has left.
    alignas(line_pair) std::atomic<sequence> _released;
    std::atomic<bool> _joined;

    // Line pair 1, the reader's own.
    alignas(line_pair) const ring_progress* _source = nullptr;
    sequence _seen = -1;  // the cursor as it was last loaded
};

}  // namespace weir
