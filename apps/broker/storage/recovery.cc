// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/recovery.hh>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include <broker/storage/names.hh>
#include <broker/storage/segment_walk.hh>
#include <broker/storage/tail_copy.hh>
#include <broker/storage/torn_batch.hh>
#include <fmt/format.h>

#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

namespace {

/// One segment on its way from whatever is on disk to a sealed one, or to one left to the mark.
class segment_recovery {
  public:
    /// following  where the next segment begins; null: it is the last
    segment_recovery(std::string directory, std::int64_t base_offset,
                     std::optional<std::int64_t> following, const found_mark& marked,
                     const log_options& options, log_metrics& metrics, abort_source* give_up)
        : _directory(std::move(directory)),
          _path(segment_path(_directory, base_offset, log_suffix)),
          _following(following),
          _last(!following),
          _marked(marked),
          _options(options),
          _metrics(metrics),
          _give_up(give_up),
          _found(std::make_unique<segment>()) {
        _found->base_offset = base_offset;
        _found->next_offset = base_offset;
    }

    future<std::unique_ptr<segment>> run() {
        const std::string copy = segment_path(_directory, _found->base_offset, tail_copy_suffix);
        _has_copy = co_await io::exists(copy);
        if (_has_copy) {
            co_await restore_tail();
        }
        io::file data = co_await open_segment_file(_path, _options, io::op::access::read);
        _file_size = co_await data.size();
        if (_file_size > max_segment_file_bytes) {
            throw damaged(max_segment_file_bytes, "longer than a segment can be");
        }
        const bool was_sealed =
            co_await io::exists(segment_path(_directory, _found->base_offset, index_suffix));
        if (!was_sealed || !co_await trust(data)) {
            const marked_end& mark = _marked.end;
            _from_mark = _last && !was_sealed && !_restored && _marked.trusted && _marked.whole &&
                         mark.segment_base == _found->base_offset && mark.position > 0 &&
                         mark.position <= _file_size;
            co_await walk(data);
            if (_from_mark) {
                co_await leave_open(data);
            } else {
                co_await check_tail(data, was_sealed);
                co_await finish(was_sealed);
            }
        }
        co_await data.close();
        if (_has_copy && !_from_mark) {
            co_await tail_copy::remove(_directory, _found->base_offset);
        }
        co_return std::move(_found);
    }

    /// Looks at what follows an open segment that an earlier run() left open.
    future<> prove_tail(segment& of) {
        _has_copy =
            co_await io::exists(segment_path(_directory, _found->base_offset, tail_copy_suffix));
        _found->size = of.size;
        _found->next_offset = of.next_offset;
        io::file data = co_await open_segment_file(_path, _options, io::op::access::read);
        _file_size = co_await data.size();
        co_await check_tail(data, false);
        co_await data.close();
        // Its index files may be gone only until a power cut: see finish().
        co_await io::sync_directory(_directory);
        co_await cut();
        of.tail_unseen = false;
    }

  private:
    /// Writes acknowledged bytes again that were on their way to the device when the power went.
    /// What a killed process had on its way has to be there first: from here on the copy may be
    /// written anew, and a page and its copy are never both on their way.
    future<> restore_tail() {
        io::file file =
            co_await open_segment_file(_path, _options, io::op::access::read_write, true);
        co_await file.sync(true);
        const auto copy = co_await tail_copy::read(_directory, _found->base_offset, _options);
        if (!copy) {
            co_await file.close();
            co_return;  // the page itself was not being written then
        }
        _copied_end = copy->end();
        io::aligned_buffer there(copy->length);
        co_await file.read(copy->position, there.span());
        if (std::memcmp(there.data(), copy->pages.data(), copy->length) != 0) {
            co_await file.write(copy->position, copy->pages.span());
            ++_metrics.restored_tails;
            _restored = true;
        }
        co_await file.close();
    }

    /// Believes a sealed segment whose last batch is where the index says, and ends the file.
    future<bool> trust(io::file& data) {
        auto index = co_await load_index_end(_directory, _found->base_offset, _file_size, _options);
        if (!index) {
            co_return false;
        }
        _found->index = std::move(*index);
        _indexed_end = _found->base_offset;
        if (const auto last = _found->index.last()) {
            _indexed_end = last->last_offset + 1;
            if (last->position >= _file_size ||
                _file_size - last->position > _options.max_batch_bytes) {
                co_return false;
            }
            const auto next = co_await offset_after(data, last->position);
            if (!next || *next != last->last_offset + 1) {
                co_return false;
            }
            _found->next_offset = *next;
        } else if (_file_size != 0) {
            co_return false;
        }
        _found->size = _file_size;
        _found->sealed = _found->has_index = true;
        co_return true;
    }

