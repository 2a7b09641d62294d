// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/budget.hh>
#include <weir/io/stream.hh>
#include <weir/io/submit.hh>

using namespace weir;

namespace {

std::byte byte_at(std::uint64_t offset) {
    return static_cast<std::byte>((offset * 31) >> 3);
}

std::vector<std::byte> bytes_from(std::uint64_t offset, std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = byte_at(offset + i);
    }
    return bytes;
}

io::file::options for_writing(bool direct) {
    return {.mode = io::op::access::read_write, .create = true, .truncate = true, .direct = direct};
}

// Writes `size` bytes in pieces of many lengths, flushing now and then, and reads them back.
future<> write_and_read(std::string path, std::size_t size, bool direct, io::stream_options how) {
    io::file target = co_await io::file::open(path, for_writing(direct));
    io::output_stream out(target, 0, how);
    std::uint64_t written = 0;
    for (std::size_t step = 1; written < size; step = step * 7 % 10007 + 1) {
        const std::size_t count = std::min<std::size_t>(step, size - written);
        const std::vector<std::byte> bytes = bytes_from(written, count);
        co_await out.write(bytes);
        written += count;
        if (step % 13 == 0) {
            co_await out.flush();
        }
    }
    co_await out.close();
    CHECK(co_await target.size() == size);
    io::input_stream in(target, 0, how);
    std::uint64_t seen = 0;
    bool equal = true;
    for (;;) {
        const buffer part = co_await in.read();
        if (part.empty()) {
            break;
        }
        for (const std::byte each : part.bytes()) {
            equal = equal && each == byte_at(seen++);
        }
    }
    CHECK(equal);
    CHECK(seen == size);
    CHECK((co_await in.read()).empty());
    co_await in.close();
    co_await target.close();
    co_await io::unlink(path);
}

/// What the shard's reads and writes have asked for so far.
struct asked {
    std::uint64_t operations = 0;
    std::uint64_t bytes = 0;
};
asked asked_so_far() {
    const auto& counted = io::this_backend().budget().of(this_shard().context().group);
    return {counted.admitted, counted.bytes};
}

future<std::string> read_all(io::input_stream& in) {
    std::string all;
    for (;;) {
        const buffer part = co_await in.read();
        if (part.empty()) {
            co_return all;
        }
        all += part.text();
    }
}

future<std::string> read_path(std::string path, std::uint64_t offset = 0,
                              std::uint64_t length = io::input_stream::to_the_end) {
    io::file source = co_await io::file::open(path, {});
    io::input_stream in(source, offset, length);
    std::string all = co_await read_all(in);
    co_await in.close();
    co_await source.close();
    co_return all;
}

/// Numbers, a line each, as seq prints them.
std::string numbers(unsigned count) {
    std::string all;
    for (unsigned i = 1; i <= count; ++i) {
        all += std::to_string(i) + '\n';
    }
    return all;
}

std::string path_of(const char* name) {
    return name + std::to_string(::getpid());
}

}  // namespace

