// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <weir/core/abort.hh>
#include <weir/pipeline/deployment.hh>
#include <weir/pipeline/picture.hh>
#include <weir/pipeline/watch_board.hh>

namespace weir::pipeline {

/// Looks at a deployment again and again. It may begin and end while that runs, and costs its
/// stages nothing: it asks for sequences and counts that are there anyway.
/// thread   the shard that deployed; stop() must have ended before destruction
class watcher {
  public:
    /// period    between two looks
    /// elements  as for deployment::sample()
    /// look      called with each moment
    watcher(deployment& of, duration period, std::size_t elements,
            std::function<void(moment)> look);
    ~watcher();

    /// Ready after a first look; goes on until stop(), or until all stages are over or a look
    /// fails.
    /// fails    as the first look did; later ones are told by stop()
    future<> start();
    /// Takes a last look. The deployment may have been joined before.
    /// fails    as a look did; it has stopped all the same
    future<> stop();

    duration period() const noexcept { return _period; }
    void set_period(duration period) noexcept { _period = period; }

  private:
    future<> loop();
    future<bool> look();

    deployment& _of;
    duration _period;
    const std::size_t _elements;
    const std::function<void(moment)> _look;
    instant _began{};
    abort_source _stopping;
    std::optional<future<>> _loop;
};

struct recorder_options {
    std::string title = "pipeline";
    duration period = std::chrono::milliseconds(2);  ///< from one frame to the next
    /// When so many are there, every second one is dropped and the period doubles.
    std::size_t frames_max = 800;
    std::size_t elements = 0;  ///< the newest so many of each ring in words, in every frame
};

/// Records how a run went, as one SVG file that plays it: with nothing to load, in any browser.
/// thread   the shard that deployed; stop() must have ended before destruction
class recorder {
  public:
    recorder(deployment& of, recorder_options options);

    /// Ready when the first frame is there.
    future<> start() { return _watcher.start(); }
    future<> stop() { return _watcher.stop(); }

    std::size_t frames() const noexcept { return _frames.size(); }
    duration period() const noexcept { return _watcher.period(); }
    /// The file, once stopped.
    std::string svg() const;
    /// fails    weir::error, as file does
    future<> write(std::string path) const;

  private:
    struct frame {
        std::vector<std::int64_t> values{};  // microseconds, then of each stage and each edge
        std::vector<std::string> newest{};   // by stage, if asked for
    };
    void add(moment now);
    std::string frames_json() const;

    const recorder_options _options;
    const picture _drawn;
    std::vector<frame> _frames;
    moment _shown;  // where there are no scripts: the latest with the most stages at work
    std::vector<std::size_t> _waited;  // by stage: of all frames, what was under way
    std::size_t _seen = 0;
    std::size_t _at_work = 0;
    watcher _watcher;
};

struct progress_options {
    std::string title = "pipeline";
    std::uint64_t total = 0;  ///< what done() counts to in the end; 0: nobody knows
    /// How far it is, on the shard that deployed; empty: the elements that the source made.
    std::function<std::uint64_t()> done{};
    std::string unit{};  ///< behind figures: "B"
    duration period = std::chrono::milliseconds(200);
    /// Where lines go; empty: to standard error if that is a terminal, else nowhere.
    std::function<void(std::string_view)> write{};
};

/// One line that says how far a run is, written again and again over itself.
/// thread   the shard that deployed; stop() must have ended before destruction
class progress_line {
  public:
    progress_line(deployment& of, progress_options options);

    future<> start();
    /// Writes how it ended, and ends the line.
    future<> stop();

  private:
    void show(const moment& now);

    progress_options _options;
    std::uint64_t _before = 0;
    duration _before_at{};
    double _rate = 0;
    watcher _watcher;
};

/// How people may watch a run.
struct watching {
    std::string record{};  ///< the file of a recorder; empty: none
    recorder_options recording{};
    std::optional<progress_options> progress{};
    watch_board* board = nullptr;  ///< shows it on an admin page, under the recording's title
};

/// All that watches one deployment, as one.
/// thread   the shard that deployed; stop() must have ended before destruction
class watchers {
  public:
    watchers(deployment& of, watching how);
    ~watchers();

    /// Ready when all have had a first look; a deployment that is paused until then is seen whole.
    future<> start();
    /// Takes a last look, after join() or before it, and writes the recording, up to a look that
    /// failed if one did. To be called when start() has failed, too: others may have begun before.
    /// fails    as a look did, or as recorder::write() does; all have stopped all the same
    future<> stop();

  private:
    future<> stop_recorder();

    deployment& _of;
    const watching _how;
    std::unique_ptr<recorder> _recorder;
    std::unique_ptr<progress_line> _progress;
    watch_board::shown _shown;
};

/// Resumes a deployment that is paused and waits for its end while people watch. If it can't be
/// watched from the beginning it is stopped; in the end it is joined, whatever fails.
/// fails    as the first look did; as deployment::join() does; as watchers::stop() does
future<> join_watched(deployment& run, watching how);

/// Deploys a program and waits for its end, as run() does, while people watch.
/// fails    as deploy() and join_watched() do
future<> run_watched(program what, deploy_options options, watching how);

}  // namespace weir::pipeline
