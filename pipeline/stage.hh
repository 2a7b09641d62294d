// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/poller.hh>
#include <weir/core/shard.hh>
#include <weir/core/task.hh>
#include <weir/core/timer.hh>
#include <weir/pipeline/kernel.hh>
#include <weir/pipeline/output.hh>
#include <weir/pipeline/plan.hh>
#include <weir/pipeline/view.hh>

namespace weir::pipeline {

/// What a stage has done; read by who watches, on the stage's own shard.
struct stage_counters {
    std::uint64_t elements = 0;  ///< taken, or made if it is a source
    std::uint64_t batches = 0;
    std::uint64_t runs = 0;      ///< times it had its turn
    std::uint64_t starved = 0;   ///< found nothing to take
    std::uint64_t blocked = 0;   ///< found no room for what it would give
    std::uint64_t failures = 0;  ///< that began here: at most one, it ends the stream
    std::uint64_t disowned = 0;  ///< futures that an abort did not wait for any longer
    // Of a few runs after each look that someone takes, since the clock costs time.
    duration service{};                  ///< spent in them
    std::uint64_t sampled_elements = 0;  ///< that went through in them
};

/// How much of what a stage waits for outside is under way.
struct stage_waits {
    std::size_t now = 0;   ///< futures; 1 for a source or sink that waits
    std::size_t most = 0;  ///< 0 for a stage that never waits
};

/// Whether stages of one shard wait for news from another, and whether there are some: a word for
/// each two shards of a deployment, in memory of the one that waits. A bell for each move would
/// cost the line of the bell and end the other's slice, though mostly nobody waits; this word stays
/// with whoever tells. And bells ring for calls, too: the word says whether one was ours. Both
/// sides only ever read, modify and write it: either the waiting side's change comes first, and who
/// tells sees it, or that side sees, as it looks once more, all that was published before.
class alignas(line_pair) waiting_word {
  public:
    /// Wants to be told of what comes. Who calls it must look once more.
    /// thread   the waiting shard
    void wait() noexcept {
        // Pairs with take(), both ways. Who waited before us has news that we would hide.
        _hidden |= _state.exchange(waits, std::memory_order_acq_rel) == told;
    }
    /// returns  whether the waiting shard must be rung, which it then need not be again
    /// thread   the shard that moved
    bool take() noexcept {
        // Pairs with wait() and news(), both ways.
        return (_state.fetch_and(told, std::memory_order_acq_rel) & asks) != 0;
    }
    /// returns  whether the word was taken since the last call
    /// thread   the waiting shard
    bool news() noexcept {
        bool taken = std::exchange(_hidden, false);
        if (_state.load(std::memory_order_relaxed) == told) {
            // Pairs with take(): what was published before it is seen now.
            _state.exchange(quiet, std::memory_order_acq_rel);
            taken = true;
        }
        return taken;
    }

  private:
    static constexpr std::uint8_t quiet = 0;
    static constexpr std::uint8_t asks = 1;
    static constexpr std::uint8_t told = 2;
    static constexpr std::uint8_t waits = asks | told;
    std::atomic<std::uint8_t> _state{quiet};
    bool _hidden = false;  // the waiting shard's: a take that a later wait() has covered
};

/// A stage at work: a task of its shard that takes what is there, as far as there is room, and
/// lets others run. It never blocks, so many of them share a shard, whatever their order.
/// thread   its shard's
class stage : public task {
  public:
    stage(const stage_plan& planned, const deploy_options& options);
    virtual ~stage();

    /// Runs for the first time.
    void start();
    /// A neighbour moved.
    void wake() noexcept;
    /// Ready when the stage has ended, for whatever reason; it has left all rings then. For one at
    /// a time.
    future<> until_ended() noexcept;

    /// Ends with `reason`, which whatever it waits for outside is told. What has not ended after
    /// `grace` is disowned: the stage ends without it, and all that it may look at must stay.
    void abort(const std::exception_ptr& reason, duration grace) noexcept;
    /// Ready when nothing that the stage began is under way, once it is over. For one at a time.
    future<> until_deserted() noexcept;

    /// Adds whom it tells that it moved: the stages around it.
    void add_neighbour(stage& local);
    /// ours     whether we wait for news from that shard
    /// theirs   whether it waits for news from ours
    void add_neighbour(shard_id remote, waiting_word& ours, waiting_word& theirs);
    /// Adds a leaf of its view: a view may give elements back that the stage never saw.
    void add_leaf(ring_view& read) { _leaves.push_back(&read); }

