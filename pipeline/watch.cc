// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/watch.hh>

#include <algorithm>
#include <memory>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/pipeline/watch_board.hh>

namespace weir::pipeline {

watcher::watcher(deployment& of, duration period, std::size_t elements,
                 std::function<void(moment)> look)
    : _of(of), _period(period), _elements(elements), _look(std::move(look)) {}

watcher::~watcher() {
    WEIR_ASSERT(!_loop);
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
        co_await std::move(*_loop);
        _loop.reset();
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

future<> run_watched(program what, deploy_options options, watching how) {
    // What watches is there before the first element.
    options.paused = true;
    const auto run = co_await deploy(std::move(what), std::move(options));
    std::unique_ptr<recorder> tape;
    std::unique_ptr<progress_line> line;
    watch_board::shown on_board;
    if (how.board != nullptr) {
        on_board = how.board->show(*run, how.recording.title);
    }
    if (!how.record.empty()) {
        tape = std::make_unique<recorder>(*run, how.recording);
        co_await tape->start();
    }
    if (how.progress) {
        line = std::make_unique<progress_line>(*run, *how.progress);
        co_await line->start();
    }
    co_await run->resume();
    future<> joined = run->join();
    co_await settled(joined);
    if (line) {
        co_await line->stop();
    }
    std::exception_ptr failure;
    if (tape) {
        co_await tape->stop();
        try {
            co_await tape->write(how.record);
        } catch (...) {
            failure = std::current_exception();
        }
    }
    joined.take();
    if (failure) {
        std::rethrow_exception(std::move(failure));
    }
}

}  // namespace weir::pipeline
