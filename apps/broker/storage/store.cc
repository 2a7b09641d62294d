// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/store.hh>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/loop.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

namespace {

constexpr duration retry_min = std::chrono::milliseconds(100);
constexpr duration retry_max = std::chrono::seconds(10);
constexpr duration shortest_look = std::chrono::milliseconds(10);
constexpr duration longest_look = std::chrono::seconds(1);

// Of a log that commits all the time, while others wait for a place: closing and opening cost a few
// writes each.
constexpr duration turn_of_busy = std::chrono::milliseconds(50);

/// Whether a log that can't be opened is damaged or lost, so that no waiting makes it whole. What
/// is short, and rights that somebody took, come back.
bool is_lasting(const error& failure) noexcept {
    return failure.is(errc::corrupt) || failure.is(errc::limit_exceeded) ||
           failure.is_errno(ENOENT) || failure.is_errno(ENOTDIR) || failure.is_errno(EISDIR);
}

}  // namespace

future<std::unique_ptr<store>> store::open(std::string directory, store_options options,
                                           std::vector<topic_partition> partitions) {
    options.log.check();
    options.reopen.check();
    if (options.recoveries_at_once == 0 || options.closings_at_once == 0 ||
        options.mark_syncs_at_once == 0 || options.open_logs_max == 0) {
        throw error("check store options",
                    "recoveries_at_once, closings_at_once, mark_syncs_at_once, open_logs_max: "
                    "above 0",
                    errc::malformed);
    }
    if (partitions.size() > options.max_partitions) {
        throw error("open store", directory + " (max_partitions)", errc::limit_exceeded);
    }
    // Whoever made a partition's directory may have died before it was synced.
    co_await io::sync_directory(directory);
    std::unique_ptr<store> opened(new store(std::move(directory), options));
    opened->_in_line = {partitions.begin(), partitions.end()};
    for (std::size_t i = 0; i < options.recoveries_at_once && i < partitions.size(); ++i) {
        opened->open_in_turn(opened->_openings.hold()).ignore();
    }
    opened->look_for_idle_logs(opened->_openings.hold()).ignore();
    opened->make_places(opened->_openings.hold()).ignore();
    opened->seal_left_open(opened->_openings.hold()).ignore();
    co_return opened;
}

/// Never fails: a log that can't be sealed is walked by the next start.
future<> store::look_for_idle_logs(gate::holder) {
    const duration period =
        std::clamp<duration>(_options.log.idle_max / 4, shortest_look, longest_look);
    while (!_closing.requested()) {
        try {
            co_await sleep_for(period, _closing);
            _keeper.look();
            const instant idle_since = this_shard().now() - _options.log.idle_max;
            for (log* const each : idle_logs()) {
                if (each->active() && each->can_rest() && !_closing.requested() &&
                    each->last_commit() <= idle_since) {
                    co_await each->rest();
                }
            }
            for (const auto& each : _logs) {
                each.second->close_idle_reads();
            }
        } catch (const std::exception&) {
            // The store closes, or there is no memory now, which others may give back.
        }
        co_await yield();
    }
}

/// One after the other, and slowly: what recovery left to the marks is walked, so that damage is
/// found, and sealed. Never fails.
future<> store::seal_left_open(gate::holder) {
    while (!_closing.requested()) {
        try {
            co_await sleep_for(longest_look, _closing);
            for (log* const each : left_open()) {
                if (!each->active() && each->can_rest() && !_closing.requested()) {
                    co_await each->rest(true);
                }
                co_await maybe_yield();
            }
        } catch (const std::exception&) {
            // As above.
        }
        co_await yield();
    }
}

std::vector<log*> store::left_open() const {
    std::vector<log*> found;
    const instant idle_since = this_shard().now() - longest_look;
    for (const auto& each : _logs) {
        if (!each.second->active() && each.second->can_rest() &&
            each.second->last_commit() <= idle_since) {
            found.push_back(each.second.get());
        }
    }
    return found;
}