    const stage_plan& planned() const noexcept { return _planned; }
    const stage_counters& counters() const noexcept { return _counters; }
    bool over() const noexcept { return _over; }
    virtual stage_waits waits() const noexcept { return {}; }
    /// Measures what the next few runs that do something take.
    void time_runs() noexcept { _runs_to_time = timed_runs; }
    /// Null for a sink and a whole program.
    virtual output* ring() noexcept { return nullptr; }

    // For the first stage: it gives no more, nothing until resume(), goes on.
    virtual void stop() noexcept {}
    virtual void pause() noexcept {}
    virtual void resume() noexcept {}
    /// What it ended with; of the last stage, what the whole pipeline did. Null after a good end.
    const std::exception_ptr& failure() const noexcept { return _failure; }

  protected:
    /// Whether it is time to look at what lies with others and matters little: when a line of
    /// theirs is asked for at each poll, they lose it each time.
    bool looks_around() const noexcept { return _polls == 0 || _polls >= _polls_max; }

    enum class progress : std::uint8_t { moved, waiting, ended };

    /// Why it should end; null unless it was aborted.
    const std::exception_ptr& aborted() const noexcept { return _aborted; }
    /// What it waits for outside should end soon.
    virtual void tell_of_abort() noexcept {}
    /// It ends while what it waits for goes on: tells its readers, and leaves nothing.
    virtual void desert() noexcept {}
    /// Something that was disowned has ended.
    void deserted() noexcept;

    /// Handles one batch.
    virtual progress step() = 0;
    /// Goes on when what `begin()` returns is ready; `_waiting` until then. A failure becomes
    /// `_failure`, unless there is one already.
    template <typename Begin>
    progress wait_for(Begin begin) noexcept;

    bool _waiting = false;
    std::exception_ptr _failure;

    stage_counters _counters;
    const stage_plan& _planned;
    std::size_t _batch;  // elements that a step may handle, at most

  private:
    static constexpr unsigned timed_runs = 4;
    // Batches after which neighbours on the shard get their turn: what passes between them then
    // still lies in the nearest cache.
    static constexpr unsigned batches_in_a_row = 4;

    // A batch should take about so long: what it costs to begin one is then lost in it, and who
    // waits for its elements doesn't wait long.
    static constexpr duration batch_min = std::chrono::microseconds(4);
    static constexpr duration batch_max = std::chrono::microseconds(32);

    // Nobody knows yet how long an element takes.
    static constexpr std::size_t first_batch = 1;
    // The clock costs time: the first batches are timed, then one run in so many, of one batch;
    // but each one where the last took too long.
    static constexpr unsigned tuned_at_first = 16;
    static constexpr unsigned tuned_runs = 8;
    // After one that took so long the others of the shard have their turn, timers and completions
    // too, before the stage has another.
    static constexpr duration turn_max = std::chrono::microseconds(500);

    struct remote_shard {
        shard_id shard;
        waiting_word* ours;
        waiting_word* theirs;
    };

    /// What makes it go on when what it waits for outside is there.
    class arrival final : public task {
      public:
        explicit arrival(stage& of) noexcept : _of(of) {}
        void run() noexcept override;

      private:
        stage& _of;
    };

    /// Another turn of the shard, not of the scheduler.
    class next_turn final : public timer {
      public:
        explicit next_turn(stage& of) noexcept : _of(of) {}

      private:
        void fire() noexcept override;
        stage& _of;
    };

    /// How long an abort waits.
    class grace final : public timer {
      public:
        explicit grace(stage& of) noexcept : _of(of) {}

      private:
        void fire() noexcept override { _of.disown(); }
        stage& _of;
    };

    void run() noexcept final;
    void disown() noexcept;
    void come_back() noexcept;
    void run_timed() noexcept;
    void look_at_awaited() noexcept;
    void clear_up() noexcept;
    void work() noexcept;
    /// took     by one batch
    /// more     there was more to do, so it was as large as it may be
    void tune_batch(duration took, bool more) noexcept;
    bool gave_back() noexcept;
    void tell_neighbours() noexcept;

    const std::size_t _batch_most;
    const unsigned _polls_max;
    unsigned _polls = 0;
    unsigned _runs_to_time = 0;
    bool _announced = false;  // that it waits; then it looks once more
    bool _slow = false;       // the last batch that was timed took too long
    bool _very_slow = false;  // it took the whole turn
    bool _idle = false;
    bool _over = false;
    std::vector<stage*> _local;
    std::vector<remote_shard> _remote;
    std::vector<ring_view*> _leaves;
    promise<> _ended;  // for who waits
    arrival _arrival;
    next_turn _next_turn;
    std::exception_ptr _aborted;
    grace _grace;
    promise<> _deserted;  // for who waits
    future<> _awaited;
};

/// What stages with a ring have in common.
class producing_stage : public stage {
  public:
    producing_stage(const stage_plan& planned, const deploy_options& options, output& to);
    output* ring() noexcept final { return &_out; }

