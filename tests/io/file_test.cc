// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/file.hh>

using namespace weir;

namespace {

std::string path_of(const char* name) {
    return name + std::to_string(::getpid());
}

io::file::options for_writing() {
    return {.mode = io::op::access::read_write, .create = true, .truncate = true};
}

iovec part_of(std::string& text) {
    return {text.data(), text.size()};
}

}  // namespace

TEST_SUITE("io/file") {
    TEST_CASE("a write of nothing succeeds, and stops nothing") {
        test::on_both([](host&) -> future<> {
            const std::string path = path_of("nothing");
            io::file::options how = for_writing();
            how.data_sync = true;
            io::file tried = co_await io::file::open(path, how);
            std::string text = "text", none;
            co_await tried.write(0, std::span<const std::byte>());
            co_await tried.write(0, std::vector<iovec>());
            co_await tried.write(100, std::vector<iovec>(3000, part_of(none)));
            co_await tried.allocate(0, 0);
            CHECK(co_await tried.size() == 0);
            std::vector<iovec> some(2000, part_of(none));
            some.push_back(part_of(text));
            some.push_back(part_of(none));
            co_await tried.write(0, some);
            CHECK(co_await tried.size() == 4);
            CHECK(!tried.stopped());
            co_await tried.close();
            co_await io::unlink(path);
        });
    }
}
