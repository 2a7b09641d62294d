// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/stream.hh>

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
}
