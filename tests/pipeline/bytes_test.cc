// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <numeric>
#include <string>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <tests/pipeline/failure.hh>
#include <tests/support/both.hh>
#include <unistd.h>

#include <weir/core/await_all.hh>
#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/replay.hh>
#include <weir/io/submit.hh>
#include <weir/net/listener.hh>
#include <weir/pipeline/descriptors.hh>
#include <weir/pipeline/files.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/sockets.hh>

TEST_SUITE_BEGIN("pipeline/ends");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::error;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::failure_of;
using weir::test::on_both;
using weir::test::on_kernel;
using namespace std::chrono_literals;

namespace {

/// A place for a file in a directory that is there, in the simulator too.
future<std::string> temporary(std::string name) {
    const char* const given = std::getenv("TMPDIR");
    const std::string base = std::string(given == nullptr ? "/tmp" : given) + "/pipeline_ends";
    co_await weir::io::make_directories(base);
    co_return base + "/" + name;
}

std::string text_of(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>('a' + i * i % 23);
    }
    return text;
}

/// A file with this content, through the pipeline's own sink.
future<std::string> file_with(const char* name, std::string content) {
    std::string path = co_await temporary(name);
    co_await run(from_list(std::vector<std::string>{std::move(content)}) >> id() >>
                 blocks_to_file(path));
    co_return path;
}

const auto copied = map([](const auto& text) { return std::string(text.text()); });

future<std::vector<std::string>> lines_of(std::string path, file_options options = {}) {
    std::vector<std::string> lines;
    co_await run(file_lines(path, options) >> copied >> collect(lines), {.capacity = 4});
    co_return lines;
}

std::string joined(const std::vector<std::string>& parts) {
    return std::accumulate(parts.begin(), parts.end(), std::string());
}

/// A connection whose one end is a descriptor: what a pipe is where there are no pipes.
struct descriptor_pair {
    std::unique_ptr<weir::net::listener> from;
    std::unique_ptr<weir::net::connection> peer;
    int fd = -1;

    future<> open() {
        from = co_await weir::net::listener::listen(weir::net::address::loopback(0));
        const weir::net::address where = from->where();
        fd = co_await weir::io::submit_or_fail(
            weir::io::op::connect{&where.raw(), where.raw_length()}, "connect", "test");
        peer = co_await from->accept();
    }
    future<> close() {
        co_await weir::io::submit(weir::io::op::close{fd});
        co_await peer->close();
        co_await from->close();
    }
};

future<std::string> receive_all(weir::net::connection& from) {
    std::string all;
    for (;;) {
        const auto some = co_await from.receive();
        if (some.what() == weir::net::received::status::end) {
            co_return all;
        }
        all.append(reinterpret_cast<const char*>(some.bytes().data()), some.bytes().size());
    }
}

future<> send_text(weir::net::connection& to, std::string_view text) {
    return to.send(std::as_bytes(std::span(text)));
}

const file_options small_reads{.read = {.buffer_bytes = 4096, .depth = 3}};

}  // namespace

