// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>

#include <doctest/doctest.h>
#include <io/conformance.hh>

namespace weir::io::conformance {

std::int32_t run(test_bed& bed, any_op what) {
    waiter waiting(std::move(what));
    bed.tested().start(waiting);
    turn_until(bed, [&] { return waiting.done; });
    return waiting.result();
}

namespace {

int open_new(test_bed& bed, const std::string& path) {
    const auto fd =
        run(bed, op::open{.path = path.c_str(), .mode = op::access::read_write, .create = true});
    REQUIRE(fd >= 0);
    return fd;
}

std::int32_t write_text(test_bed& bed, int fd, std::uint64_t offset, std::string text) {
    const iovec part{text.data(), text.size()};
    return run(bed, op::write{fd, offset, &part, 1});
}

std::string read_text(test_bed& bed, int fd, std::uint64_t offset, std::size_t length) {
    std::string text(length, '?');
    const iovec part{text.data(), text.size()};
    const auto count = run(bed, op::read{fd, offset, &part, 1});
    REQUIRE(count >= 0);
    text.resize(static_cast<std::size_t>(count));
    return text;
}

op::file_status status_of(test_bed& bed, const std::string& path) {
    op::file_status status;
    CHECK(run(bed, op::stat{.path = path.c_str(), .status = &status}) == 0);
    return status;
}

void completes_later(test_bed& bed) {
    waiter waiting{op::nop{}};
    bed.tested().start(waiting);
    CHECK(!waiting.done);
    turn_until(bed, [&] { return waiting.done; });
    CHECK(waiting.result() == 0);
    CHECK(waiting.outcomes.size() == 1);
}

void reads_what_was_written(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    const int fd = open_new(bed, path);
    std::string first = "one ", second = "two";
    const iovec parts[] = {{first.data(), first.size()}, {second.data(), second.size()}};
    CHECK(run(bed, op::write{fd, 0, parts, 2}) == 7);
    CHECK(read_text(bed, fd, 4, 3) == "two");
    CHECK(read_text(bed, fd, 4, 100) == "two");
    CHECK(read_text(bed, fd, 7, 100).empty());
    std::string head(3, '?'), tail(4, '?');
    const iovec places[] = {{head.data(), head.size()}, {tail.data(), tail.size()}};
    CHECK(run(bed, op::read{fd, 0, places, 2}) == 7);
    CHECK(head + tail == "one two");
    CHECK(status_of(bed, path).size == 7);
    op::file_status status;
    CHECK(run(bed, op::stat{.fd = fd, .status = &status}) == 0);
    CHECK(status.size == 7);
    CHECK(!status.is_directory);
    CHECK(run(bed, op::close{fd}) == 0);
}

void open_refuses(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    CHECK(run(bed, op::open{.path = path.c_str()}) == -ENOENT);
    op::file_status status;
    CHECK(run(bed, op::stat{.path = path.c_str(), .status = &status}) == -ENOENT);
    const int fd = open_new(bed, path);
    CHECK(run(bed, op::open{.path = path.c_str(), .create = true, .exclusive = true}) == -EEXIST);
    CHECK(run(bed, op::open{.path = path.c_str(), .directory = true}) == -ENOTDIR);
    CHECK(run(bed, op::close{fd}) == 0);
    CHECK(run(bed, op::close{fd}) == -EBADF);
    const iovec nothing{nullptr, 0};
    CHECK(run(bed, op::read{fd, 0, &nothing, 1}) == -EBADF);
    CHECK(run(bed, op::sync{fd}) == -EBADF);
}

void access_is_kept(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    CHECK(run(bed, op::close{open_new(bed, path)}) == 0);
    char byte = 'x';
    const iovec part{&byte, 1};
    const int reader = run(bed, op::open{.path = path.c_str(), .mode = op::access::read});
    CHECK(run(bed, op::write{reader, 0, &part, 1}) == -EBADF);
    const int writer = run(bed, op::open{.path = path.c_str(), .mode = op::access::write});
    CHECK(run(bed, op::write{writer, 0, &part, 1}) == 1);
    CHECK(run(bed, op::read{writer, 0, &part, 1}) == -EBADF);
    CHECK(run(bed, op::close{reader}) == 0);
    CHECK(run(bed, op::close{writer}) == 0);
}

void size_changes(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    const int fd = open_new(bed, path);
    CHECK(write_text(bed, fd, 0, "abcdef") == 6);
    CHECK(run(bed, op::truncate{fd, 3}) == 0);
    CHECK(run(bed, op::truncate{fd, 5}) == 0);
    CHECK(read_text(bed, fd, 0, 10) == std::string("abc\0\0", 5));
    CHECK(run(bed, op::allocate{fd, 0, 8192}) == 0);
    CHECK(status_of(bed, path).size == 8192);
    CHECK(read_text(bed, fd, 0, 5) == std::string("abc\0\0", 5));
    CHECK(read_text(bed, fd, 8000, 1000) == std::string(192, '\0'));
    CHECK(write_text(bed, fd, 10'000, "far") == 3);
    CHECK(read_text(bed, fd, 9'999, 10) == std::string("\0far", 4));
    CHECK(run(bed, op::close{fd}) == 0);
    const int again =
        run(bed, op::open{.path = path.c_str(), .mode = op::access::write, .truncate = true});
    CHECK(again >= 0);
    CHECK(status_of(bed, path).size == 0);
    CHECK(run(bed, op::close{again}) == 0);
}

std::vector<std::string> names_in(test_bed& bed, const std::string& path) {
    std::vector<std::string> names;
    CHECK(run(bed, op::list_directory{path.c_str(), &names}) == 0);
    std::sort(names.begin(), names.end());
    return names;
}

void names_change(test_bed& bed) {
    const auto root = bed.directory();
    const auto one = root + "/one", two = root + "/two", inner = root + "/inner";
    int fd = open_new(bed, one);
    CHECK(write_text(bed, fd, 0, "1") == 1);
    CHECK(run(bed, op::close{open_new(bed, two)}) == 0);
    CHECK(names_in(bed, root) == std::vector<std::string>{"one", "two"});
    CHECK(run(bed, op::rename{one.c_str(), two.c_str()}) == 0);
    CHECK(names_in(bed, root) == std::vector<std::string>{"two"});
    CHECK(status_of(bed, two).size == 1);
    CHECK(read_text(bed, fd, 0, 1) == "1");
    CHECK(run(bed, op::rename{one.c_str(), two.c_str()}) == -ENOENT);
    CHECK(run(bed, op::make_directory{inner.c_str()}) == 0);
    CHECK(run(bed, op::make_directory{inner.c_str()}) == -EEXIST);
    CHECK(status_of(bed, inner).is_directory);
    const auto nested = inner + "/file";
    CHECK(run(bed, op::close{open_new(bed, nested)}) == 0);
    CHECK(run(bed, op::unlink{inner.c_str(), true}) == -ENOTEMPTY);
    CHECK(run(bed, op::unlink{nested.c_str()}) == 0);
    CHECK(run(bed, op::unlink{nested.c_str()}) == -ENOENT);
    CHECK(run(bed, op::unlink{inner.c_str()}) == -EISDIR);
    CHECK(run(bed, op::unlink{inner.c_str(), true}) == 0);
    CHECK(run(bed, op::unlink{two.c_str()}) == 0);
    CHECK(names_in(bed, root).empty());
    CHECK(read_text(bed, fd, 0, 1) == "1");
    CHECK(run(bed, op::close{fd}) == 0);
    std::vector<std::string> names;
    CHECK(run(bed, op::list_directory{two.c_str(), &names}) == -ENOENT);
}

void syncs(test_bed& bed) {
    const auto root = bed.directory();
    const auto path = root + "/file";
    const int fd = open_new(bed, path);
    CHECK(write_text(bed, fd, 0, "durable") == 7);
    CHECK(run(bed, op::sync{fd, false}) == 0);
    CHECK(run(bed, op::sync{fd, true}) == 0);
    const int directory = run(bed, op::open{.path = root.c_str(), .directory = true});
    CHECK(directory >= 0);
    CHECK(run(bed, op::sync{directory, true}) == 0);
    CHECK(run(bed, op::close{directory}) == 0);
    CHECK(run(bed, op::close{fd}) == 0);
}

void direct_files_want_alignment(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    const int fd = run(bed, op::open{.path = path.c_str(),
                                     .mode = op::access::read_write,
                                     .create = true,
                                     .direct = true,
                                     .data_sync = true});
    REQUIRE(fd >= 0);
    op::file_status status{.memory_alignment = 0, .offset_alignment = 0};
    CHECK(run(bed, op::stat{.fd = fd, .status = &status}) == 0);
    REQUIRE(status.memory_alignment > 0);
    REQUIRE(status.offset_alignment > 0);
    const std::size_t length = 4 * status.offset_alignment;
    const std::size_t alignment = std::max<std::size_t>(status.memory_alignment, sizeof(void*));
    std::unique_ptr<char, decltype(&std::free)> memory(
        static_cast<char*>(std::aligned_alloc(alignment, 2 * length)), &std::free);
    std::memset(memory.get(), 'a', length);
    const iovec part{memory.get(), length};
    CHECK(run(bed, op::write{fd, 0, &part, 1}) == static_cast<std::int32_t>(length));
    CHECK(run(bed, op::write{fd, 1, &part, 1}) == -EINVAL);
    const iovec place{memory.get() + length, length};
    CHECK(run(bed, op::read{fd, 0, &place, 1}) == static_cast<std::int32_t>(length));
    CHECK(std::memcmp(memory.get(), memory.get() + length, length) == 0);
    CHECK(run(bed, op::close{fd}) == 0);
}

void many_at_once(test_bed& bed) {
    const int fd = open_new(bed, bed.directory() + "/file");
    std::deque<waiter> waiting;
    std::vector<char> bytes(3'000);
    std::vector<iovec> parts(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<char>('a' + i % 26);
        parts[i] = {&bytes[i], 1};
        bed.tested().start(waiting.emplace_back(op::write{fd, i, &parts[i], 1}));
    }
    turn_until(bed, [&] { return std::ranges::all_of(waiting, &waiter::done); });
    CHECK(std::ranges::all_of(waiting, [](const waiter& one) { return one.result() == 1; }));
    CHECK(read_text(bed, fd, 0, bytes.size() + 1) == std::string(bytes.begin(), bytes.end()));
    CHECK(run(bed, op::close{fd}) == 0);
}

struct measured_work final : blocking_work {
    void run() noexcept override { ran = true; }
    void complete() noexcept override { completed = ran; }
    bool ran = false;
    bool completed = false;
};

void blocking_work_runs(test_bed& bed) {
    std::deque<measured_work> work(100);
    for (auto& one : work) {
        bed.tested().run_blocking(one);
        CHECK(!one.completed);
    }
    turn_until(bed, [&] { return std::ranges::all_of(work, &measured_work::completed); });
}

void a_lock_excludes(test_bed& bed) {
    const std::string path = bed.directory() + "/lock";
    const op::open how{.path = path.c_str(), .mode = op::access::write, .create = true};
    const int first = run(bed, how);
    const int second = run(bed, how);
    CHECK(run(bed, op::lock{first}) == 0);
    CHECK(run(bed, op::lock{first}) == 0);
    CHECK(run(bed, op::lock{second}) == -EWOULDBLOCK);
    CHECK(run(bed, op::close{first}) == 0);
    CHECK(run(bed, op::lock{second}) == 0);
    CHECK(run(bed, op::close{second}) == 0);
    CHECK(run(bed, op::lock{second}) == -EBADF);
}

void positions_are_kept(test_bed& bed) {
    const int fd = open_new(bed, bed.directory() + "/file");
    op::file_status status;
    CHECK(run(bed, op::stat{.fd = fd, .status = &status}) == 0);
    CHECK(status.by_position);
    std::uint64_t at = 77;
    bool appends = true;
    CHECK(run(bed, op::position{fd, false, &at, &appends}) == 0);
    CHECK(at == 0);
    CHECK(!appends);
    CHECK(write_text(bed, fd, 0, "by offset") == 9);
    at = 5;
    CHECK(run(bed, op::position{fd, true, &at}) == 0);
    at = 0;
    CHECK(run(bed, op::position{fd, false, &at}) == 0);
    CHECK(at == 5);
    CHECK(run(bed, op::close{fd}) == 0);
    CHECK(run(bed, op::position{fd, false, &at}) == -EBADF);
    const auto root = bed.directory();
    CHECK(run(bed, op::stat{.path = root.c_str(), .status = &status}) == 0);
    CHECK(!status.by_position);
    const connection pair = connect_pair(bed);
    CHECK(run(bed, op::position{pair.client, false, &at}) == -ESPIPE);
    CHECK(run(bed, op::close{pair.client}) == 0);
    CHECK(run(bed, op::close{pair.server}) == 0);
}

constexpr entry cases[] = {
    {"an operation completes in a later poll, never inside start", completes_later},
    {"a file reads as it was written, and short at its end", reads_what_was_written},
    {"open says what is missing, what is there and what is no directory", open_refuses},
    {"a file opened to read is not written, nor the other way round", access_is_kept},
    {"truncate and allocate set the size, and new ranges read as zeros", size_changes},
    {"rename replaces, unlink removes, and a directory lists what is left", names_change},
    {"files and directories sync", syncs},
    {"a file has a position that only those move who set it, and a connection has none",
     positions_are_kept},
    {"a lock excludes other open files until it is closed", a_lock_excludes},
    {"a direct file takes what stat calls aligned and refuses the rest",
     direct_files_want_alignment},
    {"three thousand writes at once all complete", many_at_once},
    {"blocking work runs elsewhere and completes here", blocking_work_runs},
};

}  // namespace

std::span<const entry> file_cases() {
    return cases;
}

}  // namespace weir::io::conformance
