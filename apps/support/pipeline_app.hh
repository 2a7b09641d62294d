// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
#include <weir/pipeline/watch.hh>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;       // NOLINT(readability-identifier-naming): CLI11's
}

// What the small applications that each run pipelines have in common.
namespace apps {

struct pipeline_options {
    weir::io::run_options run;
    weir::pipeline::deploy_options deploy;
    weir::pipeline::watching watch;
    /// How long what was read may take to come out, once the host is asked to stop.
    weir::duration stop_patience = std::chrono::milliseconds(500);
};

/// Adds the options of the machine, of the deployment and of its recorder.
/// title    of a recording
void add_options(CLI::App& to, pipeline_options& options, std::string title);

/// Adds what follows the options: names of files, whatever letters they have.
void add_files(CLI::App& to, std::vector<std::string>& paths, std::string description);

/// Reads a command line.
/// returns  the exit status if there is nothing to do: 0 after --help, 1 after what is wrong
std::optional<int> parse(CLI::App& app, int argc, char** argv);

/// Programs of one host, one after the other. Once the host is asked to stop, the one that runs is
/// ended early: its source gives no more, what was read comes out, and if nobody takes that in
/// time, it is aborted.
/// thread   shard 0; close() must have ended before its destruction
class runs {
  public:
    runs();
    runs(const runs&) = delete;
    runs& operator=(const runs&) = delete;

    /// Deploys a program on the host's shards, recorded if that was asked for, and waits for its
    /// end.
    /// returns  false if it was ended early, or never began
    /// fails    as the program did; with errc::aborted if it did not end in time
    weir::future<bool> run(weir::pipeline::program what, pipeline_options options);
    /// The host is to stop, too.
    weir::future<> close();
    /// Requested once the host is asked to stop: for what else takes its time.
    weir::abort_source& stopping() noexcept { return _stopping; }

  private:
    weir::future<> watch();

    weir::pipeline::deployment* _current = nullptr;
    weir::duration _patience{};
    weir::abort_source _ended;
    weir::abort_source _stopping;
    bool _stopped = false;
    bool _early = false;
    weir::future<> _watching;
};

/// As runs::run(), for who has no use for a part of a run.
/// fails    with errc::aborted, too, if it was ended early
weir::future<> run_whole(runs& all, weir::pipeline::program what, pipeline_options options);

/// Runs `body(runs&)`, which may run several programs, and ends its host.
template <typename Body>
weir::future<> with_runs(Body body) {
    runs all;
    co_await weir::futurize([&] { return body(all); }).finally([&] { return all.close(); });
}

/// Runs one program, and ends its host. Once for each host.
/// returns  false if it was ended early
/// fails    as runs::run()
weir::future<bool> run_to_end(weir::pipeline::program what, pipeline_options options);

}  // namespace apps