/// For those who need one. Never fails.
future<> store::make_places(gate::holder) {
    constexpr std::size_t at_once = 8;
    constexpr duration none_came_free = std::chrono::milliseconds(2);
    while (!_closing.requested()) {
        co_await _places.wanted();
        try {
            bool came_free = false;
            co_await max_concurrent_for_each(
                who_gives_way(at_once), at_once, [&came_free](log* each) -> future<> {
                    if (each->can_give_way() && co_await each->give_way()) {
                        came_free = true;
                    }
                });
            if (!came_free) {
                co_await sleep_for(none_came_free, _closing);
            }
        } catch (const std::exception&) {
            // As above.
        }
        co_await yield();
    }
}

/// One for each that waits, up to `most`: those that were idle longest, then, of those that commit
/// and have had their turn, those that are open longest.
std::vector<log*> store::who_gives_way(std::size_t most) const {
    const instant begun_before = this_shard().now() - turn_of_busy;
    std::vector<log*> found;
    for (const auto& each : _logs) {
        const log& of = *each.second;
        if (of.can_give_way() && (!of.committing() || of.active_since() <= begun_before)) {
            found.push_back(each.second.get());
        }
    }
    const auto rank = [](const log* of) {
        return std::pair(of->committing(),
                         of->committing() ? of->active_since() : of->last_commit());
    };
    std::sort(found.begin(), found.end(),
              [&rank](const log* one, const log* other) { return rank(one) < rank(other); });
    found.resize(std::min({found.size(), _places.waiting(), most}));
    return found;
}

/// Those that are open to append to and could rest, the longest idle first.
std::vector<log*> store::idle_logs() const {
    std::vector<log*> found;
    for (const auto& each : _logs) {
        if (each.second->active() && each.second->can_rest()) {
            found.push_back(each.second.get());
        }
    }
    std::sort(found.begin(), found.end(), [](const log* one, const log* other) {
        return one->last_commit() < other->last_commit();
    });
    return found;
}

std::size_t store::open_logs() const noexcept {
    return static_cast<std::size_t>(std::count_if(
        _logs.begin(), _logs.end(), [](const auto& each) { return each.second->active(); }));
}

/// Never fails. What can't be opened yet is put aside, and keeps no other from its turn.
future<> store::open_in_turn(gate::holder) {
    duration wait = retry_min;
    while (opening() > 0 && !_closing.requested()) {
        if (_in_line.empty()) {
            try {
                co_await sleep_for(wait, _closing);
            } catch (const std::exception&) {
                // The store closes, or there is no memory: then it is tried again at once.
            }
            wait = std::min(wait * 2, retry_max);
            _in_line.merge(_later);
            co_await yield();
            continue;
        }
        // From one set to the other and on without a need for memory.
        const auto which = _at_work.insert(take_next()).position;
        bool settled = false;
        try {
            settled = co_await open_one(*which);
        } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it is put aside
        }
        if (settled) {
            _at_work.erase(which);
            wait = retry_min;
        } else {
            _later.insert(_at_work.extract(which));
        }
        co_await yield();
    }
    if (opening() == 0) {
        tell_opened();
    }
}

std::set<topic_partition>::node_type store::take_next() {
    while (!_wanted.empty()) {
        auto wanted = _in_line.extract(_wanted.front());
        _wanted.pop_front();
        if (wanted) {
            return wanted;
        }
    }
    return _in_line.extract(_in_line.begin());
}

/// A log that is damaged or lost is left as it is.
/// returns  false for one that is to be tried again
/// fails    std::bad_alloc, likewise
future<bool> store::open_one(topic_partition which) {
    try {
        if (this_host().canary("lost-directory-made-anew")) {
            co_await io::make_directories(_directory + "/" + directory_name(which));
        }
        keep(which, co_await open_log(which));
        co_return true;
    } catch (const error& e) {
        if (_closing.requested()) {
            co_return false;
        }
        if (is_lasting(e)) {
            quarantine(which, e.what());
            co_return true;
        }
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::warning, "log not opened yet",
                         {{"directory", directory_name(which)}, {"cause", e.what()}});
        co_return false;
    }
}

void store::quarantine(const topic_partition& which, const char* why) {
    _quarantined.insert(which);
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::error, "log quarantined",
                     {{"directory", directory_name(which)}, {"cause", why}});
}

void store::tell_opened() noexcept {
    for (promise<>& each : std::exchange(_waiting_for_opened, {})) {
        each.set_value();
    }
}

