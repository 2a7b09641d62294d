// SPDX-License-Identifier: Apache-2.0
#include <weir/io/file.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/budget.hh>
#include <weir/io/parts.hh>
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

/// What a file and its operations share: it lives as long as one of them.
struct file::open_file {
    open_file(std::string path, const options& how) : path(std::move(path)), how(how) {}

    const std::string path;
    const options how;
    const shard_id shard = this_shard().id();
    int fd = -1;
    bool closing = false;
    bool stopped = false;
    unsigned owners = 1;  // the file, operations, a close()
    unsigned under_way = 0;
    promise<> ended;  // of a close() that waits for them

    void check() const noexcept { check_shard(shard, "the file", path.c_str()); }
    void let_go() noexcept {
        if (--owners != 0) {
            return;
        }
        if (fd < 0) {
            delete this;
            return;
        }
        leaving.what = op::close{fd};
        this_backend().start(leaving);
    }

    /// Closes what went without close(), and takes all of it along: made with the file, since at
    /// its end there may be no memory.
    class farewell final : public operation {
      public:
        explicit farewell(open_file& of) noexcept : operation(op::nop{}), _of(of) {}
        void complete(const completion&) noexcept override { delete &_of; }

      private:
        open_file& _of;
    };
    farewell leaving{*this};
};

/// An operation under way, for as long as it lives.
class file::use {
  public:
    explicit use(const file& of) noexcept : _of(of._opened) {
        WEIR_ASSERT(of.is_open() && "the file is open, and no close() has begun");
        _of->check();
        ++_of->owners;
        ++_of->under_way;
    }
    use(const file& of, const char* operation) : use(of) { check(operation); }
    use(const use& other) noexcept : _of(other._of) {
        ++_of->owners;
        ++_of->under_way;
    }
    use& operator=(const use&) = delete;
    ~use() {
        if (--_of->under_way == 0 && _of->ended.open()) {
            _of->ended.set_value();
        }
        _of->let_go();
    }
    open_file* operator->() const noexcept { return _of; }
    /// fails    throws if a failed sync has stopped the file
    void check(const char* operation) const {
        if (_of->stopped) {
            throw error(operation, _of->path + " (stopped by a failed sync)",
                        std::error_code(EIO, std::generic_category()));
        }
    }

    /// Large ones are cut, so that others have their turns. What goes to the device straight from
    /// memory keeps a shard less busy than what is copied, but new memory is cleared on the way.
    std::size_t piece_bytes_max() const noexcept {
        const budget_options& limits = this_backend().budget().options();
        return _of->how.direct ? limits.direct_operation_bytes_max : limits.operation_bytes_max;
    }

  private:
    open_file* const _of;
};

file::file(file&& other) noexcept : _opened(std::exchange(other._opened, nullptr)) {}

file& file::operator=(file&& other) noexcept {
    if (this != &other) {
        file old(std::move(*this));
        _opened = std::exchange(other._opened, nullptr);
    }
    return *this;
}

file::~file() {
    if (_opened != nullptr) {
        _opened->let_go();
    }
}

const std::string& file::path() const noexcept {
    static const std::string none;
    return _opened != nullptr ? _opened->path : none;
}

bool file::is_open() const noexcept {
    return _opened != nullptr && !_opened->closing;
}

bool file::direct() const noexcept {
    return _opened != nullptr && _opened->how.direct;
}

bool file::stopped() const noexcept {
    return _opened != nullptr && _opened->stopped;
}

unsigned file::under_way() const noexcept {
    return _opened != nullptr ? _opened->under_way : 0;
}

future<file> file::open(std::string path, options how, abort_source* give_up) {
    file made(new open_file(std::move(path), how));  // before there is a descriptor to lose
    open_file& opened = *made._opened;
    op::open request{.path = opened.path.c_str()};
    request.mode = how.mode;
    request.create = how.create;
    request.exclusive = how.exclusive;
    request.truncate = how.truncate;
    request.direct = how.direct;
    request.data_sync = how.data_sync;
    const std::int32_t fd = co_await submit(request, give_up);
    if (fd < 0) {
        throw error::from_errno("open", opened.path, -fd);
    }
    opened.fd = fd;
    co_return made;
}

future<std::size_t> file::read(std::uint64_t offset, std::span<std::byte> into,
                               abort_source* give_up) {
    const use of(*this);
    return of->how.direct && into.size() > of.piece_bytes_max()
               ? read_large(of, offset, into, give_up)
               : read_piece_by_piece(of, offset, into, give_up);
}

future<std::size_t> file::read_piece_by_piece(use of, std::uint64_t offset,
                                              std::span<std::byte> into, abort_source* give_up) {
    of.check("read");
    const std::size_t piece = of.piece_bytes_max();
    std::size_t done = 0;
    while (done < into.size()) {
        const iovec part{into.data() + done, std::min(into.size() - done, piece)};
        const std::int32_t count =
            co_await submit(op::read{of->fd, offset + done, &part, 1, of->how.direct}, give_up);
        if (count < 0) {
            throw error::from_errno("read", of->path, -count);
        }
        done += static_cast<std::size_t>(count);
        // O_DIRECT goes on only where it may, at a sector: a count that is none is the file's end.
        if (count == 0 || (of->how.direct && done % smallest_sector != 0)) {
            break;
        }
    }
    co_return done;
}

