// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/error.hh>
#include <weir/core/metrics.hh>

namespace {

// returns  what the action's weir::error says; fails the test if there is none
template <class Action>
std::string refusal(weir::errc cause, Action action) {
    try {
        action();
    } catch (const weir::error& failure) {
        CHECK(failure.is(cause));
        return failure.what();
    }
    FAIL("it was accepted");
    return {};
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// returns  promtool's verdict and words; none where promtool is not installed
std::optional<std::pair<int, std::string>> promtool(const std::string& text) {
    if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
        return std::nullopt;
    }
    char path[] = "/tmp/weir-metrics-XXXXXX";
    const int fd = ::mkstemp(path);
    REQUIRE(fd >= 0);
    std::FILE* file = ::fdopen(fd, "w");
    REQUIRE(std::fwrite(text.data(), 1, text.size(), file) == text.size());
    std::fclose(file);
    const std::string command = std::string("promtool check metrics <") + path + " 2>&1";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string words;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
        words += static_cast<char>(c);
    }
    const int status = ::pclose(pipe);
    std::remove(path);
    return std::pair(status, words);
}

// A registry with one metric of each kind and all that needs escaping.
struct example {
    std::uint64_t appended = (std::uint64_t{1} << 53) + 1;
    std::uint64_t busy_ns = 1'500'000'000;
    std::uint64_t depth = 3;
    weir::histogram latency;
    weir::histogram batch;
    weir::metrics registry;
    std::vector<weir::metrics::registration> kept;

    example() {
        latency.record(900);
        latency.record(1500);
        latency.record(3'000'000);
        batch.record(64);
        const std::vector<weir::metric_label> topic{{"topic", "a\"b\\c\nd"}, {"area", "log"}};
        kept.push_back(registry.counter(
            {"weir_log_appended_bytes_total", "Bytes appended.\nBackslash: \\", topic}, &appended));
        kept.push_back(
            registry.counter({"weir_busy_seconds_total", "Time in tasks.", {}, 1e-9}, &busy_ns));
        kept.push_back(registry.gauge({"weir_queue_depth", "Tasks that wait."}, &depth));
        kept.push_back(
            registry.gauge({"weir_temperature_celsius", "A callable."}, [] { return -1.5; }));
        kept.push_back(registry.histogram(
            {"weir_append_seconds", "Time to append.", {{"area", "log"}}, 1e-9}, &latency));
        kept.push_back(registry.histogram({"weir_batch_records", "Records of a batch."}, &batch));
    }
};

}  // namespace