  protected:
    /// Shows the `n` oldest claimed elements to the readers, which have gone on while they were
    /// made; see poller::let_peers_run().
    void publish(std::size_t n) {
        if (_peers_stand_still) [[unlikely]] {
            this_shard().outside().let_peers_run();
        }
        _out.publish(n);
    }

    output& _out;
    std::vector<slot_lane> _slots;

  private:
    const bool _peers_stand_still;
};

/// A kernel, or a chain of them, between a view and a ring.
class work_stage final : public producing_stage {
  public:
    work_stage(const stage_plan& planned, const deploy_options& options, output& to,
               std::unique_ptr<view> from, std::unique_ptr<kernel> work);

  private:
    progress step() override;
    progress finish();
    progress end(std::exception_ptr failure);

    const std::unique_ptr<view> _in;
    std::unique_ptr<kernel> _kernel;  // until the stage has ended
    std::vector<lane> _lanes;
};

/// Several futures at a time between a view and a ring, ordered or not.
class async_stage final : public producing_stage, async_results {
  public:
    async_stage(const stage_plan& planned, const deploy_options& options, output& to,
                std::unique_ptr<view> from);
    stage_waits waits() const noexcept override {
        return {over() ? _pending : _next - _oldest, _flights.size()};
    }

  private:
    progress step() override;
    void tell_of_abort() noexcept override { _kernel->abort(aborted()); }
    void desert() noexcept override { _out.close(aborted()); }
    const slot_lane* place(std::size_t ticket) noexcept override;
    void completed(std::size_t ticket, std::exception_ptr fail) noexcept override;

    bool wanted() noexcept;
    bool begin();
    bool settle();

    struct flight {
        bool done = false;
        bool failed = false;
        std::exception_ptr failure{};
    };
    flight& at(std::size_t ticket) noexcept { return _flights[ticket % _flights.size()]; }

    const bool _ordered;
    const std::unique_ptr<view> _in;
    const std::unique_ptr<async_kernel> _kernel;
    std::vector<lane> _lanes;
    std::vector<flight> _flights;  // by ticket, round and round
    std::size_t _oldest = 0;       // the first ticket whose element was not released
    std::size_t _next = 0;         // the next ticket
    std::size_t _pending = 0;      // tickets that are not completed
    std::size_t _stored = 0;       // unordered: results stored and not published
    bool _failed = false;          // unordered: the first failure ends it
};

/// A source and its ring.
class source_stage final : public producing_stage {
  public:
    source_stage(const stage_plan& planned, const deploy_options& options, output& to,
                 std::unique_ptr<source> from);
    void stop() noexcept override;
    void pause() noexcept override { _paused = true; }
    void resume() noexcept override;
    stage_waits waits() const noexcept override { return {_waiting ? 1U : 0U, 1}; }

  private:
    progress step() override;
    void tell_of_abort() noexcept override { stop(); }
    void desert() noexcept override { _out.close(aborted()); }
    progress end(std::exception_ptr failure);

    const std::unique_ptr<source> _source;
    bool _stopped = false;
    bool _paused = false;
    bool _closing = false;
};

/// A view and a sink.
class sink_stage final : public stage {
  public:
    sink_stage(const stage_plan& planned, const deploy_options& options, std::unique_ptr<view> from,
               std::unique_ptr<sink> to);
    stage_waits waits() const noexcept override { return {_waiting ? 1U : 0U, 1}; }

  private:
    progress step() override;
    void tell_of_abort() noexcept override { _sink->stop(); }
    void desert() noexcept override { _failure = _failure ? _failure : aborted(); }
    progress end(std::exception_ptr failure);

    const std::unique_ptr<view> _in;
    const std::unique_ptr<sink> _sink;
    std::vector<lane> _lanes;
    std::size_t _offered = 0;  // and not taken, perhaps lent to a write
    bool _closing = false;
};

/// A whole program as one loop.
class whole_stage final : public stage {
  public:
    whole_stage(const stage_plan& planned, const deploy_options& options,
                std::unique_ptr<program_loop> loop)
        : stage(planned, options), _loop(std::move(loop)) {}
    void stop() noexcept override;
    void pause() noexcept override { _paused = true; }
    void resume() noexcept override;

  private:
    progress step() override;

    const std::unique_ptr<program_loop> _loop;
    bool _stopped = false;
    bool _paused = false;
};

/// One kernel out of several that follow one another, each one out per one in or less.
std::unique_ptr<kernel> make_chain(const std::vector<node_ptr>& nodes);

}  // namespace weir::pipeline
