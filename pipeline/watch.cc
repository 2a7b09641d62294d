// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/watch.hh>

#include <algorithm>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>

namespace weir::pipeline {

watcher::watcher(deployment& of, duration period, std::size_t elements,
                 std::function<void(moment)> look)
    : _of(of), _period(period), _elements(elements), _look(std::move(look)) {}

watcher::~watcher() {
    if (_loop) {
        destroyed_too_soon("a watcher of a deployment", "");
    }
}

future<> watcher::start() {
    _began = this_shard().now();
    if (!co_await look()) {
        _loop = loop();
    }
}

future<> watcher::stop() {
    if (_loop) {
        _stopping.request();
        // A look may have failed: we have stopped all the same.
        future<> ended = std::move(*_loop);
        _loop.reset();
        co_await std::move(ended);
        co_await look();
    }
}

future<> watcher::loop() {
    do {
        future<> woken = sleep_for(_period, _stopping);
        co_await settled(woken);
        std::move(woken).ignore();
    } while (!_stopping.requested() && !co_await look());
}

/// returns  whether all is over
future<bool> watcher::look() {
    moment now{.stages = co_await _of.sample(_elements)};
    now.at = this_shard().now() - _began;
    const bool over = std::ranges::all_of(now.stages, &stage_sample::over);
    _look(std::move(now));
    co_return over;
}

watchers::watchers(deployment& of, watching how) : _of(of), _how(std::move(how)) {
    if (!_how.record.empty()) {
        _recorder = std::make_unique<recorder>(_of, _how.recording);
    }
    if (_how.progress) {
        _progress = std::make_unique<progress_line>(_of, *_how.progress);
    }
}
watchers::~watchers() = default;

future<> watchers::start() {
    if (_how.board != nullptr) {
        _shown = _how.board->show(_of, _how.recording.title);
    }
    if (_recorder) {
        co_await _recorder->start();
    }
    if (_progress) {
        co_await _progress->start();
    }
}

future<> watchers::stop() {
    _shown = {};
    future<> told = _progress ? _progress->stop() : make_ready_future();
    future<> written = _recorder ? stop_recorder() : make_ready_future();
    co_await when_all_succeed(std::move(told), std::move(written));
}

future<> watchers::stop_recorder() {
    future<> stopped = _recorder->stop();
    co_await settled(stopped);
    // What was seen before a look failed is worth seeing, too.
    future<> written = _recorder->write(_how.record);
    co_await when_all_succeed(std::move(stopped), std::move(written));
}

namespace {

// What watches is there before the first element.
future<> begin(deployment& run, std::optional<watchers>& all, watching how) {
    all.emplace(run, std::move(how));
    co_await all->start();
    co_await run.resume();
}

}  // namespace

future<> join_watched(deployment& run, watching how) {
    std::optional<watchers> all;
    future<> begun = begin(run, all, std::move(how));
    co_await settled(begun);
    for (bool stopped = !begun.failed(); !stopped;) {
        future<> asked = futurize([&run] { return run.stop(); });
        co_await settled(asked);
        stopped = !asked.failed();  // else there was no memory for it
        std::move(asked).ignore();
        co_await yield();
    }
    future<> joined = run.join();
    co_await settled(joined);
    future<> stopped = all ? all->stop() : make_ready_future();
    // The run's own failure tells more than those of who watched it.
    co_await when_all_succeed(std::move(begun), std::move(joined), std::move(stopped));
}

future<> run_watched(program what, deploy_options options, watching how) {
    options.paused = true;
    const auto run = co_await deploy(std::move(what), std::move(options));
    co_await join_watched(*run, std::move(how));
}

}  // namespace weir::pipeline
