// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "bed.hh"

namespace weir::broker::storage_test {

/// What a crash test met, so that it can say that it met enough.
struct crash_statistics {
    std::uint64_t acknowledged = 0;
    std::uint64_t power_cuts = 0;
    std::uint64_t kills = 0;
    std::uint64_t torn_tails = 0;
    std::uint64_t segments = 0;
    std::uint64_t reopened = 0;
    std::uint64_t full_disks = 0;
    std::uint64_t restored_tails = 0;
    std::uint64_t spoilt = 0;
    std::uint64_t refusals = 0;  ///< starts that found damage, where that is allowed

    crash_statistics& operator+=(const crash_statistics& other) {
        acknowledged += other.acknowledged;
        power_cuts += other.power_cuts;
        kills += other.kills;
        torn_tails += other.torn_tails;
        segments += other.segments;
        reopened += other.reopened;
        full_disks += other.full_disks;
        restored_tails += other.restored_tails;
        spoilt += other.spoilt;
        refusals += other.refusals;
        return *this;
    }
};

/// How a crash test differs from the plain one.
struct crash_settings {
    bool tail_copy = false;
    bool may_refuse = false;  ///< a start that finds damage ends the run, and breaks no promise
    bool spoil = false;       ///< at each kill a byte of an acknowledged batch is; with may_refuse
};

/// Appends to one log and ends its host again and again, at random moments; outside the host it
/// remembers what was promised, and compares after each start.
class crash_run {
  public:
    crash_run(std::uint64_t seed, std::unordered_set<std::string> canaries,
              io::sim::fault_plan faults, crash_settings settings = {})
        : _on(seed, with(faults), std::move(canaries)),
          _options(small_options()),
          _settings(settings) {
        _options.segment_bytes = 24 << 10;
        // All commits, some, or none go to space that is not zeroed.
        _options.unzeroed_commit_bytes = std::size_t{1} << (seed % 3 * 12);
        if (settings.may_refuse && !settings.spoil) {
            _options.unzeroed_commit_bytes = log_options().unzeroed_commit_bytes;
        }
        _options.tail_copy = settings.tail_copy;
    }

    /// returns  the first promise that was broken
    std::optional<std::string> rounds(int count) {
        for (int round = 0; round <= count && !_broken; ++round) {
            const bool last = round == count;
            if (last) {
                _on.world.faults().stop();
            }
            _on.start([this, last] { return session(last); });
            const auto how_long =
                last ? std::chrono::hours(1) : duration(_on.world.random().below(40'000'000));
            _on.world.run_until([&] { return !_on.host.running(); }, how_long);
            if (_on.host.running()) {
                // A cut may take the newest marks, and then a spoilt batch may pass for torn.
                const bool cut = !_settings.spoil && _on.world.random().below(3) != 0;
                ++(cut ? statistics.power_cuts : statistics.kills);
                cut ? _on.world.power_cut(_on.host) : _on.world.kill(_on.host);
                if (!cut && _settings.spoil) {
                    spoil_acknowledged();
                }
            } else if (_settings.may_refuse &&
                       _on.host.failure().find("damaged") != std::string::npos) {
                ++statistics.refusals;
                return _broken;
            } else if (const std::string& failure = _on.host.failure();
                       !failure.empty() &&
                       (last || !faulty() || failure.find("damaged") != std::string::npos)) {
                broken("it failed: " + failure);
            }
        }
        return _broken;
    }

    crash_statistics statistics;

  private:
    static io::sim::world_options with(const io::sim::fault_plan& faults) {
        io::sim::world_options options;
        options.faults = faults;
        options.disk.sync = {std::chrono::microseconds(100), std::chrono::microseconds(600)};
        return options;
    }
    bool faulty() { return _on.world.faults().active(); }

    /// A byte of the device that nobody wrote changes.
    void spoil_acknowledged() {
        std::vector<std::string> names;
        _on.host.disk().list("/data/t-0", names);
        std::int64_t newest = -1;
        for (const std::string& name : names) {
            newest = std::max(newest, segment_of_file(name, log_suffix).value_or(-1));
        }
        if (newest < 0) {
            return;
        }
        const std::string path = segment_path("/data/t-0", newest, log_suffix);
        const std::vector<std::byte> bytes = _on.host.disk().bytes(path);
        std::vector<std::size_t> acknowledged;
        protocol::batch_walk walk(bytes);
        while (const auto batch = walk.next()) {
            if (batch->next_offset() > _promised_end) {
                break;
            }
            acknowledged.push_back(batch->bytes().data() - bytes.data());
        }
        if (!acknowledged.empty()) {
            const std::size_t at = acknowledged[_on.world.random().below(acknowledged.size())] + 70;
            const std::byte spoilt = bytes[at] ^ std::byte{1};
            _on.host.disk().corrupt(path, at, {&spoilt, 1});
            ++statistics.spoilt;
        }
    }

