// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <weir/core/sequencer.hh>
#include <weir/pipeline/columns.hh>

namespace weir::pipeline {

/// The ring that a stage writes: one sequencer, a column of slots for each column of the element.
/// It lies on the stage's shard, and so do its elements until they are destroyed.
/// thread   the stage's, unless said otherwise
class output {
  public:
    /// capacity  elements, a power of two
    /// readers   that will join
    output(const element_type& type, std::size_t capacity, std::size_t readers);
    ~output();
    output(const output&) = delete;
    output& operator=(const output&) = delete;

    /// Claims up to `n` consecutive slots that lie side by side.
    /// into     a lane for each column
    /// returns  how many
    std::size_t claim(std::size_t n, slot_lane* into);
    /// Gives the `n` newest claimed slots back, unpublished; they hold no elements.
    void unclaim(std::size_t n) noexcept { _order.unclaim(n); }
    /// Shows the `n` oldest claimed elements to the readers.
    void publish(std::size_t n) noexcept { _order.publish(n); }
    /// The slot of the claimed element `offset` after the last published one.
    void slot(std::size_t offset, slot_lane* into) const noexcept;
    /// Destroys an element that was constructed and won't be published.
    void drop(std::size_t offset) noexcept;
    /// Ends the stream behind what was published.
    void close(std::exception_ptr failure) noexcept;
    /// Destroys what every reader has released.
    void reclaim() noexcept;
    /// Whether there are elements that reclaim() may have to destroy, now or later.
    bool keeps() const noexcept { return type().destroy != nullptr && !_order.held().empty(); }
    /// Whether all readers have left that are not fed back to the stage itself: nobody wants more.
    /// Only as far as claim() and reclaim() have seen.
    bool abandoned() noexcept;

    /// Adds a reader.
    /// fed_back  it stands before this stage, in a loop
    void join(ring_gate& reader, bool fed_back);

    const element_type& type() const noexcept { return _columns.type(); }
    std::size_t capacity() const noexcept { return _order.capacity(); }
    std::size_t claimed() const noexcept { return _order.claimed(); }
    /// returns  elements published and not released by every reader, as far as the stage knows
    std::size_t queued() const noexcept { return _order.held().count; }
    /// Appends the newest `count` elements that some reader has yet to release, oldest first and
    /// in words for people, with `separator` between them.
    void print(std::size_t count, std::string_view separator, std::string& into) const;
    /// thread   any; only a sample
    sequence cursor() const noexcept { return _order.cursor(); }

    // For readers, on their own shards.

    /// Whether the stream is over for one whose next element is `next`.
    bool ended(sequence next) const noexcept {
        // Pairs with the release in close(): end and failure were written before.
        return _closed.load(std::memory_order_acquire) && next > _order.end();
    }
    /// What the stream ended with; null after a good end. Only once ended().
    const std::exception_ptr& failure() const noexcept { return _failure; }
    /// Where slot 0 of `column` lies.
    const std::byte* column(std::size_t at) const noexcept { return _columns.base(at); }

  private:
    void destroy(sequence_range range) noexcept;
    void lanes(sequence at, slot_lane* into) const noexcept;

    const columns _columns;
    std::vector<slot_lane> _scratch;  // for destroy(): allocates nothing while it runs
    std::exception_ptr _failure;
    std::atomic<bool> _closed{false};
    std::vector<const ring_gate*> _wanting;  // the readers that are not fed back
    std::size_t _gates_seen = 0;             // when _wanting was last looked through
    sequencer _order;
};

}  // namespace weir::pipeline
