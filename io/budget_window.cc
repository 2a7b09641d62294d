// SPDX-License-Identifier: Apache-2.0
#include <weir/io/budget_window.hh>

#include <algorithm>
#include <string>
#include <utility>

#include <weir/core/error.hh>

namespace weir::io {

void budget_options::check() const {
    const auto refuse = [](const char* what) {
        throw error("set up", std::string("I/O budget (") + what + ')', errc::malformed);
    };
    if (window_min == 0 || window_min > window_max) {
        refuse("window_min must not be 0 nor above window_max");
    }
    if (operation_cost == 0 || quantum == 0 || copied_bytes_max == 0) {
        refuse("operation_cost, quantum and copied_bytes_max must not be 0");
    }
    for (const std::uint64_t piece : {operation_bytes_max, direct_operation_bytes_max}) {
        if (piece == 0 || piece % 4096 != 0 || piece > (1U << 30)) {
            refuse(
                "operation_bytes_max and direct_operation_bytes_max must be multiples of 4 KiB, "
                "1 GiB at most");
        }
    }
    if (slack < duration::zero() || contention_memory < duration::zero() ||
        probe_period <= duration::zero()) {
        refuse("slack, contention_memory and probe_period must not be negative");
    }
}

budget_window::budget_window(const budget_options& options) noexcept : _options(options) {
    _counters.size = options.window_min;
}

// Slow operations among many are the device's housekeeping more often than its new speed, so one
// of them moves what is known only a little; a fast one shows what the device can do.
void budget_window::learn_idle(duration& known, duration latency) noexcept {
    if (known == duration::zero()) {
        known = std::max(latency, duration(1));
    } else if (latency < known) {
        known -= (known - latency) / 4;
    } else {
        known += (std::min(latency, 2 * known + _options.slack) - known) / 16;
    }
}

void budget_window::begin(instant now) noexcept {
    probe_if_due(now);
    begin_round(now);
}

void budget_window::begin_round(instant now) noexcept {
    _round_began = now;
    _samples = 0;
    _latency = _target = {};
    _wanted = false;
}

void budget_window::tune(const sample& of, instant now, bool waiting) noexcept {
    learn(of, now);
    _wanted |= waiting;
    if (of.admitted < _round_began) {
        return;  // it waited for what was admitted under an earlier size
    }
    duration& idle = _idle[of.kind];
    if (idle == duration::zero()) {
        learn_idle(idle, of.latency);  // the next idle moment corrects it
    }
    _latency += of.latency;
    _target += idle + std::max(idle, _options.slack);
    if (++_samples >= round_samples) {
        end_round(now);
    }
}

void budget_window::end_round(instant now) noexcept {
    if (_before_probe != 0) {
        _counters.size = std::exchange(_before_probe, 0);
    } else if (_latency > _target) {
        const auto scaled = static_cast<std::uint64_t>(static_cast<double>(_counters.size) *
                                                       static_cast<double>(_target.count()) /
                                                       static_cast<double>(_latency.count()));
        _counters.shrinks += _counters.size > _options.window_min;
        _counters.size = std::max({scaled, _counters.size / 2, _options.window_min});
        _doubles = false;
    } else if (_wanted && _counters.size < _options.window_max) {
        ++_counters.grows;
        const std::uint64_t step =
            _doubles ? _counters.size : _counters.size / 16 + _options.operation_cost;
        _counters.size = std::min(_counters.size + step, _options.window_max);
    }
    probe_if_due(now);
    begin_round(now);
}

// Without it, what is known would drift: under load for ever, the least that is seen is the
// latency that the window itself allows.
void budget_window::probe_if_due(instant now) noexcept {
    if (now - _idle_seen >= _options.probe_period && _counters.size > _options.window_min) {
        ++_counters.probes;
        _before_probe = std::exchange(_counters.size, _options.window_min);
        _idle_seen = now;
    }
}

}  // namespace weir::io