    void broken(const std::string& what) {
        const outside world;
        if (!_broken) {
            _broken = what;
        }
    }

    future<> session(bool last) {
        co_await io::make_directories("/data");
        recent_memory recent(64 << 10);
        read_ahead_memory ahead(64 << 10);
        co_await io::make_directory("/data/t-0");
        if (!this_host().canary("missing-directory-sync")) {
            co_await io::sync_directory("/data");
        }
        auto opened = co_await log::open("/data/t-0", _options, recent, &ahead);
        std::exception_ptr failure;
        try {
            co_await check(*opened);
            if (!last && !_broken) {
                co_await append_for_ever(*opened);
            }
        } catch (...) {
            failure = std::current_exception();
        }
        co_await opened->close();
        if (failure) {
            std::rethrow_exception(failure);
        }
    }

    /// Compares what is in the log with what was promised.
    future<> check(log& in) {
        statistics.torn_tails += in.metrics().cut_bytes > 0 ? 1 : 0;
        statistics.segments += in.segment_count();
        statistics.restored_tails += in.metrics().restored_tails;
        if (in.end_offset() < _promised_end) {
            broken(fmt::format("acknowledged up to {}, there up to {}", _promised_end,
                               in.end_offset()));
            co_return;
        }
        const std::vector<std::uint64_t> values = co_await read_all(in, in.start_offset());
        const outside world;
        for (std::size_t offset = 0; offset < values.size() && !_broken; ++offset) {
            const std::uint64_t value = values[offset];
            if (offset < _seen.size() && _seen[offset] != value) {
                broken(fmt::format("offset {} was {}, is {}", offset, _seen[offset], value));
            } else if (const auto acked = _acknowledged.find(static_cast<std::int64_t>(offset));
                       acked != _acknowledged.end() && acked->second != value) {
                broken(fmt::format("offset {} was acknowledged as {}, is {}", offset, acked->second,
                                   value));
            } else if (offset >= _seen.size() && value < _session_first) {
                broken(fmt::format("offset {} has {}, which was gone at the last start", offset,
                                   value));
            }
        }
        // What was seen once is durable, and stays.
        if (values.size() < _seen.size()) {
            broken("records that were read are gone");
        }
        _seen = values;
        _promised_end = std::max(_promised_end, in.end_offset());
        _session_first = _next_value;
    }

    future<> append_for_ever(log& to) {
        std::vector<future<>> running;
        for (;;) {
            running.clear();
            const auto burst = 1 + this_shard().random() % 6;
            for (std::uint64_t i = 0; i < burst; ++i) {
                running.push_back(append_one(to));
            }
            for (auto& each : running) {
                co_await std::move(each);
            }
            if (to.stopped()) {
                co_await reopen(to);
            }
            if (this_shard().random() % 64 == 0) {
                co_return;  // a good end, for once
            }
        }
    }

    future<> append_one(log& to) {
        // Sizes repeat, so that a new batch may end exactly where an old one ended.
        static constexpr std::size_t sizes[] = {8, 200, 200, 700, 2000, 6000};
        const int count = 1 + static_cast<int>(this_shard().random() % 2);
        const std::uint64_t first = _next_value;
        _next_value += static_cast<std::uint64_t>(count);
        try {
            const auto result =
                co_await to.append(batch_of(first, count, sizes[this_shard().random() % 6]));
            const outside world;
            statistics.acknowledged += static_cast<std::uint64_t>(count);
            for (int i = 0; i < count; ++i) {
                const std::int64_t offset = result.base_offset + i;
                const auto [at, added] = _acknowledged.emplace(offset, first + i);
                if (!added) {
                    broken(fmt::format("offset {} acknowledged twice", offset));
                }
            }
            _promised_end = std::max(_promised_end, result.base_offset + count);
        } catch (const error& e) {
            statistics.full_disks += e.is_errno(ENOSPC) && !to.stopped() ? 1 : 0;
        }
    }

    future<> reopen(log& stopped) {
        while (stopped.stopped()) {
            try {
                co_await stopped.reopen();
                ++statistics.reopened;
                co_await check(stopped);
                co_return;
            } catch (const error& e) {
                if (e.is(errc::corrupt)) {
                    broken(e.what());
                    throw;
                }
            }
        }
    }

    bed _on;
    log_options _options;
    const crash_settings _settings;
    std::map<std::int64_t, std::uint64_t> _acknowledged;  // offset -> value
    std::vector<std::uint64_t> _seen;                     // at the last start
    std::int64_t _promised_end = 0;
    std::uint64_t _next_value = 1;
    std::uint64_t _session_first = 1;  // values from here on are of this session
    std::optional<std::string> _broken;
};

}  // namespace weir::broker::storage_test
