// SPDX-License-Identifier: Apache-2.0
// What operations on files and names do and how long they take. A buffered write takes effect in
// one piece when it completes. A direct one is at the device meanwhile: its sectors land one by
// one, those that another direct write covers in the same time go to either, and bytes that the
// program changed after it started the write may or may not be seen.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <weir/io/sim/machine.hh>

namespace weir::io::sim {

namespace {

std::uint64_t total_length(const iovec* vector, std::uint32_t count) noexcept {
    std::uint64_t length = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        length += vector[i].iov_len;
    }
    return length;
}

std::vector<std::byte> gather(const iovec* vector, std::uint32_t count) {
    std::vector<std::byte> result;
    result.reserve(total_length(vector, count));
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto* from = static_cast<const std::byte*>(vector[i].iov_base);
        result.insert(result.end(), from, from + vector[i].iov_len);
    }
    return result;
}

}  // namespace

descriptor* machine::file_of(const request_ref& asked, int fd) {
    descriptor* found = find(fd);
    if (found == nullptr || !found->file) {
        asked->owner->answer(asked, found == nullptr ? -EBADF : -EINVAL);
        return nullptr;
    }
    return found;
}

void machine::later(const request_ref& asked, time_range delay, std::uint64_t bytes,
                    std::function<void()> action, bool on_device) {
    duration time =
        _engine.storage.between(delay.low, delay.high) +
        duration(static_cast<std::uint64_t>(_disk.options().per_mebibyte.count()) * bytes >> 20);
    if (_engine.faults.strikes(fault::slow_disk)) {
        time *= 100;
    }
    if (on_device) {
        time = _disk.busy(_engine.now(), time) - _engine.now();
    }
    _engine.events.after(time, [asked, action = std::move(action)] {
        if (asked->work != nullptr && !asked->answered) {
            action();
        }
    });
}

/// The same with a file, which may be stalled when the time has come.
void machine::later_on(const file_ref& of, const request_ref& asked, time_range delay,
                       std::uint64_t bytes, const std::function<void()>& action, bool on_device) {
    const auto look = [this, of, asked, action] {
        constexpr duration look_again = std::chrono::milliseconds(1);
        of->stalled ? later_on(of, asked, {look_again, look_again}, 0, action, false) : action();
    };
    later(asked, delay, bytes, look, on_device);
}

void machine::run(const request_ref& asked, const op::nop&) {
    later(asked, _disk.options().buffered, 0, [asked] { asked->owner->answer(asked, 0); });
}

void machine::run(const request_ref& asked, const op::open& what) {
    later(asked, _disk.options().buffered, 0, [this, asked, what] {
        descriptor opened;
        opened.mode = what.mode;
        opened.direct = what.direct;
        opened.data_sync = what.data_sync;
        int result = refuses_descriptor();  // before anything is made or cut
        if (result == 0 && what.direct && !_disk.options().has_direct) {
            result = -EINVAL;
        }
        result = result != 0 ? result : _disk.open(what.path, what, opened.file);
        asked->owner->answer(asked, result != 0 ? result : add(std::move(opened)));
    });
}

void machine::run(const request_ref& asked, const op::close& what) {
    if (const descriptor* open = find(what.fd); what.reset && open != nullptr && open->socket) {
        _network.reset(open->socket);
    }
    asked->owner->answer(asked, close(what.fd));
}

void machine::run(const request_ref& asked, const op::stat& what) {
    file_ref target;
    if (what.path == nullptr) {
        const descriptor* fd = file_of(asked, what.fd);
        if (fd == nullptr) {
            return;
        }
        target = fd->file;
    }
    later(asked, _disk.options().buffered, 0, [this, asked, what, target]() mutable {
        if (!target) {
            if (const int failed = _disk.find(what.path, target); failed != 0) {
                asked->owner->answer(asked, failed);
                return;
            }
        }
        what.status->size = target->bytes.size();
        what.status->is_directory = target->is_directory;
        what.status->by_position = !target->is_directory;
        what.status->memory_alignment = _disk.options().memory_alignment;
        what.status->offset_alignment = _disk.options().offset_alignment;
        asked->owner->answer(asked, 0);
    });
}

int machine::check_alignment(const descriptor& fd, std::uint64_t offset, const iovec* vector,
                             std::uint32_t count) const {
    if (!fd.direct) {
        return 0;
    }
    const std::uint32_t unit = _disk.options().offset_alignment;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto address = reinterpret_cast<std::uintptr_t>(vector[i].iov_base);
        if (vector[i].iov_len % unit != 0 || address % _disk.options().memory_alignment != 0) {
            return -EINVAL;
        }
    }
    return offset % unit == 0 ? 0 : -EINVAL;
}

