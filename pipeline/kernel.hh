// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>

#include <weir/core/future.hh>
#include <weir/pipeline/lane.hh>

// What runs inside stages, without types: an erased call handles a batch.
namespace weir::pipeline {

/// What a kernel made of a batch. With a failure, it is of the element after those consumed. (A
/// chain has consumed what its first kernel has: which of those the failure is of, it can't say.)
struct kernel_step {
    std::size_t consumed = 0;
    std::size_t produced = 0;
    std::exception_ptr failure{};
};

/// The work of one stage, with its state. Each copy of a sharded stage has a kernel of its own.
/// thread   the stage's shard
class kernel {
  public:
    /// As soon as the stage has ended: before elements go that it may still look at.
    virtual ~kernel() = default;
    /// Turns the first of `n` elements into at most `room` new ones, in order. One that ends in
    /// the middle of an element doesn't consume it, and gets it first the next time. What was
    /// constructed counts as produced, whether it fails or not; failures are told by the step, and
    /// nothing is thrown.
    /// in    a lane for each column; `n` may be 0
    /// out   raw slots for each column
    virtual kernel_step run(const lane* in, std::size_t n, const slot_lane* out,
                            std::size_t room) = 0;
    /// Called after the last element of an input that did not fail, until it gives less than
    /// `room`, which is never 0: what was kept back comes out. It fails as run() does.
    virtual kernel_step finish(const slot_lane* out, std::size_t room);
};

/// Where an async_kernel puts its results.
class async_results {
  public:
    /// The slot for the result of `ticket`; completed(ticket) must follow at once.
    virtual const slot_lane* place(std::size_t ticket) noexcept = 0;
    /// fail     null when the result lies in its place
    virtual void completed(std::size_t ticket, std::exception_ptr fail) noexcept = 0;

  protected:
    ~async_results() = default;
};

/// The work of a stage whose results come later, several at a time.
class async_kernel {
  public:
    virtual ~async_kernel() = default;
    /// Begins with element `i`, which stays where it is until the ticket is completed, perhaps
    /// before this call returns.
    virtual void start(const lane* in, std::size_t i, std::size_t ticket, async_results& to) = 0;
    /// What is under way should end soon.
    virtual void abort(const std::exception_ptr& reason) noexcept = 0;
};

/// What a source made of the room that it got.
struct source_step {
    std::size_t produced = 0;
    bool ended = false;  ///< nothing comes after what was produced
};

/// What a whole program did in one go.
struct loop_step {
    std::size_t elements = 0;  ///< of the source that are through
    bool ended = false;        ///< the source has no more
    std::exception_ptr failure{};
};

/// Where elements come from.
/// thread   its stage's shard
class source {
  public:
    virtual ~source() = default;
    /// Constructs up to `room` elements. What it throws ends the stream as a failure, behind what
    /// it has produced by then.
    /// done     counts them as they are constructed: one that lies in its slot and is not counted
    ///          is lost. Nothing produced and not ended: call again when wait() is ready
    virtual void fill(const slot_lane* out, std::size_t room, source_step& done) = 0;
    virtual future<> wait() { return make_ready_future(); }
    /// No more elements are wanted: a pending wait() should end soon.
    virtual void stop() noexcept {}
    /// Called once, when the stage has ended.
    virtual future<> close() { return make_ready_future(); }
};

/// Where elements go.
/// thread   its stage's shard
class sink {
  public:
    virtual ~sink() = default;
    /// Takes the first of `n` elements; of those that it did not take, all are offered again. What
    /// it throws ends the stream as a failure.
    /// returns  how many; fewer: call again when wait() is ready
    virtual std::size_t take(const lane* in, std::size_t n) = 0;
    virtual future<> wait() { return make_ready_future(); }
    /// The pipeline is aborted: what is under way should end soon, however it ends.
    virtual void stop() noexcept {}
    /// Called once, after the last element, or the last one before a failure; those that it did not
    /// take are gone.
    virtual future<> close() { return make_ready_future(); }
};

/// A whole program that neither waits nor keeps anything between its parts.
/// thread   its stage's shard
class program_loop {
  public:
    virtual ~program_loop() = default;
    /// Takes up to `most` elements through. With a failure, `elements` are those before it.
    virtual loop_step run(std::size_t most) = 0;
    /// Called after the last one, unless it failed: what was kept until the end comes out.
    virtual void finish() = 0;
};

}  // namespace weir::pipeline
