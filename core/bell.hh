// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include <weir/core/prefetch.hh>

namespace weir {

/// How shards tell one another that there is something to read: one word a shard, a bit per
/// peer, and ASLEEP. All changes are read-modify-writes of this one word, so they have a single
/// order and no fence is needed: either the sender's bit comes before the owner's sleep(), which
/// then fails, or ASLEEP comes before the bit, and the sender sees it and wakes the owner.
/// Above `peer_bits` shards several peers share a bit and the owner looks at all of them.
/// tests/model/bell.pml checks this protocol over all interleavings.
class alignas(64) bell {
  public:
    static constexpr unsigned peer_bits = 62;
    static constexpr std::uint64_t foreign = std::uint64_t{1} << 62;  ///< threads without a shard
    static constexpr std::uint64_t asleep = std::uint64_t{1} << 63;

    static constexpr std::uint64_t bit_of(unsigned peer) noexcept {
        return std::uint64_t{1} << (peer % peer_bits);
    }

    /// Says that whoever owns `bits` has published something.
    /// returns  true if the owner sleeps and this caller must wake it
    /// thread   any
    bool ring(std::uint64_t bits) noexcept {
        // Releases what was published before; pairs with the exchange in answer(). Acquires
        // nothing that matters, but both halves keep the word's order that of the protocol.
        return (_word.fetch_or(bits, std::memory_order_acq_rel) & asleep) != 0;
    }

    /// As ring(), for who alone rings `bits`: whoever woke the owner once need not do it again
    /// before the owner has answered.
    /// returns  true for the first ring of a sleep only
    bool ring_alone(std::uint64_t bits) noexcept {
        // As in ring().
        const std::uint64_t before = _word.fetch_or(bits, std::memory_order_acq_rel);
        return (before & (asleep | bits)) == asleep;
    }

    /// Takes the bits that have been rung, and is awake again.
    /// thread   the owner
    std::uint64_t answer() noexcept {
        if (_word.load(std::memory_order_relaxed) == 0) {
            return 0;
        }
        // Acquires what the ringers published; pairs with fetch_or in ring().
        return _word.exchange(0, std::memory_order_acq_rel) & ~asleep;
    }

    /// Whether something has been rung: a hint, cheap enough for every preemption check.
    /// thread   the owner
    bool rung() const noexcept { return peek() != 0; }
    /// What answer() would take: a hint.
    /// thread   the owner
    std::uint64_t peek() const noexcept { return _word.load(std::memory_order_relaxed) & ~asleep; }
    /// Begins to fetch the word for answer(), once rung() has said so.
    /// thread   the owner
    void prefetch() const noexcept { prefetch_to_write(&_word); }

    /// Says ASLEEP, unless something was rung: then the owner must not sleep.
    /// thread   the owner
    bool fall_asleep() noexcept {
        std::uint64_t quiet = 0;
        // Ordered against ring() by being a read-modify-write of the same word.
        return _word.compare_exchange_strong(quiet, asleep, std::memory_order_acq_rel,
                                             std::memory_order_relaxed);
    }

  private:
    std::atomic<std::uint64_t> _word{0};
};

}  // namespace weir
