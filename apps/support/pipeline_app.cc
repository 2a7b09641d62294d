// SPDX-License-Identifier: Apache-2.0
#include <support/pipeline_app.hh>

#include <deque>
#include <exception>
#include <new>

#include <CLI/CLI.hpp>
#include <support/numbers.hh>

#include <weir/core/abort.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/host.hh>
#include <weir/core/sleep.hh>

namespace apps {

using namespace weir;

namespace {

// What an application takes at most: a slip of the finger must not cost all memory.
constexpr std::uint64_t shards_max = 1024;
constexpr std::uint64_t capacity_max = 1 << 20;
constexpr std::uint64_t record_elements_max = 10'000;

// CLI11 takes "[a,b]" for a list of two: a name that looks so is marked until it has read it.
constexpr char name_mark = '\1';

bool may_pass_for_list(std::string_view argument) noexcept {
    return argument.starts_with(name_mark) ||
           (argument.starts_with('[') && argument.ends_with(']'));
}

void take_as_names(CLI::Option& option) {
    option.transform(CLI::Validator(
        [](std::string& name) {
            if (name.starts_with(name_mark)) {
                name.erase(0, 1);
            }
            return std::string();
        },
        ""));
}

/// Whether what was asked for has begun. If there was no memory for it one asks again, since a
/// deployment has to be joined in any case; whatever else it failed with stays so.
bool heard(future<>& asked) {
    if (!asked.failed()) {
        return true;
    }
    try {
        std::rethrow_exception(asked.take_failure());
    } catch (const std::bad_alloc&) {
        return false;
    } catch (const error& failure) {
        return !failure.is(errc::overloaded);
    } catch (...) {
        return true;
    }
}

}  // namespace

void add_options(CLI::App& to, pipeline_options& options, std::string title) {
    // What these say goes to a terminal, where it is the result that counts.
    options.run.host.logging.level = log_level::warning;
    // Nobody else waits on these shards: an element may take as long as it takes.
    options.run.stall.threshold = {};
    CLI::Option* const shards = to.add_option_function<unsigned>(
        "--shards",
        [&options](unsigned count) {
            options.run.placement.shards = count;
            // Stages that wait for more than one another run well on fewer cores, too.
            options.run.placement.allow_overcommit = true;
        },
        "Cores to use, or more shards than there are cores; default: all cores");
    between(*shards, 1, shards_max);
    between(*to.add_option("--capacity", options.deploy.capacity, "Elements of each ring")
                 ->capture_default_str(),
            1, capacity_max);
    between(*to.add_option("--batch", options.deploy.batch, "Elements that a stage handles at once")
                 ->capture_default_str(),
            1, pipeline::max_batch);
    to.add_flag_callback(
        "--pack", [&options] { options.deploy.where.how = pipeline::placement::policy::pack; },
        "All stages on one core, where neighbours become one; copies of a shard are spread");
    options.watch.recording.title = std::move(title);
    take_as_names(*to.add_option("--record", options.watch.record,
                                 "SVG file to write, which plays the run in a browser"));
    between(*to.add_option("--record-elements", options.watch.recording.elements,
                           "Show the newest so many elements of each ring in it; default: none"),
            0, record_elements_max);
}

void add_files(CLI::App& to, std::vector<std::string>& paths, std::string description) {
    take_as_names(*to.add_option("FILE", paths, std::move(description)));
}

std::optional<int> parse(CLI::App& app, int argc, char** argv) {
    std::deque<std::string> marked;
    std::vector<const char*> arguments(argv, argv + argc);
    for (const char*& each : arguments) {
        if (may_pass_for_list(each)) {
            each = marked.emplace_back(name_mark + std::string(each)).c_str();
        }
    }
    try {
        app.parse(argc, arguments.data());
    } catch (const CLI::ParseError& wrong) {
        return app.exit(wrong) == 0 ? 0 : 1;
    }
    return std::nullopt;
}

runs::runs() : _watching(watch()) {}

future<> runs::watch() {
    co_await this_host().until_stop();
    _stopped = true;
    _stopping.request();
    if (_current == nullptr) {
        co_return;
    }
    _early = true;
    // The patience begins first: without memory for one of them there is the other.
    future<> patience = make_ready_future();
    for (bool begun = false, done = false; !(begun && done) && _current != nullptr;) {
        if (!begun) {
            try {
                patience = sleep_for(_patience, _ended);
                begun = true;
            } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): begins later
            }
        }
        if (!done) {
            future<> asked = futurize([this] { return _current->stop(); });
            co_await settled(asked);
            done = heard(asked);
        }
        co_await yield();
    }
    co_await settled(patience);
    if (patience.failed()) {
        std::move(patience).ignore();  // it has ended meanwhile
        co_return;
    }
    for (bool done = false; !done && _current != nullptr;) {
        future<> asked = futurize([this] { return _current->abort(); });
        co_await settled(asked);
        done = heard(asked);
        co_await yield();
    }
}

future<bool> runs::run(pipeline::program what, pipeline_options options) {
    options.deploy.paused = true;  // until who watches is there
    const auto deployed = co_await pipeline::deploy(std::move(what), std::move(options.deploy));
    _early = _stopped;
    _current = _stopped ? nullptr : deployed.get();
    _patience = options.stop_patience;
    for (bool done = !_early; !done;) {
        future<> asked = futurize([&] { return deployed->stop(); });
        co_await settled(asked);
        done = heard(asked);
        co_await yield();
    }
    // The deployment must not go before whoever stops it is done.
    co_await pipeline::join_watched(*deployed, std::move(options.watch)).finally([&] {
        _current = nullptr;
        if (!_stopped || !_watching.valid()) {
            return make_ready_future();
        }
        _ended.request();
        return std::move(_watching);
    });
    co_return !_early;
}

future<> runs::close() {
    this_host().request_stop();
    if (_watching.valid()) {
        co_await std::move(_watching);
    }
}

future<> run_whole(runs& all, pipeline::program what, pipeline_options options) {
    if (!co_await all.run(std::move(what), std::move(options))) {
        throw error("run", "pipeline", errc::aborted);
    }
}

future<bool> run_to_end(pipeline::program what, pipeline_options options) {
    runs all;
    co_return co_await all.run(std::move(what), std::move(options)).finally([&] {
        return all.close();
    });
}

}  // namespace apps
