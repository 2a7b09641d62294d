// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/watch.hh>

namespace weir::pipeline {

namespace {

void write_to_terminal(std::string_view text) {
    // A terminal that takes less misses a part of a line that is written again anyway.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string clock_text(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
    return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                        : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

progress_line::progress_line(deployment& of, progress_options options)
    : _options(std::move(options)),
      _watcher(of, _options.period, 0, [this](const moment& now) { show(now); }) {
    if (!_options.write && ::isatty(STDERR_FILENO) == 1) {
        _options.write = write_to_terminal;
    }
}

future<> progress_line::start() {
    return _options.write ? _watcher.start() : make_ready_future();
}

future<> progress_line::stop() {
    co_await _watcher.stop();
    if (_options.write) {
        _options.write("\n");
    }
}

void progress_line::show(const moment& now) {
    const std::uint64_t done =
        _options.done ? _options.done() : now.stages.front().counted.elements;
    const double seconds = std::chrono::duration<double>(now.at).count();
    if (now.at > _before_at) {
        const double lately = static_cast<double>(done - std::min(done, _before)) /
                              std::chrono::duration<double>(now.at - _before_at).count();
        _rate = _before_at == duration(0) ? lately : 0.8 * _rate + 0.2 * lately;
        _before = done;
        _before_at = now.at;
    }
    const bool over = now.stages.back().over;
    const double rate = over && seconds > 0 ? static_cast<double>(done) / seconds : _rate;
    std::string line = fmt::format("\r\x1b[K{}  ", _options.title);
    if (_options.total != 0) {
        constexpr std::size_t width = 24;
        const double share =
            std::min(1.0, static_cast<double>(done) / static_cast<double>(_options.total));
        const auto full = static_cast<std::size_t>(share * width);
        line +=
            fmt::format("[{:━<{}}{:╌<{}}] {:3.0f} %  ", "", full, "", width - full, 100 * share);
    }
    line += fmt::format("{}{}  {}{}/s  {}", short_number(static_cast<double>(done)), _options.unit,
                        short_number(rate), _options.unit, clock_text(seconds));
    if (_options.total > done && rate > 0 && !over) {
        line +=
            fmt::format("  {} left", clock_text(static_cast<double>(_options.total - done) / rate));
    }
    _options.write(line);
}

}  // namespace weir::pipeline
