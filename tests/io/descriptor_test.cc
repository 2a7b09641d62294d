// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/io/descriptor.hh>
#include <weir/io/file.hh>
#include <weir/io/run.hh>
#include <weir/io/submit.hh>

using namespace weir;

namespace {

std::string path_of(const char* name) {
    return name + std::to_string(::getpid());
}

std::string contents(const std::string& path) {
    std::ifstream from(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(from), {}};
}

std::string text_of(std::size_t size) {
    std::string text(size, '?');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>('a' + i * 7 % 26);
    }
    return text;
}

future<> write_text(io::descriptor& to, std::string text, abort_source* give_up = nullptr) {
    std::vector<iovec> parts;
    for (std::size_t at = 0; at < text.size(); at += 10'000) {
        parts.push_back({text.data() + at, std::min<std::size_t>(10'000, text.size() - at)});
    }
    co_await to.write(parts, give_up);
}

future<std::string> read_some(io::descriptor& from, std::size_t most,
                              abort_source* give_up = nullptr) {
    std::string text(most, '?');
    text.resize(co_await from.read(std::as_writable_bytes(std::span(text)), give_up));
    co_return text;
}

/// While it lives, no file of this process grows beyond so many bytes.
struct file_size_limit {
    explicit file_size_limit(rlim_t bytes) : handler(std::signal(SIGXFSZ, SIG_IGN)) {
        getrlimit(RLIMIT_FSIZE, &before);
        const rlimit now{.rlim_cur = bytes, .rlim_max = before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &now);
    }
    file_size_limit(const file_size_limit&) = delete;
    file_size_limit& operator=(const file_size_limit&) = delete;
    ~file_size_limit() {
        setrlimit(RLIMIT_FSIZE, &before);
        std::signal(SIGXFSZ, handler);
    }

    rlimit before{};
    void (*handler)(int);
};

/// What a child that runs `body` exits with.
template <typename Body>
int status_of_child(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(body());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_SUITE("io/descriptor") {
    TEST_CASE("a file is read and written at the position that its descriptor has") {
        const std::string path = path_of("position");
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
        REQUIRE(::write(fd, "head ", 5) == 5);
        test::on_kernel([&](host&) -> future<> {
            io::descriptor tried(fd, "tried");
            co_await write_text(tried, text_of(100'000));
            CHECK(::lseek(fd, 0, SEEK_CUR) == 100'005);
            CHECK(::write(fd, " between ", 9) == 9);  // as a log on the standard error does
            co_await write_text(tried, "tail");
            CHECK(co_await read_some(tried, 10) == "");
            CHECK(::lseek(fd, 100'005, SEEK_SET) == 100'005);
            CHECK(co_await read_some(tried, 4) == " bet");
            CHECK(co_await read_some(tried, 100) == "ween tail");
            CHECK(::lseek(fd, 0, SEEK_CUR) == 100'018);
        });
        CHECK(contents(path) == "head " + text_of(100'000) + " between tail");
        ::close(fd);
        ::unlink(path.c_str());
    }

    TEST_CASE("what a limit cuts off is told, and what was written stays as it was") {
        const std::string path = path_of("limit");
        for (const int flags : {0, O_APPEND}) {
            const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | flags, 0600);
            const file_size_limit limit(65'536);
            test::on_kernel([&](host&) -> future<> {
                io::descriptor tried(fd, "tried");
                bool told = false;
                try {
                    co_await write_text(tried, text_of(100'002));
                } catch (const error& e) {
                    told = e.is_errno(EFBIG) &&
                           std::string(e.what()).find("tried") != std::string::npos;
                }
                CHECK(told);
            });
            CHECK(contents(path) == text_of(65'536));
            CHECK((flags != 0 || ::lseek(fd, 0, SEEK_CUR) == 65'536));
            ::close(fd);
        }
        ::unlink(path.c_str());
    }

    TEST_CASE("a descriptor that appends does so, wherever its position is") {
        const std::string path = path_of("append");
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
        REQUIRE(::write(fd, "head ", 5) == 5);
        ::lseek(fd, 0, SEEK_SET);
        test::on_kernel([&](host&) -> future<> {
            io::descriptor tried(fd, "tried");
            co_await write_text(tried, "one ");
            co_await write_text(tried, "two");
        });
        CHECK(contents(path) == "head one two");
        ::close(fd);
        ::unlink(path.c_str());
    }

    TEST_CASE("a pipe is read and written in order, even if somebody made it not wait") {
        for (const int flags : {0, O_NONBLOCK}) {
            int ends[2];
            REQUIRE(::pipe2(ends, flags) == 0);
            const std::string text = text_of(300'000);
            test::on_kernel([&](host&) -> future<> {
                io::descriptor from(ends[0], "from"), to(ends[1], "to");
                future<> writing = write_text(to, text);
                std::string seen;
                while (seen.size() < text.size()) {
                    seen += co_await read_some(from, 5'000);
                }
                co_await std::move(writing);
                CHECK((seen == text));
                abort_source give_up;
                future<std::string> waiting = read_some(from, 10, &give_up);
                for (int i = 0; i < 20; ++i) {
                    co_await io::submit(io::op::nop{});
                }
                CHECK(!waiting.available());
                give_up.request();
                bool ended = false;
                try {
                    co_await std::move(waiting);
                } catch (const error& e) {
                    ended = e.is(errc::aborted);
                }
                CHECK(ended);
                ::close(ends[1]);
                CHECK(co_await read_some(from, 10) == "");
            });
            ::close(ends[0]);
        }
    }

    TEST_CASE("nobody's pipe says so") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        ::close(ends[0]);
        test::on_kernel([&](host&) -> future<> {
            std::signal(SIGPIPE, SIG_IGN);  // as io::run() that handles signals
            io::descriptor to(ends[1], "to");
            bool told = false;
            try {
                co_await write_text(to, "text");
            } catch (const error& e) {
                told = e.is_errno(EPIPE);
            }
            CHECK(told);
        });
        ::close(ends[1]);
    }

    TEST_CASE("closed standard descriptors stay of no use, and nothing else gets their numbers") {
        const int status = status_of_child([] {
            for (const int standard : {0, 1, 2}) {
                ::close(standard);
            }
            io::run_options options;
            options.placement.shards = 1;
            options.pin = false;
            int wrong = 0;
            capturing_log_sink log;
            options.host.log = &log;
            const int ended = io::run(options, [&](host&) -> future<> {
                for (const int standard : {0, 1, 2}) {
                    io::descriptor tried(standard, "standard");
                    std::byte byte{};
                    iovec part{&byte, 1};
                    for (const bool writes : {false, true}) {
                        try {
                            if (writes) {
                                co_await tried.write(std::span(&part, 1));
                            } else {
                                co_await tried.read(std::span(&byte, 1));
                            }
                            ++wrong;
                        } catch (const error& e) {
                            wrong += !e.is_errno(EBADF);
                        }
                    }
                    wrong += ::write(standard, "x", 1) >= 0 || errno != EBADF;
                }
            });
            return ended * 100 + wrong;
        });
        CHECK(status == 0);
    }
}
