// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <weir/core/log.hh>

using weir::log_level;

namespace {

// 2026-11-21T13:44:00.123Z
constexpr weir::wall_clock_ms some_time = 1795268640123;

std::string text_of(std::string_view message, std::initializer_list<weir::log_field> fields) {
    const weir::log_line line{{some_time, 3}, log_level::info, "broker", message, fields, 0};
    return weir::to_logfmt(line, false);
}

struct pipe_pair {
    int ends[2];
    pipe_pair() { REQUIRE(::pipe2(ends, O_NONBLOCK) == 0); }
    ~pipe_pair() {
        ::close(ends[0]);
        ::close(ends[1]);
    }
    std::string read_all() const {
        std::string all;
        char buffer[4096];
        for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
            all.append(buffer, static_cast<std::size_t>(n));
        }
        return all;
    }
};

std::size_t count_of(const std::string& text, char wanted) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), wanted));
}

}  // namespace

TEST_SUITE("core/log") {
    TEST_CASE("a line is logfmt: time, level, shard, component, message, fields") {
        CHECK(text_of("started", {{"listen", "127.0.0.1:9092"}, {"shards", 2U}, {"lag", -4}}) ==
              "time=2026-11-21T13:44:00.123Z level=info shard=3 component=broker msg=started "
              "listen=127.0.0.1:9092 shards=2 lag=-4\n");
        const weir::log_line foreign{{-1, std::nullopt}, log_level::error, "c", "m", {}, 9};
        CHECK(weir::to_logfmt(foreign, false) ==
              "time=1969-12-31T23:59:59.999Z level=error shard=- component=c msg=m "
              "suppressed=9\n");
    }

    TEST_CASE("a value that could forge a line or drive a terminal is quoted and escaped") {
        const auto value = [](std::string_view v) {
            const std::string text = text_of("m", {{"k", v}});
            const std::size_t start = text.find(" k=") + 3;
            return text.substr(start, text.size() - start - 1);
        };
        CHECK(value("") == "\"\"");
        CHECK(value("a b") == "\"a b\"");
        CHECK(value("a=b") == "\"a=b\"");
        CHECK(value("say \"no\" \\") == "\"say \\\"no\\\" \\\\\"");
        CHECK(value("x\nlevel=error") == "\"x\\nlevel=error\"");
        CHECK(value("\x1b[31m") == "\"\\x1b[31m\"");
        CHECK(value("Z\xc3\xbcrich") == "\"Z\xc3\xbcrich\"");
        CHECK(value("\xc2\x9b"
                    "31m") == "\"\\xc2\\x9b31m\"");             // CSI in one character
        CHECK(value("\xff\xc3") == "\"\\xff\\xc3\"");           // not UTF-8, and cut short
        CHECK(value("\xed\xa0\x80") == "\"\\xed\\xa0\\x80\"");  // half of a surrogate pair
        CHECK(value("\xe2\x80\xae") == "\"\\xe2\\x80\\xae\"");  // right-to-left override
        CHECK(value("\xc0\xaf") == "\"\\xc0\\xaf\"");           // overlong slash
        CHECK(value("\xf0\x9f\x8c\x8a") == "\"\xf0\x9f\x8c\x8a\"");
        CHECK(value(std::string_view("a\0b", 3)) == "\"a\\x00b\"");
    }

    TEST_CASE("every kind of field has its text") {
        CHECK(text_of("m", {{"a", true},
                            {"b", 1.5},
                            {"c", UINT64_MAX},
                            {"d", INT64_MIN},
                            {"e", std::string("x")}})
                  .find(" a=true b=1.5 c=18446744073709551615 d=-9223372036854775808 e=x\n") !=
              std::string::npos);
    }

    TEST_CASE("a line that is too long ends at its last whole field and says so") {
        const std::string big(5000, 'x');
        const std::string text = text_of("m", {{"a", 1}, {"big", big}, {"b", 2}});
        CHECK(text.ends_with(" msg=m a=1 cut=true\n"));
        const std::string message = text_of(std::string(9000, 'y') + " z", {{"a", 1}});
        CHECK(message.size() <= weir::log_line_limit);
        CHECK(message.ends_with("y\" cut=true\n"));
        for (const std::string& piece : {std::string("\\"), std::string("\xc3\xbc")}) {
            std::string long_message(1, ' ');
            while (long_message.size() < 9000) {
                long_message += piece;
            }
            const std::string cut = text_of(long_message, {});
            CHECK(cut.ends_with(" cut=true\n"));
            CHECK(cut.find(piece + "\" cut=true") == std::string::npos);
        }
        const std::string just = text_of("m", {{"a", std::string(4000, 'x')}, {"b", 7}});
        CHECK(just.size() <= weir::log_line_limit);
    }

    TEST_CASE("colours are for terminals and leave the words alone") {
        const weir::log_line line{{some_time, 0}, log_level::error, "c", "m", {{"k", 1}}, 0};
        std::string coloured = weir::to_logfmt(line, true);
        CHECK(coloured.find("\x1b[31merror\x1b[0m") != std::string::npos);
        for (std::size_t at = 0; (at = coloured.find('\x1b')) != std::string::npos;) {
            coloured.erase(at, coloured.find('m', at) + 1 - at);
        }
        CHECK(coloured == weir::to_logfmt(line, false));

        pipe_pair pipe;
        weir::file_log_sink(pipe.ends[1]).write(line);  // a pipe is no terminal
        CHECK(pipe.read_all() == weir::to_logfmt(line, false));
    }

    TEST_CASE("levels below the logger's are not written") {
        weir::capturing_log_sink sink;
        weir::logger log(sink, "test", {.level = log_level::warning});
        log.write({some_time, 0}, log_level::info, "hidden");
        log.write({some_time, 0}, log_level::warning, "shown");
        log.set_level(log_level::trace);
        log.write({some_time, 0}, log_level::trace, "now shown");
        const std::vector<std::string> lines = sink.lines();
        REQUIRE(lines.size() == 2);
        CHECK(lines[0].ends_with("msg=shown"));
        CHECK(lines[1].ends_with("msg=\"now shown\""));
        CHECK(weir::log_level_of("warning") == log_level::warning);
        CHECK_FALSE(weir::log_level_of("loud"));
        CHECK(weir::name_of(log_level::debug) == "debug");
    }

    TEST_CASE("the rate limit passes a burst, then so many a second, and counts the rest") {
        weir::capturing_log_sink sink;
        weir::logger log(sink, "test", {.burst = 3, .per_second = 2});
        for (unsigned i = 0; i < 10; ++i) {
            log.write({some_time, 0}, log_level::error, "disk failed", {{"i", i}});
        }
        log.write({some_time, 0}, log_level::info, "another message is not held back");
        CHECK(sink.lines().size() == 4);
        CHECK(log.suppressed() == 7);
        log.write({some_time + 499, 0}, log_level::error, "disk failed", {{"i", 10}});
        log.write({some_time + 500, 0}, log_level::error, "disk failed", {{"i", 11}});
        REQUIRE(sink.lines().size() == 5);
        CHECK(sink.lines()[4].ends_with("suppressed=8 i=11"));
        log.write({some_time - 100'000, 0}, log_level::error, "disk failed");  // the clock steps
        CHECK(sink.lines().size() == 5);
        for (unsigned i = 0; i < 10; ++i) {  // a long pause refills the burst and no more
            log.write({some_time + 1'000'000'000, 0}, log_level::error, "disk failed");
        }
        CHECK(sink.lines().size() == 8);
    }

    TEST_CASE("a reader that stopped costs lines, not time, and the loss is told") {
        pipe_pair pipe;
        weir::file_log_sink sink(pipe.ends[1]);
        const std::string padding(3000, 'x');
        const weir::log_line line{
            {some_time, 0}, log_level::info, "c", "m", {{"padding", padding}}, 0};
        for (unsigned i = 0; i < 100; ++i) {
            sink.write(line);
        }
        const std::uint64_t dropped = sink.dropped();
        CHECK(dropped > 0);
        CHECK(dropped < 100);
        CHECK(count_of(pipe.read_all(), '\n') == 100 - dropped);
        sink.write(line);
        const std::string after = pipe.read_all();
        CHECK(after.find("msg=\"log lines were lost\" lines=" + std::to_string(dropped)) !=
              std::string::npos);
        sink.write(line);
        CHECK(count_of(pipe.read_all(), '\n') == 1);
        CHECK(sink.dropped() == dropped);
    }

    TEST_CASE("a reader that has gone costs lines and no signal") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        ::close(ends[0]);
        weir::file_log_sink sink(ends[1]);
        sink.write({{some_time, 0}, log_level::info, "c", "m", {}, 0});
        CHECK(sink.dropped() == 1);
        ::close(ends[1]);
    }

    TEST_CASE("lines of many threads never mix") {
        pipe_pair pipe;
        weir::file_log_sink sink(pipe.ends[1]);
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < 4; ++t) {
            threads.emplace_back([&sink, t] {
                weir::logger log(sink, "thread", {.burst = 100});
                for (unsigned i = 0; i < 100; ++i) {
                    log.write({some_time, t}, log_level::info, "line", {{"i", i}});
                }
            });
        }
        for (std::thread& each : threads) {
            each.join();
        }
        const std::string all = pipe.read_all();
        CHECK(count_of(all, '\n') + sink.dropped() == 400);
        for (std::size_t at = 0; at < all.size(); at = all.find('\n', at) + 1) {
            CHECK(all.compare(at, 5, "time=") == 0);
        }
    }
}