TEST_SUITE("io/stream") {
    TEST_CASE("what is written behind is read ahead, whatever the sizes") {
        for (const bool direct : {false, true}) {
            test::on_both([direct](host&) -> future<> {
                const std::string path = path_of("stream");
                for (const std::size_t size : {0, 1, 4096, 8191, 8192, 100'001}) {
                    co_await write_and_read(path, size, direct, {.buffer_bytes = 8192, .depth = 3});
                }
                co_await write_and_read(path, 50'000, direct, {.buffer_bytes = 4096, .depth = 1});
            });
        }
    }

    TEST_CASE("a write that failed is told by the next call, and nothing is written after it") {
        test::on_kernel([](host&) -> future<> {
            // Each write to this device fails with ENOSPC.
            io::file full = co_await io::file::open("/dev/full", {.mode = io::op::access::write});
            io::output_stream out(full, 0, {.buffer_bytes = 4096, .depth = 1});
            const std::vector<std::byte> bytes = bytes_from(0, 20'000);
            bool failed = false;
            try {
                co_await out.write(bytes);
                co_await out.flush();
            } catch (const error& e) {
                failed = e.is_errno(ENOSPC);
            }
            CHECK(failed);
            failed = false;
            try {
                co_await out.close();
            } catch (const error& e) {
                failed = e.is_errno(ENOSPC);
            }
            CHECK(failed);
            co_await full.close();
        });
    }

    TEST_CASE("a stream that is closed early waits for what it read ahead") {
        test::on_both([](host&) -> future<> {
            const std::string path = path_of("early");
            io::file source = co_await io::file::open(path, for_writing(false));
            const std::vector<std::byte> bytes = bytes_from(0, 64'000);
            co_await source.write(0, bytes);
            io::input_stream in(source, 0, {.buffer_bytes = 4096, .depth = 8});
            CHECK((co_await in.read()).size() == 4096);
            co_await in.close();
            co_await source.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("a stream asks for what is there, once, and for no more than its range") {
        // No faults: what is short is asked again.
        test::on_kernel([](host&) -> future<> {
            const std::string path = path_of("small");
            for (const bool direct : {false, true}) {
                io::file tried = co_await io::file::open(path, for_writing(direct));
                io::output_stream out(tried, 0, {.buffer_bytes = 8192});
                co_await out.write(bytes_from(0, 100'000));
                co_await out.close();
                struct one {
                    std::uint64_t offset, length, bytes, operations;
                };
                const std::uint64_t rest = io::input_stream::to_the_end;
                const one ranges[] = {{0, 5, 5, 1},
                                      {4096, 5, 5, 1},
                                      {98'304, rest, 1'696, 1},
                                      {0, 0, 0, 0},
                                      {98'304, 50'000, 1'696, 1},
                                      {102'400, rest, 0, 0},
                                      {0, 70'000, 70'000, 2},
                                      {0, rest, 100'000, 2}};
                for (const one& each : ranges) {
                    const asked before = asked_so_far();
                    io::input_stream in(tried, each.offset, each.length,
                                        {.buffer_bytes = 64 << 10});
                    const std::string got = co_await read_all(in);
                    co_await in.close();
                    CAPTURE(each.offset);
                    CAPTURE(each.length);
                    const auto expected = bytes_from(each.offset, each.bytes);
                    CHECK(got.size() == each.bytes);
                    CHECK(std::ranges::equal(std::as_bytes(std::span(got)), expected));
                    const std::uint64_t unit = direct ? 4096 : 1;
                    const asked after = asked_so_far();
                    CHECK(after.operations - before.operations == each.operations);
                    CHECK(after.bytes - before.bytes == (each.bytes + unit - 1) / unit * unit);
                }
                co_await tried.close();
            }
            co_await io::unlink(path);
        });
    }

    TEST_CASE("reading ahead begins with one buffer and grows while the reader goes on") {
        test::on_kernel([](host&) -> future<> {
            const std::string path = path_of("grows");
            io::file source = co_await io::file::open(path, for_writing(false));
            co_await source.write(0, bytes_from(0, 1 << 20));
            const asked before = asked_so_far();
            const auto asked_by_now = [&] { return asked_so_far().operations - before.operations; };
            io::input_stream in(source, 0, {.buffer_bytes = 4096, .depth = 8});
            co_await in.read();
            CHECK(asked_by_now() == 3);  // the first, and two ahead
            co_await in.read();
            CHECK(asked_by_now() == 6);
            co_await in.read();
            co_await in.read();
            CHECK(asked_by_now() == 12);
            co_await in.close();
            co_await source.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("a file that ends before its stream is read to its end") {
        test::on_both([](host&) -> future<> {
            const std::string path = path_of("cut");
            io::file source = co_await io::file::open(path, for_writing(false));
            co_await source.write(0, bytes_from(0, 40'000));
            io::input_stream in(source, 0, {.buffer_bytes = 4096, .depth = 2});
            CHECK((co_await in.read()).size() == 4096);
            co_await source.truncate(5'000);
            std::size_t rest = 0;
            for (;;) {
                const buffer part = co_await in.read();
                if (part.empty()) {
                    break;
                }
                rest += part.size();
            }
            CHECK(rest >= 5'000 - 4'096);
            CHECK(rest <= 40'000 - 4'096);
            co_await in.close();
            co_await source.close();
            co_await io::unlink(path);
        });
    }

    TEST_CASE("a FIFO is read and written in its order, and a stream waits for its writer") {
        const std::string path = path_of("fifo");
        const std::string text = numbers(60'000);
        for (const bool streams_write : {false, true}) {
            ::unlink(path.c_str());
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            std::string seen;
            std::thread peer([&] {
                if (streams_write) {
                    std::ifstream from(path, std::ios::binary);
                    seen.assign(std::istreambuf_iterator<char>(from), {});
                    return;
                }
                const int fd = ::open(path.c_str(), O_WRONLY);
                for (std::size_t at = 0; at < text.size();) {
                    const std::size_t some =
                        std::min<std::size_t>(1 + at % 5'000, text.size() - at);
                    const auto written = ::write(fd, text.data() + at, some);
                    at += written > 0 ? static_cast<std::size_t>(written) : text.size();
                }
                ::close(fd);
            });
            test::on_kernel([&](host&) -> future<> {
                if (!streams_write) {
                    seen = co_await read_path(path);
                    co_return;
                }
                io::file to = co_await io::file::open(path, {.mode = io::op::access::write});
                io::output_stream out(to, 0, {.buffer_bytes = 4096, .depth = 4});
                for (std::size_t at = 0; at < text.size(); at += 777) {
                    co_await out.write(
                        std::as_bytes(std::span(text))
                            .subspan(at, std::min<std::size_t>(777, text.size() - at)));
                }
                co_await out.close();
                co_await to.close();
            });
            peer.join();
            CHECK(seen == text);
            ::unlink(path.c_str());
        }
    }

    TEST_CASE("a writer that comes and goes at once leaves what it wrote to who opens meanwhile") {
        const std::string path = path_of("brief");
        ::unlink(path.c_str());
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        test::on_kernel([&](host&) -> future<> {
            for (int round = 0; round < 300; ++round) {
                std::thread writer([&] {
                    const int fd = ::open(path.c_str(), O_WRONLY);
                    CHECK(::write(fd, "brief", 5) == 5);
                    ::close(fd);
                });
                CHECK(co_await read_path(path) == "brief");
                writer.join();
            }
        });
        ::unlink(path.c_str());
    }

    TEST_CASE("a stream of a silent FIFO, and its opening, end when asked to") {
        const std::string path = path_of("silent");
        ::unlink(path.c_str());
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        test::on_kernel([&](host&) -> future<> {
            abort_source give_up;
            future<io::file> opening = io::file::open(path, {}, &give_up);
            for (int i = 0; i < 100; ++i) {
                co_await io::submit(io::op::nop{});
            }
            CHECK(!opening.available());
            give_up.request();
            bool refused = false;
            try {
                co_await std::move(opening);
            } catch (const error& e) {
                refused = e.is(errc::aborted);
                CAPTURE(e.what());
                CHECK(refused);
            }
            CHECK(refused);

            io::file source = co_await io::file::open(path, {.mode = io::op::access::read_write});
            io::input_stream in(source);
            future<buffer> reading = in.read();
            for (int i = 0; i < 100; ++i) {
                co_await io::submit(io::op::nop{});
            }
            CHECK(!reading.available());
            in.stop();
            CHECK((co_await std::move(reading)).empty());
            co_await in.close();
            co_await source.close();
        });
        ::unlink(path.c_str());
    }

    TEST_CASE("files of /proc, devices and directories are read as what they are") {
        test::on_kernel([](host&) -> future<> {
            for (const char* path : {"/proc/version", "/proc/filesystems", "/proc/kallsyms",
                                     "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/null"}) {
                std::ifstream from(path, std::ios::binary);
                if (!from) {
                    continue;
                }
                const std::string expected(std::istreambuf_iterator<char>(from), {});
                const asked before = asked_so_far();
                const std::string got = co_await read_path(path);
                CAPTURE(path);
                CHECK((got == expected));
                CHECK(asked_so_far().operations - before.operations <= 10 + expected.size() / 2000);
            }
            CHECK(co_await read_path("/dev/zero", 0, 300'000) == std::string(300'000, '\0'));
            bool refused = false;
            try {
                co_await read_path("/");
            } catch (const error& e) {
                refused = e.is_errno(EISDIR);
            }
            CHECK(refused);
        });
    }
}