/// A device that reads for a program, not for the kernel's cache, is idle between two pieces: so
/// the next one is under way meanwhile.
future<std::size_t> file::read_large(use of, std::uint64_t offset, std::span<std::byte> into,
                                     abort_source* give_up) {
    const std::size_t piece = of.piece_bytes_max();
    std::size_t begun = 0;
    const auto begin_next = [&] {
        const auto next = into.subspan(begun, std::min(piece, into.size() - begun));
        const std::uint64_t at = offset + std::exchange(begun, begun + next.size());
        return futurize([&] { return read_piece_by_piece(of, at, next, give_up); });
    };
    std::size_t done = 0;
    for (future<std::size_t> first = begin_next(), second;; first = std::exchange(second, {})) {
        const std::size_t wanted = begun - done;
        const bool more = begun < into.size();
        if (more) {
            second = begin_next();
        }
        co_await settled(first);
        const bool failed = first.failed();
        const std::size_t count = failed ? 0 : first.take();
        done += count;
        if (more && !failed && count == wanted) {
            continue;
        }
        if (more) {  // of no use, but it reads into the caller's memory
            co_await settled(second);
            std::move(second).ignore();
        }
        if (failed) {
            std::rethrow_exception(first.take_failure());
        }
        co_return done;
    }
}

future<std::size_t> file::read_next(std::span<std::byte> into, abort_source* give_up) {
    const use of(*this, "read");
    const std::size_t wanted = std::min(into.size(), of.piece_bytes_max());
    if (wanted == 0) {
        co_return 0;
    }
    const std::int32_t count = co_await submit(
        op::read_stream{of->fd, into.data(), static_cast<std::uint32_t>(wanted)}, give_up);
    if (count < 0) {
        throw error::from_errno("read", of->path, -count);
    }
    co_return static_cast<std::size_t>(count);
}

future<> file::write_next(std::span<const std::byte> from, abort_source* give_up) {
    const use of(*this, "write");
    iovec whole{const_cast<std::byte*>(from.data()), from.size()};
    for (parts_left left(std::span(&whole, 1)); !left.empty();) {
        const parts_left::piece next = left.take(of.piece_bytes_max());
        const std::int32_t result =
            co_await submit(op::write_stream{of->fd, next.first, next.count}, give_up);
        left.give_back();
        if (result <= 0) {
            throw error::from_errno("write", of->path, result < 0 ? -result : ENOSPC);
        }
        left.advance(static_cast<std::size_t>(result));
    }
}

future<> file::write(std::uint64_t offset, std::span<const std::byte> from, abort_source* give_up) {
    const use of(*this, "write");
    // The kernel reads through this pointer; iovec has no const of its own.
    iovec whole{const_cast<std::byte*>(from.data()), from.size()};
    co_await write_all(of, offset, std::span(&whole, 1), give_up);
}

future<> file::write(std::uint64_t offset, std::vector<iovec> from) {
    const use of(*this, "write");
    co_await write_all(of, offset, from, nullptr);
}

future<> file::write_all(const use& of, std::uint64_t offset, std::span<iovec> from,
                         abort_source* give_up) {
    for (parts_left left(from); !left.empty();) {
        const parts_left::piece next = left.take(of.piece_bytes_max());
        const op::write rest{of->fd, offset, next.first, next.count, of->how.direct};
        const std::int32_t result = co_await submit(rest, give_up);
        left.give_back();
        if (result <= 0) {
            of->stopped = of->stopped || of->how.data_sync;
            throw error::from_errno("write", of->path, result < 0 ? -result : ENOSPC);
        }
        offset += static_cast<std::uint64_t>(result);
        left.advance(static_cast<std::size_t>(result));
    }
}

future<> file::sync(bool metadata) {
    const use of(*this, "sync");
    const std::int32_t result = co_await submit(op::sync{of->fd, metadata});
    if (result < 0) {
        of->stopped = true;
        throw error::from_errno("sync", of->path, -result);
    }
}

future<> file::allocate(std::uint64_t offset, std::uint64_t length) {
    const use of(*this, "allocate");
    if (length != 0) {  // which fallocate refuses
        co_await submit_or_fail(op::allocate{of->fd, offset, length}, "allocate", of->path);
    }
}

future<> file::truncate(std::uint64_t size) {
    const use of(*this, "truncate");
    co_await submit_or_fail(op::truncate{of->fd, size}, "truncate", of->path);
}

future<bool> file::lock() {
    const use of(*this, "lock");
    const std::int32_t result = co_await submit(op::lock{of->fd});
    if (result < 0 && result != -EWOULDBLOCK) {
        throw error::from_errno("lock", of->path, -result);
    }
    co_return result >= 0;
}

future<op::file_status> file::status() {
    const use of(*this);
    op::file_status status;
    co_await submit_or_fail(op::stat{.fd = of->fd, .status = &status}, "stat", of->path);
    co_return status;
}

future<std::uint64_t> file::size() {
    co_return (co_await status()).size;
}

future<> file::close() {
    WEIR_ASSERT(is_open());
    _opened->check();
    const file kept(_opened);  // until it is closed, whatever becomes of this
    open_file& of = *_opened;
    ++of.owners;
    of.closing = true;
    if (of.under_way != 0) {
        co_await of.ended.get_future();
    }
    future<std::int32_t> closed = submit_or_fail(op::close{of.fd}, "close", of.path);
    if (!closed.failed()) {
        of.fd = -1;  // else there was no memory to begin: the last owner closes it
    }
    co_await std::move(closed);
    if (of.stopped) {
        throw error("close", of.path + " (stopped by a failed sync)",
                    std::error_code(EIO, std::generic_category()));
    }
}

future<> sync_directory(std::string path) {
    file directory(new file::open_file(std::move(path), {}));  // as in open()
    file::open_file& opened = *directory._opened;
    opened.fd = co_await submit_or_fail(op::open{.path = opened.path.c_str(), .directory = true},
                                        "open directory", opened.path);
    const std::int32_t result = co_await submit(op::sync{opened.fd, true});
    co_await directory.close();
    if (result < 0) {
        throw error::from_errno("sync directory", opened.path, -result);
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