    /// The offset after the batch at `position`, if that is good and ends the file.
    future<std::optional<std::int64_t>> offset_after(io::file& data, std::uint64_t position) {
        io::aligned_buffer page(page_ceiling(_file_size) - page_floor(position));
        const std::size_t got = co_await data.read(page_floor(position), page.span());
        const std::size_t skipped = position - page_floor(position);
        if (got != _file_size - page_floor(position)) {
            co_return std::nullopt;
        }
        protocol::batch_walk walk(page.span().subspan(skipped, got - skipped));
        const auto batch = walk.next();
        if (!batch || !walk.rest().empty() || !is_good(*batch, batch->base_offset(), _options)) {
            co_return std::nullopt;
        }
        co_return batch->next_offset();
    }

    future<> walk(io::file& data) {
        _found->index = empty_index(_found->base_offset, _options);
        if (_from_mark) {
            _found->unwalked = _marked.end.position;
            _found->unwalked_offset = _marked.end.next_offset;
            _found->index.begin_at(_found->unwalked, _found->unwalked_offset);
        }
        segment_walk batches(data, _found->unwalked, _file_size,
                             _from_mark ? _found->unwalked_offset : _found->base_offset, _options);
        for (;;) {
            const std::uint64_t position = batches.position();
            const auto batch = co_await batches.next();
            if (!batch) {
                break;
            }
            if (!_found->index.can_hold(*batch, position)) {
                throw damaged(position, "an offset that this segment can't have");
            }
            _found->index.add(*batch, position);
            if (_give_up != nullptr) {
                _give_up->check();
            }
            co_await maybe_yield();
        }
        _found->size = batches.position();
        _found->next_offset = batches.offset();
        _metrics.recovered_bytes += _found->size - _found->unwalked;
        _metrics.recovery_read_bytes += batches.bytes_read();
    }

    /// Leaves it as it is, for a later look: what the mark covers is known to be there. Only what
    /// is above is judged, and made durable, and what is no record is cut off.
    future<> leave_open(io::file& data) {
        _found->tail_unseen = co_await zeros_follow(data);
        if (!_found->tail_unseen) {
            co_await check_tail(data, false);
        } else if (_found->size < _copied_end) {
            throw damaged(_found->size, "the copy of its tail knows of more");
        }
        if (!_found->tail_unseen || _found->size > _marked.end.position) {
            co_await io::sync_directory(_directory);  // see finish()
            co_await rewrite_last_commit();
            co_await cut();
        }
    }

    /// Whether there is nothing where the next commit began, if there was one.
    future<bool> zeros_follow(io::file& data) {
        const std::uint64_t end = _found->size;
        const std::uint64_t from = page_floor(end);
        io::aligned_buffer pages(2 * page_size);
        const std::size_t got = co_await data.read(from, pages.span());
        _metrics.recovery_read_bytes += got;
        const std::span<const std::byte> there = pages.span().first(got);
        co_return std::ranges::all_of(there.subspan(std::min<std::size_t>(end - from, got)),
                                      [](std::byte each) { return each == std::byte{0}; });
    }

    /// Takes away what check_tail() found to be no record.
    future<> cut() {
        if (_torn) {
            io::file file = co_await open_segment_file(_path, _options, io::op::access::write);
            co_await file.truncate(_found->size);
            co_await file.sync(true);
            co_await file.close();
        }
    }