TEST_CASE("the blocks of a file are the file, and say where they lie") {
    on_both(
        [](host&) -> future<> {
            for (const std::size_t size : {0, 1, 4095, 4096, 4097, 100'000}) {
                const std::string content = text_of(size);
                const std::string path = co_await file_with("blocks", content);
                std::vector<std::string> parts;
                std::vector<std::uint64_t> offsets;
                co_await run(file_blocks(path, small_reads) >>
                                 fanout(copied, map([](const block& b) { return b.offset(); })) >>
                                 for_each([&](const auto& each) {
                                     parts.push_back(each.first);
                                     offsets.push_back(each.second);
                                 }),
                             {.capacity = 4});
                CHECK(joined(parts) == content);
                std::uint64_t at = 0;
                for (std::size_t i = 0; i < parts.size(); ++i) {
                    CHECK(offsets[i] == at);
                    at += parts[i].size();
                }
            }
        },
        3);
}

TEST_CASE("a file is read on from where a block or a line ended") {
    on_both([](host&) -> future<> {
        std::string content;
        for (int i = 0; i < 3000; ++i) {
            content += "line " + std::to_string(i) + '\n';
        }
        const std::string path = co_await file_with("resume", content);
        std::vector<std::uint64_t> cursors;
        co_await run(file_lines(path, small_reads) >>
                     map([](const line& l) { return l.next_offset(); }) >> collect(cursors));
        REQUIRE(cursors.size() == 3000);
        CHECK(cursors.back() == content.size());
        file_options later = small_reads;
        for (const std::size_t done : {1, 777, 2999, 3000}) {
            later.offset = cursors[done - 1];
            const auto rest = co_await lines_of(path, later);
            CHECK(rest.size() == 3000 - done);
            CHECK((rest.empty() || rest.front() == "line " + std::to_string(done)));
        }
    });
}

TEST_CASE("lines end with a newline or with the file, however long they are") {
    on_both([](host&) -> future<> {
        using list = std::vector<std::string>;
        const std::string path = co_await file_with("lines", "");
        CHECK(co_await lines_of(path) == list{});
        co_await file_with("lines", "\n");
        CHECK(co_await lines_of(path) == list{""});
        co_await file_with("lines", "a\n\nbc");
        CHECK(co_await lines_of(path) == list{"a", "", "bc"});
        const std::string full(4096, 'f');
        co_await file_with("lines", full + '\n' + full.substr(1) + '\n' + full + full + "x\r\n\n");
        CHECK(co_await lines_of(path, small_reads) ==
              list{full, full.substr(1), full + full + "x\r", ""});
    });
}

TEST_CASE("a line that is longer than allowed fails the pipeline after those before it") {
    on_both([](host&) -> future<> {
        const std::string path =
            co_await file_with("long", "short\n" + std::string(10'000, 'x') + "\nlast\n");
        file_options options = small_reads;
        options.lines.line_bytes_max = 9'999;
        std::vector<std::string> before;
        const std::string said =
            co_await failure_of(file_lines(path, options) >> copied >> collect(before));
        CHECK(before == std::vector<std::string>{"short"});
        CHECK(said.find(path + ": the line at byte 6 is longer than 9999 bytes") !=
              std::string::npos);
        options.lines.line_bytes_max = 10'000;
        CHECK((co_await lines_of(path, options)).size() == 3);
    });
}

TEST_CASE("a file that can't be opened is named with what was tried") {
    on_both([](host&) -> future<> {
        const std::string path = co_await temporary("missing/file");
        CHECK((co_await failure_of(file_blocks(path) >> id() >> discard())).find("open " + path) ==
              0);
        CHECK((co_await failure_of(from_list(std::vector<std::string>{"x"}) >> id() >>
                                   lines_to_file(path)))
                  .find("open " + path) == 0);
        // Also where no element ever comes to be written.
        CHECK((co_await failure_of(from_list(std::vector<std::string>{}) >> id() >>
                                   lines_to_file(path)))
                  .find("open " + path) == 0);
    });
}

TEST_CASE("lines that are written to a file come back") {
    on_both(
        [](host&) -> future<> {
            const std::string path = co_await temporary("written");
            std::vector<std::string> words;
            for (int i = 0; i < 5'000; ++i) {
                words.push_back(text_of(static_cast<std::size_t>(i * 31 % 200)));
            }
            co_await run(from_list(words) >> id() >> lines_to_file(path), {.capacity = 16});
            CHECK(co_await lines_of(path) == words);
            co_await run(from_list(std::vector<std::string>{}) >> id() >> lines_to_file(path));
            CHECK((co_await lines_of(path)).empty());
        },
        2);
}

TEST_CASE("a descriptor gives what comes, as it comes, up to its end") {
    on_both([](host&) -> future<> {
        descriptor_pair pair;
        co_await pair.open();
        std::vector<std::string> got;
        const auto deployed =
            co_await deploy(descriptor_lines(pair.fd) >> copied >> collect(got), {.capacity = 4});
        co_await send_text(*pair.peer, "first\nsec");
        while (got.empty()) {
            co_await sleep_for(1ms);
        }
        CHECK(got == std::vector<std::string>{"first"});
        co_await send_text(*pair.peer, "ond\n" + text_of(300'000) + "\nlast");
        co_await pair.peer->shutdown_send();
        co_await deployed->join();
        CHECK(got == std::vector<std::string>{"first", "second", text_of(300'000), "last"});
        co_await pair.close();
    });
}

TEST_CASE("a stop ends a wait for a descriptor that says nothing") {
    on_both([](host&) -> future<> {
        descriptor_pair pair;
        co_await pair.open();
        std::vector<std::string> got;
        const auto deployed = co_await deploy(descriptor_lines(pair.fd) >> copied >> collect(got));
        co_await send_text(*pair.peer, "one\nhalf");
        while (got.empty()) {
            co_await sleep_for(1ms);
        }
        co_await deployed->stop();
        co_await deployed->join();
        CHECK(got == std::vector<std::string>{"one"});
        co_await pair.close();
    });
}

TEST_CASE("a paused source gives nothing until it goes on") {
    on_both([](host&) -> future<> {
        descriptor_pair pair;
        co_await pair.open();
        std::vector<std::string> got;
        const auto deployed = co_await deploy(descriptor_lines(pair.fd) >> copied >> collect(got));
        co_await deployed->pause();
        co_await send_text(*pair.peer, "one\ntwo\n");
        co_await sleep_for(20ms);
        CHECK(got.empty());
        co_await deployed->resume();
        while (got.size() < 2) {
            co_await sleep_for(1ms);
        }
        co_await deployed->stop();
        co_await deployed->join();
        co_await pair.close();
    });
}

TEST_CASE("what a descriptor takes is what was written, in lines and in blocks") {
    on_both([](host&) -> future<> {
        std::vector<std::string> words;
        std::string lines;
        for (int i = 0; i < 3'000; ++i) {
            words.push_back(text_of(static_cast<std::size_t>(i * 37 % 400)));
            lines += words.back() + '\n';
        }
        for (const bool as_lines : {true, false}) {
            descriptor_pair pair;
            co_await pair.open();
            auto receiving = receive_all(*pair.peer);
            const make_writer to = descriptor_writer(pair.fd, "test");
            auto from = from_list(words) >> id();
            co_await run(as_lines ? from >> lines_to("test", to) : from >> blocks_to("test", to),
                         {.capacity = 64});
            co_await weir::io::submit_or_fail(weir::io::op::shutdown{pair.fd, SHUT_WR}, "shutdown",
                                              "test");
            CHECK(co_await std::move(receiving) == (as_lines ? lines : joined(words)));
            co_await pair.close();
        }
    });
}

TEST_CASE("a pipe that nobody reads any more ends the pipeline that writes to it") {
    const auto before = std::signal(SIGPIPE, SIG_IGN);
    on_kernel([](host&) -> future<> {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        ::close(ends[0]);
        // A source without an end: only the failure can end it.
        auto endless =
            from_range(std::views::iota(0)) >> map([](int i) { return std::to_string(i); });
        CHECK((co_await failure_of(endless >> lines_to("pipe", descriptor_writer(ends[1], "pipe"))))
                  .find("write pipe: Broken pipe") == 0);
        CHECK(
            (co_await failure_of(endless >> blocks_to("pipe", descriptor_writer(ends[1], "pipe"))))
                .find("write pipe: Broken pipe") == 0);
        ::close(ends[1]);
    });
    std::signal(SIGPIPE, before);
}

TEST_CASE("pipes and files are descriptors too, those that don't block among them") {
    on_kernel([](host&) -> future<> {
        const std::string content = text_of(300'000);
        for (const int flags : {0, O_NONBLOCK}) {
            int ends[2];
            REQUIRE(::pipe2(ends, flags) == 0);
            std::vector<std::string> got;
            const auto reading =
                co_await deploy(descriptor_blocks(ends[0]) >> copied >> collect(got));
            co_await run(from_list(std::vector<std::string>{content}) >> id() >>
                         blocks_to("pipe", descriptor_writer(ends[1], "pipe")));
            ::close(ends[1]);
            co_await reading->join();
            CHECK(joined(got) == content);
            ::close(ends[0]);
        }
        const std::string path = co_await file_with("descriptor", content);
        const int fd = ::open(path.c_str(), O_RDONLY);
        ::lseek(fd, 1000, SEEK_SET);
        std::vector<std::string> got;
        co_await run(descriptor_blocks(fd) >> copied >> collect(got));
        CHECK(joined(got) == content.substr(1000));
        ::close(fd);
    });
}

TEST_CASE("a socket carries a pipeline to another one") {
    on_both(
        [](host&) -> future<> {
            auto from = co_await weir::net::listener::listen(weir::net::address::loopback(0));
            std::vector<std::string> words;
            for (int i = 0; i < 2'000; ++i) {
                words.push_back(std::to_string(i) + text_of(static_cast<std::size_t>(i % 300)));
            }
            const auto sending =
                co_await deploy(from_list(words) >> id() >> lines_to_socket(from->where()));
            const auto accepted = co_await from->accept();
            std::vector<std::string> got;
            co_await run(socket_lines(*accepted) >> copied >> collect(got), {.capacity = 16});
            co_await sending->join();
            CHECK(got == words);
            co_await accepted->close();
            co_await from->close();
        },
        2);
}

TEST_CASE("a stop ends a wait for a socket that says nothing") {
    on_both([](host&) -> future<> {
        auto from = co_await weir::net::listener::listen(weir::net::address::loopback(0));
        const auto reading =
            co_await deploy(socket_blocks(from->where()) >> id() >> discard(), {.capacity = 2});
        const auto accepted = co_await from->accept();
        co_await sleep_for(1ms);
        co_await reading->stop();
        co_await reading->join();
        co_await accepted->close();
        co_await from->close();
    });
}

TEST_CASE("an abort ends the wait for a connection, of a source and of a sink") {
    weir::io::sim::explore(
        1, 6, [](std::uint64_t) { return weir::io::sim::world_options{}; },
        [](weir::io::sim::world& world) {
            auto& client = world.add_host("client", 1);
            auto& server = world.add_host("server", 1);
            world.partition(client, server);
            const auto there = weir::net::address::from(server.at(7000));
            weir::duration took{};
            client.start([&](host&) -> future<> {
                const weir::instant began = weir::this_shard().now();
                const socket_options patient{.connect_time_max = std::chrono::hours(1)};
                std::vector<std::unique_ptr<deployment>> all;
                all.push_back(co_await deploy(socket_blocks(there, patient) >> id() >> discard()));
                all.push_back(co_await deploy(from_list(std::vector<std::string>{"x"}) >> id() >>
                                              lines_to_socket(there, patient)));
                all.push_back(co_await deploy(from_list(std::vector<std::string>()) >> id() >>
                                              lines_to_socket(there, patient)));
                co_await sleep_for(1ms);
                for (auto& each : all) {
                    co_await each->abort();
                    auto joined = each->join();
                    co_await weir::settled(joined);
                    std::move(joined).ignore();
                    CHECK(each->sample().take().front().counted.disowned == 0);
                }
                took = weir::this_shard().now() - began;
            });
            CHECK(world.run_until([&] { return client.exited(); }, std::chrono::hours(2)));
            CHECK(took < std::chrono::seconds(5));
        });
}

TEST_CASE("a stop ends a source's wait for a connection") {
    weir::io::sim::explore(
        1, 6, [](std::uint64_t) { return weir::io::sim::world_options{}; },
        [](weir::io::sim::world& world) {
            auto& client = world.add_host("client", 1);
            auto& server = world.add_host("server", 1);
            world.partition(client, server);
            const auto there = weir::net::address::from(server.at(7000));
            weir::duration took{};
            client.start([&](host&) -> future<> {
                const weir::instant began = weir::this_shard().now();
                const auto reading = co_await deploy(
                    socket_blocks(there, {.connect_time_max = 1h}) >> id() >> discard());
                co_await sleep_for(1ms);
                co_await reading->stop();
                co_await reading->join();
                took = weir::this_shard().now() - began;
            });
            CHECK(world.run_until([&] { return client.exited(); }, std::chrono::hours(2)));
            CHECK(took < std::chrono::seconds(5));
        });
}

TEST_CASE("a connection of another shard is refused, and so is a peer that is not there") {
    on_both(
        [](host&) -> future<> {
            auto from = co_await weir::net::listener::listen(weir::net::address::loopback(0));
            const auto client = co_await weir::net::connection::connect(from->where());
            const auto accepted = co_await from->accept();
            std::string said;
            try {
                co_await run(socket_blocks(*accepted) >> id() >> discard(), {.where = {.base = 1}});
            } catch (const error& failure) {
                said = failure.what();
            }
            CHECK(said.find("the connection belongs to another shard") != std::string::npos);
            const auto nobody = from->where();
            co_await client->close();
            co_await accepted->close();
            co_await from->close();
            CHECK((co_await failure_of(socket_blocks(nobody) >> id() >> discard()))
                      .find(nobody.to_string()) != std::string::npos);
        },
        2);
}

TEST_CASE("a sink that fails ends a source that waits") {
    on_both([](host&) -> future<> {
        descriptor_pair pair;
        co_await pair.open();
        co_await send_text(*pair.peer, "one\ntwo\n");
        const std::string said =
            co_await failure_of(descriptor_lines(pair.fd) >> id() >> for_each([](const line&) {
                                    throw error("use", "a line", weir::errc::malformed);
                                }));
        CHECK(said.find("use a line") == 0);
        co_await pair.close();
    });
}