TEST_SUITE("core/metrics") {
    TEST_CASE("a snapshot holds the values of its moment and no pointers") {
        weir::metrics_snapshot copy;
        {
            example shard;
            copy = shard.registry.snapshot(7);
            shard.appended = 0;
            shard.latency.reset();
        }
        CHECK(copy.shard == 7U);
        REQUIRE(copy.families.size() == 6);
        CHECK(copy.families[0].name == "weir_append_seconds");
        CHECK(std::get<weir::histogram_data>(copy.families[0].samples[0].value).count == 3);
        CHECK(copy.families[3].name == "weir_log_appended_bytes_total");
        CHECK(std::get<std::uint64_t>(copy.families[3].samples[0].value) == (1ULL << 53) + 1);
    }

    TEST_CASE("the text names each metric once, labels each shard, and escapes") {
        example zero;
        example one;
        const weir::metrics_snapshot both[] = {zero.registry.snapshot(0), one.registry.snapshot(1)};
        const std::string text = weir::prometheus_text(both);
        CAPTURE(text);
        CHECK(contains(text,
                       "# HELP weir_log_appended_bytes_total "
                       "Bytes appended.\\nBackslash: \\\\\n"
                       "# TYPE weir_log_appended_bytes_total counter\n"
                       "weir_log_appended_bytes_total{shard=\"0\",area=\"log\","
                       "topic=\"a\\\"b\\\\c\\nd\"} 9007199254740993\n"
                       "weir_log_appended_bytes_total{shard=\"1\",area="));
        CHECK(contains(text, "weir_busy_seconds_total{shard=\"1\"} 1.5\n"));
        CHECK(contains(text, "weir_temperature_celsius{shard=\"0\"} -1.5\n"));
        CHECK(
            contains(text, "weir_append_seconds_bucket{shard=\"0\",area=\"log\",le=\"+Inf\"} 3\n"));
        CHECK(contains(text, "weir_append_seconds_count{shard=\"0\",area=\"log\"} 3\n"));
        CHECK(contains(text,
                       "weir_batch_records_bucket{shard=\"0\",le=\"63\"} 0\n"
                       "weir_batch_records_bucket{shard=\"0\",le=\"127\"} 1\n"));
        CHECK(text.find("# TYPE weir_queue_depth") == text.rfind("# TYPE weir_queue_depth"));
    }

    TEST_CASE("promtool accepts the text of many shards and of their sum") {
        example zero;
        example one;
        const weir::metrics_snapshot both[] = {zero.registry.snapshot(0), one.registry.snapshot(1)};
        const weir::metrics_snapshot sum[] = {weir::sum_of(both)};
        for (const std::string& text : {weir::prometheus_text(both), weir::prometheus_text(sum)}) {
            const auto verdict = promtool(text);
            if (!verdict) {
                MESSAGE("promtool is not installed: not checked");
                return;
            }
            CHECK_MESSAGE(verdict->first == 0, verdict->second, "\n", text);
        }
        const auto broken = promtool("weir_x{a=\"1\" 3\n");
        REQUIRE(broken);
        CHECK(broken->first != 0);
    }

    TEST_CASE("the sum over shards adds counters, gauges and histograms") {
        example zero;
        example one;
        one.depth = 5;
        one.latency.record(10);
        const weir::metrics_snapshot both[] = {zero.registry.snapshot(0), one.registry.snapshot(1)};
        const weir::metrics_snapshot sum = weir::sum_of(both);
        CHECK_FALSE(sum.shard);
        REQUIRE(sum.families.size() == 6);
        CHECK(std::get<std::uint64_t>(sum.families[4].samples[0].value) == 8);
        CHECK(std::get<double>(sum.families[5].samples[0].value) == -3.0);
        const auto& latency = std::get<weir::histogram_data>(sum.families[0].samples[0].value);
        CHECK(latency.count == 7);
        CHECK(latency.minimum == 10);
        CHECK(weir::prometheus_text({&sum, 1}).find("shard=") == std::string::npos);
    }

    TEST_CASE("the same name and labels twice is refused, in any order of labels") {
        weir::metrics registry;
        const std::uint64_t field = 0;
        const auto kept = registry.counter({"a_total", "A.", {{"x", "1"}, {"y", "2"}}}, &field);
        const std::string words = refusal(weir::errc::duplicate, [&] {
            (void)registry.counter({"a_total", "A.", {{"y", "2"}, {"x", "1"}}}, &field);
        });
        CHECK(words == "register metric a_total ({x=1,y=2} is registered): exists already");
        const auto other = registry.counter({"a_total", "A.", {{"x", "2"}, {"y", "2"}}}, &field);
        CHECK(registry.series() == 2);
        refusal(weir::errc::duplicate,
                [&] { (void)registry.gauge({"a_total", "A.", {{"x", "3"}}}, &field); });
        refusal(weir::errc::duplicate,
                [&] { (void)registry.counter({"a_total", "B.", {{"x", "3"}}}, &field); });
        CHECK(registry.series() == 2);
    }

    TEST_CASE("a registration that goes takes its series with it") {
        weir::metrics registry;
        const std::uint64_t field = 1;
        auto first = registry.gauge({"depth", "D."}, &field);
        auto moved = std::move(first);
        CHECK(registry.snapshot(0).families.size() == 1);
        first.release();  // moved from: nothing to do
        CHECK(registry.series() == 1);
        moved = weir::metrics::registration();
        CHECK(registry.snapshot(0).families.empty());
        const weir::histogram latency;
        // The name is free again, for another kind too.
        const auto again = registry.histogram({"depth", "D."}, &latency);
        CHECK(registry.series() == 1);
    }

    TEST_CASE("names, labels and help that Prometheus would refuse are refused at registration") {
        weir::metrics registry;
        const std::uint64_t field = 0;
        const weir::metric_description bad[] = {{"", "H."},
                                                {"1a_total", "H."},
                                                {"a-b_total", "H."},
                                                {"a", "H."},
                                                {"a_total", ""},
                                                {"a_total", "H.", {{"a:b", ""}}},
                                                {"a_total", "H.", {{"__x", ""}}},
                                                {"a_total", "H.", {{"shard", "1"}}},
                                                {"a_total", "H.", {{"x", "1"}, {"x", "2"}}},
                                                {"\xc3\xa4_total", "H."}};
        for (const weir::metric_description& each : bad) {
            CAPTURE(each.name);
            refusal(weir::errc::malformed, [&] { (void)registry.counter(each, &field); });
        }
        CHECK(registry.series() == 0);
    }

    TEST_CASE("series_limit refuses one series more and keeps the others") {
        weir::metrics registry({.series_limit = 2});
        const std::uint64_t field = 0;
        const auto a = registry.gauge({"a", "A."}, &field);
        {
            const auto b = registry.gauge({"b", "B."}, &field);
            const std::string words = refusal(weir::errc::limit_exceeded,
                                              [&] { (void)registry.gauge({"c", "C."}, &field); });
            CHECK(contains(words, "series_limit is 2"));
        }
        const auto c = registry.gauge({"c", "C."}, &field);
        CHECK(registry.series() == 2);
    }

    TEST_CASE("infinite and undefined gauges have their words") {
        weir::metrics registry;
        const auto a =
            registry.gauge({"a", "A."}, [] { return std::numeric_limits<double>::infinity(); });
        const auto b =
            registry.gauge({"b", "B."}, [] { return std::numeric_limits<double>::quiet_NaN(); });
        const weir::metrics_snapshot snapshot[] = {registry.snapshot(0)};
        const std::string text = weir::prometheus_text(snapshot);
        CHECK(contains(text, "a{shard=\"0\"} +Inf\n"));
        CHECK(contains(text, "b{shard=\"0\"} NaN\n"));
    }
}