    /// Decides whether what follows the last good batch is zeros, a torn commit, or damage.
    future<> check_tail(io::file& data, bool was_sealed) {
        const std::uint64_t end = _found->size;
        if (_found->next_offset < _indexed_end) {
            throw damaged(end, "its index knows of more batches");
        }
        if (end < _copied_end) {
            throw damaged(end, "the copy of its tail knows of more");
        }
        if (_last && _found->next_offset < _marked.end.next_offset) {
            throw damaged(end, "acknowledged records are missing from here on");
        }
        if (end == _file_size) {
            co_return;
        }
        const tail_findings tail =
            co_await examine_tail(data, end, _file_size, _found->next_offset, _options);
        _metrics.recovery_read_bytes += _file_size - end;
        if (tail.last_nonzero <= end) {
            co_return;
        }
        if (was_sealed && _found->next_offset == _indexed_end && tail.last_good_end <= end) {
            co_return;  // zeros were on their way behind it, to make it an open one again
        }
        if (was_sealed) {
            throw damaged(end, "a sealed segment has a bad batch");
        }
        if (!_last) {
            // All that it acknowledged was durable when the next one began. Where they join, this
            // was no record: zeros ahead of the end, which never reached the device as they were.
            if (_found->next_offset == *_following && tail.last_good_end <= end) {
                co_return;
            }
            throw damaged(end, "a bad batch in a segment that another follows");
        }
        if (tail.last_good_end > end + _options.max_commit_bytes) {
            throw damaged(end, "a bad batch that good ones follow, beyond one commit");
        }
        if (!_marked.whole) {
            throw damaged(end, "a bad batch that may have been acknowledged: " + _marked.why);
        }
        // With a copy of its tail, all that was acknowledged is in place by now.
        if (!_has_copy && !co_await is_torn(data, end, tail.last_nonzero - end)) {
            throw damaged(end, "a bad batch that is not torn between sectors");
        }
        _torn = true;
        _metrics.cut_bytes += tail.last_nonzero - end;
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::warning, "torn commit cut from log",
                         {{"file", _path},
                          {"position", end},
                          {"bytes", tail.last_nonzero - end},
                          {"next_offset", _found->next_offset}});
    }

    future<bool> is_torn(io::file& data, std::uint64_t end, std::uint64_t reach) {
        const std::uint64_t from = page_floor(end);
        const std::uint64_t until =
            std::min(_file_size, end + _options.max_commit_bytes + page_size);
        io::aligned_buffer bytes(until - from);
        const std::size_t got = co_await data.read(from, bytes.span());
        const std::size_t skipped = end - from;
        co_return may_be_torn(bytes.span().first(std::min(got, until - from)).subspan(skipped), end,
                              _found->next_offset, reach, _options);
    }

    /// Makes what was found durable, and only that.
    future<> finish(bool was_sealed) {
        if (was_sealed && _found->size == _file_size) {
            // Its bytes were durable before it got its index files, of which some are lost.
            co_await write_index_files(_directory, *_found, _options);
            co_return;
        }
        if (this_host().canary("stale-batch")) {
            co_return;  // a deliberate bug: what follows the data stays, and is written into
        }
        // Its index files may be gone only until a power cut: then it would pass for sealed while
        // this writes to it.
        co_await io::sync_directory(_directory);
        if (_last && !was_sealed) {
            co_await rewrite_last_commit();
        }
        co_await seal(_directory, *_found, _options);
    }

    /// The last commit can be read, but it may never have been acknowledged, and after a failed
    /// write the device need not have it: a sync alone would prove nothing. What was acknowledged
    /// was on the device before its mark.
    future<> rewrite_last_commit() {
        const std::uint64_t end = _found->size;
        const std::uint64_t known =
            _marked.end.segment_base == _found->base_offset ? _marked.end.position : 0;
        if (end <= known) {
            co_return;
        }
        const std::uint64_t from = page_floor(
            std::max(known, end - std::min<std::uint64_t>(end, _options.max_commit_bytes)));
        io::file file =
            co_await open_segment_file(_path, _options, io::op::access::read_write, true);
        io::aligned_buffer pages(end - from);
        const std::size_t got = co_await file.read(from, pages.span());
        if (got < end - from) {
            throw damaged(from, "the file became shorter");
        }
        if (_has_copy || _options.tail_copy) {
            auto copy = co_await tail_copy::open(_directory, _found->base_offset, _options);
            _has_copy = true;
            co_await copy->write(from, pages.span().first(end - from));
            co_await copy->close();
            co_await io::sync_directory(_directory);
        }
        std::fill(pages.data() + (end - from), pages.data() + pages.size(), std::byte{0});
        co_await file.write(from, pages.span());
        co_await file.close();
    }

    error damaged(std::uint64_t position, std::string_view what) const {
        return {"recover", fmt::format("{} at byte {} ({})", _path, position, what), errc::corrupt};
    }