void machine::run(const request_ref& asked, const op::read& what) {
    const descriptor* found = file_of(asked, what.fd);
    if (found == nullptr) {
        return;
    }
    const descriptor fd = *found;
    int failed = fd.mode == op::access::write ? -EBADF : fd.file->is_directory ? -EISDIR : 0;
    failed =
        failed != 0 ? failed : check_alignment(fd, what.offset, what.vector, what.vector_count);
    if (failed != 0) {
        asked->owner->answer(asked, failed);
        return;
    }
    const std::uint64_t length = total_length(what.vector, what.vector_count);
    later_on(
        fd.file, asked, _disk.options().read, length,
        [this, asked, fd, what] { finish_read(asked, fd, what); }, true);
}

void machine::finish_read(const request_ref& asked, const descriptor& fd, const op::read& what) {
    if (_engine.faults.strikes(fault::read_error)) {
        asked->owner->answer(asked, -EIO);
        return;
    }
    const std::uint64_t size = fd.file->bytes.size();
    std::uint64_t length = total_length(what.vector, what.vector_count);
    length = what.offset >= size ? 0 : std::min(length, size - what.offset);
    const std::uint64_t unit = fd.direct ? _disk.options().offset_alignment : 1;
    if (length > unit && _engine.faults.strikes(fault::short_read)) {
        length = _engine.storage.between(1, (length - 1) / unit) * unit;
    }
    std::uint64_t done = 0;
    for (std::uint32_t i = 0; i < what.vector_count && done < length; ++i) {
        const std::size_t count = std::min(what.vector[i].iov_len, length - done);
        fd.file->bytes.read(what.offset + done,
                            {static_cast<std::byte*>(what.vector[i].iov_base), count});
        done += count;
    }
    asked->owner->answer(asked, static_cast<std::int32_t>(length));
}

void machine::run(const request_ref& asked, const op::write& what) {
    const descriptor* found = file_of(asked, what.fd);
    if (found == nullptr) {
        return;
    }
    const descriptor fd = *found;
    int failed = fd.mode == op::access::read ? -EBADF : 0;
    failed =
        failed != 0 ? failed : check_alignment(fd, what.offset, what.vector, what.vector_count);
    if (failed != 0) {
        asked->owner->answer(asked, failed);
    } else if (fd.direct) {
        start_direct_write(asked, fd, what);
    } else {
        later_on(
            fd.file, asked, fd.data_sync ? _disk.options().write : _disk.options().buffered,
            total_length(what.vector, what.vector_count),
            [this, asked, fd, what] { finish_buffered_write(asked, fd, what); }, fd.data_sync);
    }
}

void machine::finish_buffered_write(const request_ref& asked, const descriptor& fd,
                                    const op::write& what) {
    const std::vector<std::byte> bytes = gather(what.vector, what.vector_count);
    std::int64_t result = _engine.faults.strikes(fault::write_error)
                              ? -EIO
                              : _disk.room(*fd.file, what.offset, bytes.size());
    if (result > 1 && _engine.faults.strikes(fault::short_write)) {
        result = static_cast<std::int64_t>(
            _engine.storage.between(1, static_cast<std::uint64_t>(result) - 1));
    }
    if (result > 0) {
        const auto length = static_cast<std::uint64_t>(result);
        fd.file->bytes.write(what.offset, std::span(bytes).first(length));
        if (fd.data_sync) {
            fd.file->bytes.persist(what.offset, length);
        }
        _engine.log.event(_engine.now(), _id, asked->owner->shard(), event_kind::file_write,
                          hash_bytes(bytes.data(), length, what.offset));
    }
    asked->owner->answer(asked, static_cast<std::int32_t>(result));
}

void machine::start_direct_write(const request_ref& asked, const descriptor& fd,
                                 const op::write& what) {
    auto write = std::make_shared<direct_write>();
    write->of = asked;
    write->target = fd.file;
    write->offset = what.offset;
    write->bytes = gather(what.vector, what.vector_count);
    write->started = ++fd.file->writes_started;
    write->data_sync = fd.data_sync;
    ++fd.file->writes_in_flight;
    _writes.push_back(write);
    const time_range time = _disk.options().write;
    if (_engine.storage.one_in(4) && write->bytes.size() > sector_size) {
        // Some of it lands early, where a read may see it.
        _engine.events.after(_engine.storage.between(duration(0), time.low), [this, write] {
            if (write->of->work != nullptr && !write->of->answered &&
                _disk.fits(*write->target, write->offset, write->bytes.size()) ==
                    write->bytes.size()) {
                apply_direct_write(write, write->bytes.size(), true);
            }
        });
    }
    later_on(
        write->target, asked, time, write->bytes.size(),
        [this, write] { finish_direct_write(write); }, true);
}

