// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <weir/core/ring_gate.hh>
#include <weir/pipeline/output.hh>
#include <weir/pipeline/stream.hh>

namespace weir::pipeline {

/// One reader's place in a stream, whatever rings it lies in. Views gate every ring that they
/// read: nothing is overwritten before release().
/// thread   the reader's shard
class view {
  public:
    virtual ~view() = default;
    view(const view&) = delete;
    view& operator=(const view&) = delete;

    /// How many of the next elements can be gathered now.
    /// max      1..max_batch
    /// fresh    looks for what was published since, even if something seen earlier is left
    /// returns  at most `max`; 0: none yet, or none any more
    virtual std::size_t see(std::size_t max, bool fresh) = 0;
    std::size_t ready(std::size_t max) { return see(max, false); }

    /// Says where the next `n` elements lie.
    /// n        at most what see() gave
    /// into     a lane for each column, good until the next call
    virtual void gather(std::size_t n, lane* into) = 0;
    /// Gives the `n` oldest elements back: once after each see(), which knows where they lie.
    virtual void release(std::size_t n) = 0;
    /// Whether the stream is over; asked when nothing is ready.
    virtual bool ended() = 0;
    /// What it ended with, once ended(); null after a good end.
    virtual std::exception_ptr failure() = 0;
    /// Wants nothing more.
    virtual void leave() noexcept = 0;

    std::size_t columns() const noexcept { return _columns; }

  protected:
    explicit view(std::size_t columns) noexcept : _columns(columns) {}

  private:
    const std::size_t _columns;
};

/// A view of one ring, or of every stride-th block of it: the leaves of all views.
class ring_view final : public view {
  public:
    ring_view(output& from, std::size_t first_column, std::size_t columns, dealing deal,
              std::size_t which);

    std::size_t see(std::size_t max, bool fresh) override;
    void gather(std::size_t n, lane* into) override;
    void release(std::size_t n) override;
    bool ended() override;
    std::exception_ptr failure() override { return _from.failure(); }
    void leave() noexcept override;

    /// Enters the gate with its producer.
    /// thread   the producer's; the reader's has not begun
    /// fed_back  the reader stands before the ring's writer, in a loop
    void join(bool fed_back);
    const ring_gate& gate() const noexcept { return _gate; }
    /// returns  elements of ours that are published and not given back; only a sample
    std::size_t queued() const noexcept;
    /// returns  elements given back
    std::uint64_t taken() const noexcept { return _taken; }
    /// returns  whether elements were given back since the last call: their writer should know
    bool take_moved() noexcept { return std::exchange(_moved, false); }

  private:
    sequence place(std::size_t i) const noexcept;
    std::size_t count_mine(std::size_t seen) const noexcept;

    /// Where the elements of a column lie: slot 0, and the bytes of an element.
    struct slots {
        const std::byte* base;
        std::size_t size;
    };

    output& _from;
    // Copies: in the output they lie beside what its stage writes.
    const std::size_t _capacity;
    std::vector<slots> _slots;  // by column
    const dealing _deal;
    const std::size_t _which;
    bool _left = false;
    bool _moved = false;
    std::uint64_t _taken = 0;
    std::size_t _shown = 0;                 // by the last see(); 0 once some went back
    sequence _next;                         // the next element that is ours
    std::vector<const std::byte*> _picked;  // for each column, max_batch pointers
    ring_gate _gate;
};

/// Where a reader finds the rings, and where the leaves of its views are noted.
struct view_context {
    std::function<output&(unsigned stage)> ring;
    /// Called with each leaf and the stage that writes its ring.
    std::function<void(ring_view& leaf, unsigned stage)> found;
};

/// Builds the reader's side of a stream.
/// thread   the reader's
std::unique_ptr<view> make_view(const stream& described, const view_context& context);

}  // namespace weir::pipeline