    const std::string _directory;
    const std::string _path;
    const std::optional<std::int64_t> _following;
    const bool _last;
    const found_mark& _marked;
    const log_options& _options;
    log_metrics& _metrics;
    abort_source* const _give_up;
    std::unique_ptr<segment> _found;
    std::uint64_t _file_size = 0;
    std::int64_t _indexed_end = 0;  // the offset after the last that the index knows
    bool _from_mark = false;        // what lies before the mark is left for later
    bool _torn = false;             // what follows it is no record
    bool _has_copy = false;         // there is a side file
    bool _restored = false;         // and the device had spoilt what it holds
    std::uint64_t _copied_end = 0;  // of what it holds, if that is whole
};

/// The first offsets of the segments, in order. Removes what was never finished.
future<std::vector<std::int64_t>> find_segments(std::string directory) {
    std::vector<std::int64_t> found;
    for (const std::string& name : co_await io::list_directory(directory)) {
        if (is_unfinished(name)) {
            co_await io::unlink(fmt::format("{}/{}", directory, name));
        } else if (const auto base = segment_of_file(name, log_suffix)) {
            if (*base > max_base_offset) {
                throw error("recover", fmt::format("{}/{} (no offset)", directory, name),
                            errc::corrupt);
            }
            found.push_back(*base);
        }
    }
    std::sort(found.begin(), found.end());
    co_return found;
}

error missing(const std::string& directory, std::int64_t offset) {
    return {
        "recover",
        fmt::format("{} (acknowledged records from offset {} on are missing)", directory, offset),
        errc::corrupt};
}

void tell_damage(const std::string& path, std::uint64_t position, log_metrics& metrics) {
    ++metrics.damaged_batches;
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::error, "acknowledged batch damaged",
                     {{"file", path}, {"position", position}});
}

}  // namespace

future<> prove_tail(std::string directory, segment& of, const log_options& options,
                    log_metrics& metrics) {
    const found_mark everything{.end = {.next_offset = of.next_offset}};
    segment_recovery each(directory, of.base_offset, std::nullopt, everything, options, metrics,
                          nullptr);
    co_await each.prove_tail(of);
}

future<segment_index> index_start(std::string directory, std::int64_t base_offset,
                                  std::uint64_t until, std::int64_t until_offset,
                                  const log_options& options, log_metrics& metrics,
                                  abort_source* pace, abort_source& give_up) {
    const std::string path = segment_path(directory, base_offset, log_suffix);
    io::file data = co_await open_segment_file(path, options, io::op::access::read);
    segment_index index = empty_index(base_offset, options);
    segment_walk batches(data, 0, until, base_offset, options);
    std::uint64_t slept_at = 0;
    while (batches.position() < until) {
        const std::uint64_t position = batches.position();
        const auto batch = co_await batches.next();
        if (batch && index.can_hold(*batch, position)) {
            index.add(*batch, position);
        } else {
            tell_damage(path, position, metrics);
            co_await batches.skip_damage(until_offset);
        }
        give_up.check();
        if (pace != nullptr && !pace->requested() && batches.bytes_read() > slept_at) {
            const std::uint64_t read =
                batches.bytes_read() - std::exchange(slept_at, batches.bytes_read());
            future<> pause = sleep_for(
                std::chrono::nanoseconds(read * 1'000'000'000 / options.walk_bytes_a_second),
                *pace);
            co_await settled(pause);
            std::move(pause).ignore();
            give_up.check();
        }
        co_await maybe_yield();
    }
    metrics.walked_later_bytes += batches.position();
    co_await data.close();
    co_return index;
}

future<segment_list> recover(std::string directory, const log_options& options,
                             log_metrics& metrics, const found_mark& marked,
                             abort_source* give_up) {
    const found_mark known = this_host().canary("cut-of-acknowledged") ? found_mark{} : marked;
    segment_list segments;
    const std::vector<std::int64_t> bases = co_await find_segments(directory);
    if (!bases.empty() && bases.front() > known.end.start_offset && known.end.next_offset > 0) {
        throw missing(directory, known.end.start_offset);
    }
    for (auto next = bases.begin(); next != bases.end();) {
        if (give_up != nullptr) {
            give_up->check();
        }
        const std::int64_t base = *next++;
        const auto following = next == bases.end() ? std::nullopt : std::optional(*next);
        segment_recovery each(directory, base, following, known, options, metrics, give_up);
        if (!segments.empty() && segments.back()->next_offset != base) {
            throw missing(directory, segments.back()->next_offset);
        }
        segments.push_back(co_await each.run());
    }
    const std::int64_t end = segments.empty() ? 0 : segments.back()->next_offset;
    if (end < known.end.next_offset) {
        throw missing(directory, end);
    }
    co_return segments;
}

}  // namespace weir::broker