// Writes the sectors of the first `length` bytes, or about half of them.
void machine::apply_direct_write(const direct_write_ref& write, std::uint64_t length, bool half) {
    file& target = *write->target;
    const bool alone = target.writes_in_flight == 1 && target.sector_written.empty();
    if (alone && !half) {
        target.bytes.write(write->offset, std::span(write->bytes).first(length));
        return;
    }
    for (std::uint64_t done = 0; done < length; done += sector_size) {
        const std::uint64_t sector = (write->offset + done) / sector_size;
        std::uint64_t& last = target.sector_written[sector];
        // Somebody wrote this sector after we had started: either of us may be the last.
        const bool contended =
            last > write->started && !write->landed.contains(last) && !_engine.storage.one_in(2);
        if (contended || (half && _engine.storage.one_in(2))) {
            continue;
        }
        target.bytes.write(write->offset + done,
                           std::span(write->bytes).subspan(done, sector_size));
        last = ++target.writes_started;
        write->landed.insert(last);
    }
}

void machine::finish_direct_write(const direct_write_ref& write) {
    const request_ref& asked = write->of;
    const auto& what = std::get<op::write>(asked->work->what);
    file& target = *write->target;
    const std::vector<std::byte> bytes = gather(what.vector, what.vector_count);
    for (std::size_t i = 0; i < bytes.size(); i += sector_size) {
        // The device may have read this sector at any time until now.
        if (std::memcmp(bytes.data() + i, write->bytes.data() + i, sector_size) != 0 &&
            _engine.storage.one_in(2)) {
            std::memcpy(write->bytes.data() + i, bytes.data() + i, sector_size);
        }
    }
    std::int64_t result = _disk.room(target, write->offset, write->bytes.size());
    if (result > 0 && _engine.faults.strikes(fault::write_error)) {
        apply_direct_write(write, write->bytes.size(), true);
        result = -EIO;
    }
    if (result > 0) {
        const std::uint64_t unit = _disk.options().offset_alignment;
        auto length = static_cast<std::uint64_t>(result) / unit * unit;
        if (length > unit && _engine.faults.strikes(fault::short_write)) {
            length = _engine.storage.between(1, length / unit - 1) * unit;
        }
        apply_direct_write(write, length, false);
        if (write->data_sync && !_engine.faults.strikes(fault::sync_lie)) {
            target.bytes.persist(write->offset, length);
        }
        _engine.log.event(_engine.now(), _id, asked->owner->shard(), event_kind::file_write,
                          hash_bytes(write->bytes.data(), length, write->offset));
        result = static_cast<std::int64_t>(length);
    }
    if (--target.writes_in_flight == 0) {
        target.sector_written.clear();
    }
    std::erase(_writes, write);
    asked->owner->answer(asked, static_cast<std::int32_t>(result));
}

void machine::cut_writes_in_flight(bool power_cut) {
    for (const direct_write_ref& write : std::exchange(_writes, {})) {
        // At a cut any of its sectors may have reached the device; a killed process's write was
        // handed over whole, or not yet.
        const bool whole = _engine.storage.one_in(2);
        if (power_cut || whole) {
            if (_disk.fits(*write->target, write->offset, write->bytes.size()) ==
                write->bytes.size()) {
                apply_direct_write(write, write->bytes.size(), false);
            }
        }
        write->target->writes_in_flight = 0;
        write->target->sector_written.clear();
    }
}

void machine::run(const request_ref& asked, const op::sync& what) {
    const descriptor* found = file_of(asked, what.fd);
    if (found != nullptr) {
        later_on(
            found->file, asked, _disk.options().sync, 0,
            [this, asked, target = found->file] { finish_sync(asked, target); }, false);
    }
}

void machine::finish_sync(const request_ref& asked, const file_ref& target) {
    int result = 0;
    const bool something = target->is_directory || target->bytes.dirty();
    if (something && _engine.faults.strikes(fault::sync_error)) {
        target->bytes.forget_dirty();
        result = -EIO;
    } else if (!something || !_engine.faults.strikes(fault::sync_lie)) {
        _disk.sync(*target);
    }
    _engine.log.event(_engine.now(), _id, asked->owner->shard(), event_kind::file_sync, target->id);
    asked->owner->answer(asked, result);
}

void machine::run(const request_ref& asked, const op::allocate& what) {
    const descriptor* found = file_of(asked, what.fd);
    if (found == nullptr) {
        return;
    }
    later(asked, _disk.options().buffered, 0, [this, asked, what, target = found->file] {
        if (!_disk.options().has_allocate) {
            asked->owner->answer(asked, -EOPNOTSUPP);
            return;
        }
        const std::int64_t room = _disk.room(*target, what.offset, what.length);
        if (room != static_cast<std::int64_t>(what.length)) {
            asked->owner->answer(asked, -ENOSPC);
            return;
        }
        target->bytes.reserve(what.offset, what.length);
        asked->owner->answer(asked, 0);
    });
}

