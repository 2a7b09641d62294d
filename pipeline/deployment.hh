// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/gate.hh>
#include <weir/pipeline/plan.hh>
#include <weir/pipeline/stage.hh>

namespace weir::pipeline {

/// How far a stage is with the ring of another one, at one moment.
struct reader_sample {
    unsigned writer = 0;      ///< whose ring; in plan::stages
    std::uint64_t taken = 0;  ///< elements of it that the stage gave back
    std::size_t queued = 0;   ///< elements of it that wait for the stage
};

/// What a stage has done and how full its ring is, at one moment.
struct stage_sample {
    unsigned stage = 0;  ///< in plan::stages
    stage_counters counted{};
    sequence cursor = -1;    ///< the last element it published; a sink: the last it took
    std::size_t queued = 0;  ///< elements in its ring that some reader has yet to release
    bool over = false;
    stage_waits waits{};
    std::vector<reader_sample> readers{};  ///< one for each ring that it reads
    std::string newest{};                  ///< of what is queued, as asked for
};

/// A program that runs: a part of it on each shard that has stages. It ends when its source does,
/// when a stage fails, or when it is stopped; then join() must be awaited before it goes.
/// thread   the shard that deployed it
class deployment {
  public:
    deployment(const deployment&) = delete;
    deployment& operator=(const deployment&) = delete;
    /// Joined by now (asserted).
    ~deployment();

    /// Waits for the end of every stage and frees all rings. What it needs memory for it tries
    /// again until there is some, so that it ends even where the pipeline ran out of it.
    /// fails    as the element that comes first of those that failed, or as the sink did; called
    ///          again after it, as before
    future<> join();
    /// Whether join() has seen the end of every stage, even if it failed.
    bool joined() const noexcept { return _joined; }
    /// The source gives no more; what it gave still comes out.
    /// fails    std::bad_alloc, as pause() and resume() may: nothing was done
    future<> stop();
    /// Ends every stage now, with what is in their rings: join() fails with `reason`, unless the
    /// sink has ended before. Sources, sinks and functions of futures that take an abort_source are
    /// told, and waited for; what has not ended after deploy_options::abort_grace is disowned. It
    /// is counted (stage_counters::disowned), its result is dropped, and its element, all rings and
    /// the functions stay until it has ended, after join().
    /// reason   null: an error of errc::aborted
    /// fails    std::bad_alloc: perhaps not all stages have heard; call it again
    future<> abort(std::exception_ptr reason = nullptr);
    /// The source gives nothing until resume(); what it gave still comes out.
    future<> pause();
    future<> resume();

    /// What was deployed: stages, shards, streams.
    const plan& laid_out() const noexcept { return *_plan; }
    /// Asks every part for what its stages have done. May be asked while join() waits, and after
    /// it: then it is what they had done in the end.
    /// elements  of each ring, the newest so many in words
    /// returns   a sample for each stage, in their order
    /// cost      a call to each shard; the stages don't notice, but that a few runs are timed
    future<std::vector<stage_sample>> sample(std::size_t elements = 0);

  private:
    friend future<std::unique_ptr<deployment>> deploy(program what, deploy_options options);
    class part;

    explicit deployment(std::shared_ptr<const plan> laid);
    future<> build();
    future<> start();
    future<> until_ended();
    future<> take_apart();
    future<> until_deserted();
    static future<> bury(std::unique_ptr<deployment> remains);
    future<> insist(future<> (deployment::*step)());
    future<std::vector<stage_sample>> ask_parts(std::size_t elements);
    template <typename Fn>
    future<> on_parts(Fn fn);
    template <typename Fn>
    future<> with_source(Fn fn);

    std::shared_ptr<const plan> _plan;
    std::vector<std::unique_ptr<part>> _parts;  // by shard; null where there are no stages
    std::vector<output*> _rings;                // by stage; null for the sink
    gate _samplers;                             // closed once the end was sampled
    std::vector<stage_sample> _at_end;          // then
    std::exception_ptr _failure;                // of the sink, once that was looked at
    bool _joining = false;
    bool _joined = false;
};

/// Lays a program out on this host's shards and starts it.
/// fails    weir::error malformed, as lay_out() does; as the making of a source, kernel or sink
/// did;
///          std::bad_alloc, for a ring say. Then nothing has begun, and nothing is left
/// thread   any shard; it is the deployment's home
future<std::unique_ptr<deployment>> deploy(program what, deploy_options options = {});

/// Deploys a program and waits for its end.
future<> run(program what, deploy_options options = {});

}  // namespace weir::pipeline
