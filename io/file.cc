// SPDX-License-Identifier: Apache-2.0
#include <weir/io/file.hh>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/submit.hh>

namespace weir::io {

namespace {
constexpr std::size_t smallest_sector = 512;
}

aligned_buffer::aligned_buffer(std::size_t bytes) : aligned_buffer(unset(bytes)) {
    std::memset(_data.get(), 0, bytes);
}

aligned_buffer aligned_buffer::unset(std::size_t bytes) {
    aligned_buffer made;
    made._size = (bytes + alignment - 1) / alignment * alignment;
    made._data.reset(
        static_cast<std::byte*>(::operator new(made._size, std::align_val_t(alignment))));
    std::memset(made._data.get() + bytes, 0, made._size - bytes);
    return made;
}

void aligned_buffer::free_aligned::operator()(std::byte* memory) const noexcept {
    ::operator delete(memory, std::align_val_t(alignment));
}

file::file(int fd, std::string path, const options& how) noexcept
    : _fd(fd), _direct(how.direct), _data_sync(how.data_sync), _path(std::move(path)) {}

file::file(file&& other) noexcept
    : _fd(std::exchange(other._fd, -1)),
      _direct(other._direct),
      _data_sync(other._data_sync),
      _stopped(other._stopped),
      _path(std::move(other._path)) {}

file& file::operator=(file&& other) noexcept {
    if (this != &other) {
        file old(std::move(*this));
        _fd = std::exchange(other._fd, -1);
        _direct = other._direct;
        _data_sync = other._data_sync;
        _stopped = other._stopped;
        _path = std::move(other._path);
    }
    return *this;
}

file::~file() {
    if (_fd >= 0) {
        submit(op::close{_fd}).ignore();
    }
}

future<file> file::open(std::string path, options how) {
    op::open request{.path = path.c_str()};
    request.mode = how.mode;
    request.create = how.create;
    request.exclusive = how.exclusive;
    request.truncate = how.truncate;
    request.direct = how.direct;
    request.data_sync = how.data_sync;
    const std::int32_t fd = co_await submit_or_fail(request, "open", path);
    co_return file(fd, std::move(path), how);
}

void file::check_usable(const char* operation) const {
    WEIR_ASSERT(is_open());
    if (_stopped) {
        throw error(operation, _path + " (stopped by a failed sync)",
                    std::error_code(EIO, std::generic_category()));
    }
}

future<std::size_t> file::read(std::uint64_t offset, std::span<std::byte> into,
                               abort_source* give_up) {
    check_usable("read");
    std::size_t done = 0;
    while (done < into.size()) {
        const iovec part{into.data() + done, into.size() - done};
        const std::int32_t count = co_await submit(op::read{_fd, offset + done, &part, 1}, give_up);
        if (count < 0) {
            throw error::from_errno("read", _path, -count);
        }
        done += static_cast<std::size_t>(count);
        // O_DIRECT goes on only where it may, at a sector: a count that is none is the file's end.
        if (count == 0 || (_direct && done % smallest_sector != 0)) {
            break;
        }
    }
    co_return done;
}

future<> file::write(std::uint64_t offset, std::span<const std::byte> from, abort_source* give_up) {
    // The kernel reads through this pointer; iovec has no const of its own.
    iovec whole{const_cast<std::byte*>(from.data()), from.size()};
    co_await write_all(offset, std::span(&whole, 1), give_up);
}

future<> file::write(std::uint64_t offset, std::vector<iovec> from) {
    co_await write_all(offset, from, nullptr);
}

future<> file::write_all(std::uint64_t offset, std::span<iovec> from, abort_source* give_up) {
    check_usable("write");
    std::size_t first = 0;
    for (;;) {
        while (first < from.size() && from[first].iov_len == 0) {
            ++first;  // the kernel would write nothing, which else means that there is no room
        }
        if (first == from.size()) {
            co_return;
        }
        const op::write rest{_fd, offset, from.data() + first,
                             static_cast<std::uint32_t>(from.size() - first)};
        const std::int32_t result = co_await submit(rest, give_up);
        if (result <= 0) {
            _stopped = _stopped || _data_sync;
            throw error::from_errno("write", _path, result < 0 ? -result : ENOSPC);
        }
        auto count = static_cast<std::size_t>(result);
        offset += count;
        while (first < from.size() && count >= from[first].iov_len) {
            count -= from[first++].iov_len;
        }
        if (count > 0) {
            from[first].iov_base = static_cast<std::byte*>(from[first].iov_base) + count;
            from[first].iov_len -= count;
        }
    }
}

future<> file::sync(bool metadata) {
    check_usable("sync");
    const std::int32_t result = co_await submit(op::sync{_fd, metadata});
    if (result < 0) {
        _stopped = true;
        throw error::from_errno("sync", _path, -result);
    }
}

future<> file::allocate(std::uint64_t offset, std::uint64_t length) {
    check_usable("allocate");
    if (length == 0) {
        co_return;  // fallocate refuses it
    }
    co_await submit_or_fail(op::allocate{_fd, offset, length}, "allocate", _path);
}

future<> file::truncate(std::uint64_t size) {
    check_usable("truncate");
    co_await submit_or_fail(op::truncate{_fd, size}, "truncate", _path);
}

future<bool> file::lock() {
    check_usable("lock");
    const std::int32_t result = co_await submit(op::lock{_fd});
    if (result < 0 && result != -EWOULDBLOCK) {
        throw error::from_errno("lock", _path, -result);
    }
    co_return result >= 0;
}

future<op::file_status> file::status() {
    WEIR_ASSERT(is_open());
    op::file_status status;
    co_await submit_or_fail(op::stat{.fd = _fd, .status = &status}, "stat", _path);
    co_return status;
}

future<std::uint64_t> file::size() {
    co_return (co_await status()).size;
}

future<> file::close() {
    WEIR_ASSERT(is_open());
    const bool stopped = _stopped;
    std::string path = _path;
    co_await submit_or_fail(op::close{std::exchange(_fd, -1)}, "close", path);
    if (stopped) {
        throw error("close", path + " (stopped by a failed sync)",
                    std::error_code(EIO, std::generic_category()));
    }
}

future<> sync_directory(std::string path) {
    const std::int32_t fd = co_await submit_or_fail(
        op::open{.path = path.c_str(), .directory = true}, "open directory", path);
    const std::int32_t result = co_await submit(op::sync{fd, true});
    co_await submit_or_fail(op::close{fd}, "close directory", path);
    if (result < 0) {
        throw error::from_errno("sync directory", path, -result);
    }
}

future<> rename(std::string from, std::string to) {
    co_await submit_or_fail(op::rename{from.c_str(), to.c_str()}, "rename", from + " to " + to);
}

future<> unlink(std::string path) {
    co_await submit_or_fail(op::unlink{path.c_str()}, "unlink", path);
}

future<> make_directory(std::string path) {
    const std::int32_t result = co_await submit(op::make_directory{path.c_str()});
    if (result < 0 && result != -EEXIST) {
        throw error::from_errno("make directory", path, -result);
    }
}

namespace {

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// Syncs the parent of a directory that somebody made; who may not read the parent did not.
future<> sync_parent_if_allowed(std::string path) {
    try {
        co_await sync_directory(parent_of(path));
    } catch (const error& e) {
        if (!e.is_errno(EACCES)) {
            throw;
        }
    }
}

}  // namespace

future<> make_directories(std::string path) {
    std::string deepest;
    for (std::size_t end = 0; end != std::string::npos;) {
        end = path.find('/', end + 1);
        const std::string part = path.substr(0, end);
        if (part.empty() || part == "." || part == ".." || part.back() == '/') {
            continue;
        }
        if (co_await exists(part)) {
            deepest = part;
            continue;
        }
        if (!deepest.empty()) {
            // Who made it may have died before this sync.
            co_await sync_parent_if_allowed(std::exchange(deepest, {}));
        }
        co_await make_directory(part);
        co_await sync_directory(parent_of(part));
    }
    if (!deepest.empty()) {
        co_await sync_parent_if_allowed(deepest);
    }
}

future<std::vector<std::string>> list_directory(std::string path) {
    std::vector<std::string> names;
    co_await submit_or_fail(op::list_directory{path.c_str(), &names}, "list directory", path);
    co_return names;
}

future<bool> exists(std::string path) {
    op::file_status status;
    const std::int32_t result = co_await submit(op::stat{.path = path.c_str(), .status = &status});
    if (result < 0 && result != -ENOENT && result != -ENOTDIR) {
        throw error::from_errno("stat", path, -result);
    }
    co_return result >= 0;
}

}  // namespace weir::io