void machine::run(const request_ref& asked, const op::truncate& what) {
    const descriptor* found = file_of(asked, what.fd);
    if (found == nullptr) {
        return;
    }
    if (found->mode == op::access::read) {
        asked->owner->answer(asked, -EINVAL);
        return;
    }
    later(asked, _disk.options().buffered, 0, [asked, size = what.size, target = found->file] {
        target->bytes.resize(size);
        asked->owner->answer(asked, 0);
    });
}

void machine::run(const request_ref& asked, const op::lock& what) {
    if (descriptor* mine = file_of(asked, what.fd)) {
        const auto holds = [mine](const descriptor& each) {
            return each.locked && each.file == mine->file && &each != mine;
        };
        const bool held = std::any_of(_descriptors.begin(), _descriptors.end(), holds);
        mine->locked = !held;
        asked->owner->answer(asked, held ? -EWOULDBLOCK : 0);
    }
}

void machine::run(const request_ref& asked, const op::position& what) {
    descriptor* found = find(what.fd);
    if (found == nullptr || !found->file) {
        asked->owner->answer(asked, found == nullptr ? -EBADF : -ESPIPE);
        return;
    }
    (what.set ? found->position : *what.offset) = what.set ? *what.offset : found->position;
    if (what.appends != nullptr) {
        *what.appends = false;
    }
    asked->owner->answer(asked, 0);
}

void machine::run(const request_ref& asked, const op::rename& what) {
    later(asked, _disk.options().buffered, 0,
          [this, asked, what] { asked->owner->answer(asked, _disk.rename(what.from, what.to)); });
}

void machine::run(const request_ref& asked, const op::unlink& what) {
    later(asked, _disk.options().buffered, 0, [this, asked, what] {
        asked->owner->answer(asked, _disk.unlink(what.path, what.directory));
    });
}

void machine::run(const request_ref& asked, const op::make_directory& what) {
    later(asked, _disk.options().buffered, 0,
          [this, asked, what] { asked->owner->answer(asked, _disk.make_directory(what.path)); });
}

void machine::run(const request_ref& asked, const op::list_directory& what) {
    later(asked, _disk.options().buffered, 0, [this, asked, what] {
        std::vector<std::string> names;
        const int result = _disk.list(what.path, names);
        asked->owner->answer(asked, std::min(result, 0), false, {}, std::move(names));
    });
}

void machine::run(const request_ref& asked, const op::listen&) {
    _network.listen(asked, *this);
}

void machine::run(const request_ref& asked, const op::connect&) {
    _network.connect(asked, *this);
}

template <typename Operation>
void machine::run(const request_ref& asked, const Operation& what) {
    const descriptor* found = find(what.fd);
    if (found == nullptr || !found->socket) {
        asked->owner->answer(asked, found == nullptr ? -EBADF : -ENOTSOCK);
        return;
    }
    asked->at = found->socket;
    ++found->socket->holders;
    if constexpr (std::is_same_v<Operation, op::accept>) {
        _network.accept(asked);
    } else if constexpr (std::is_same_v<Operation, op::receive> ||
                         std::is_same_v<Operation, op::receive_into> ||
                         std::is_same_v<Operation, op::read_stream>) {
        _network.receive(asked);
    } else if constexpr (std::is_same_v<Operation, op::send> ||
                         std::is_same_v<Operation, op::write_stream>) {
        _network.send(asked);
    } else if constexpr (std::is_same_v<Operation, op::shutdown>) {
        _network.shutdown(asked);
    } else {
        static_assert(std::is_same_v<Operation, op::socket_name>);
        _network.name(asked);
    }
}

/// Whether the kernel turns it down before it does anything: -errno if so, else 0.
int machine::refuses(const any_op& what) {
    if (!holds_any<op::nop, op::close, op::sync, op::lock, op::position, op::shutdown,
                   op::socket_name>(what) &&
        _engine.faults.strikes(fault::no_memory)) {
        return -ENOMEM;
    }
    const bool stream = holds_any<op::read_stream, op::write_stream>(what);
    const bool repeatable =
        stream ||
        holds_any<op::open, op::stat, op::read, op::write, op::sync, op::allocate, op::truncate,
                  op::accept, op::receive, op::receive_into, op::send>(what);
    if (repeatable && _engine.faults.strikes(fault::interrupted)) {
        return stream || _engine.faults.random().one_in(2) ? -EINTR : -EAGAIN;
    }
    return 0;
}

void machine::execute(const request_ref& asked) {
    if (const int refused = refuses(asked->work->what); refused != 0) {
        later(asked, _disk.options().buffered, 0,
              [asked, refused] { asked->owner->answer(asked, refused); });
        return;
    }
    std::visit([&](const auto& what) { run(asked, what); }, asked->work->what);
}

}  // namespace weir::io::sim