future<> store::opened() {
    if (opening() == 0 || _closing.requested()) {
        return make_ready_future();
    }
    _waiting_for_opened.emplace_back();
    return _waiting_for_opened.back().get_future();
}

std::size_t store::opening() const noexcept {
    return _in_line.size() + _at_work.size() + _later.size();
}

future<std::unique_ptr<log>> store::open_log(const topic_partition& which) {
    return log::open(_directory + "/" + directory_name(which), _options.log, _recent, &_ahead,
                     &_mark_syncs, &_closing, &_places, &_read_files, &_indexes);
}

log* store::find(const topic_partition& which) noexcept {
    const auto found = _logs.find(which);
    if (found != _logs.end()) {
        return found->second.get();
    }
    if (!_in_line.empty() && _in_line.contains(which) && _wanted.size() < _in_line.size()) {
        try {
            _wanted.push_back(which);
        } catch (const std::bad_alloc&) {
            // Its turn comes.
        }
    }
    return nullptr;
}

partition_state store::state(const topic_partition& which) const noexcept {
    if (_logs.contains(which)) {
        return partition_state::ready;
    }
    if (_quarantined.contains(which)) {
        return partition_state::quarantined;
    }
    return _in_line.contains(which) || _at_work.contains(which) || _later.contains(which)
               ? partition_state::opening
               : partition_state::none;
}

future<log*> store::create(topic_partition which) {
    if (_closed) {
        throw error("create", directory_name(which), errc::closed);
    }
    const gate::holder inside = _creations.hold();
    // Two who ask for one partition at once: the second waits for the first, and looks again.
    while (true) {
        if (log* there = find(which)) {
            co_return there;
        }
        const auto [being, first] = _being_made.try_emplace(which);
        if (first) {
            break;
        }
        being->second.emplace_back();
        co_await being->second.back().get_future();
    }
    std::exception_ptr failure;
    try {
        co_await make(which);
    } catch (...) {
        failure = std::current_exception();
    }
    auto made = _being_made.extract(which);
    for (promise<>& waiting : made.mapped()) {
        waiting.set_value();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
    co_return find(which);
}

future<log*> store::make(topic_partition which) {
    if (!is_topic_name(which.topic) || which.partition < 0) {
        throw error("create", directory_name(which), errc::malformed);
    }
    if (_logs.size() >= _options.max_partitions) {
        throw error("create", directory_name(which) + " (max_partitions)", errc::limit_exceeded);
    }
    if (state(which) != partition_state::none) {
        throw error("create", directory_name(which) + " (it is there, and can't be served)",
                    errc::corrupt);
    }
    co_await io::make_directory(_directory + "/" + directory_name(which));
    if (!this_host().canary("missing-directory-sync")) {
        co_await io::sync_directory(_directory);
    }
    std::unique_ptr<log> made = co_await open_log(which);
    if (made->end_offset() > 0) {
        co_await made->close();
        throw error("create", directory_name(which) + " (there are records of another topic)",
                    errc::corrupt);
    }
    co_return &keep(which, std::move(made));
}

log& store::keep(const topic_partition& which, std::unique_ptr<log> opened) {
    const auto place = _logs.try_emplace(which).first;
    try {
        _keeper.watch(*opened);
    } catch (...) {
        _logs.erase(place);
        throw;
    }
    place->second = std::move(opened);
    return *place->second;
}

std::vector<topic_partition> store::partitions() const {
    std::vector<topic_partition> all;
    all.reserve(_logs.size());
    for (const auto& each : _logs) {
        all.push_back(each.first);
    }
    return all;
}

future<> store::close() {
    WEIR_ASSERT(!_closed);
    _closed = true;
    _closing.request();
    _places.end();
    for (const auto& each : _logs) {
        each.second->end_walks();
    }
    tell_opened();
    co_await _openings.close();
    co_await _creations.close();
    co_await _keeper.close();
    std::vector<log*> all;
    all.reserve(_logs.size());
    for (const auto& each : _logs) {
        all.push_back(each.second.get());
    }
    co_await max_concurrent_for_each(std::move(all), _options.closings_at_once,
                                     [](log* each) { return each->close(); });
}

log_metrics store::metrics() const noexcept {
    log_metrics sum;
    for (const auto& each : _logs) {
        sum += each.second->metrics();
    }
    return sum;
}

}  // namespace weir::broker
