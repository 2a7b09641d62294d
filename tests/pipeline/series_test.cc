// SPDX-License-Identifier: Apache-2.0
// What a deployment shows on /metrics.
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/metrics.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/series");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;
using weir::this_shard;

namespace {

/// The series of all shards that name a deployment.
future<std::string> series_of(std::string name) {
    std::string all;
    for (weir::shard_id shard = 0; shard < 2; ++shard) {
        all += co_await weir::on(shard, [] {
            const weir::metrics_snapshot taken = this_shard().metrics().snapshot(this_shard().id());
            return weir::prometheus_text({&taken, 1});
        });
    }
    std::string found;
    for (std::size_t at = 0; at < all.size();) {
        const std::size_t end = std::min(all.find('\n', at), all.size());
        const std::string each = all.substr(at, end - at);
        if (each.find("deployment=\"" + name + "\"") != std::string::npos) {
            found += each + "\n";
        }
        at = end + 1;
    }
    co_return found;
}

auto ten() {
    return from_list(std::vector<int>(10, 1));
}
constexpr auto same = [](int i) { return i; };

}  // namespace

TEST_CASE("a deployment has series for its stages until it is joined") {
    weir::test::on_both(
        [](weir::host&) -> future<> {
            const auto run =
                co_await deploy(ten() >> map(same) >> discard(), {.fuse = false, .name = "ten"});
            const std::string seen = co_await series_of("ten");
            for (const char* each : {"elements_total", "queue", "capacity", "load", "blocked_total",
                                     "starved_total", "service_seconds", "failures_total"}) {
                CAPTURE(each);
                CHECK(seen.find(std::string("weir_pipeline_") + each + "{") != std::string::npos);
            }
            CHECK(seen.find("stage=\"map\"") != std::string::npos);
            CHECK(seen.find("stage=\"discard\"") != std::string::npos);
            co_await run->join();
            CHECK((co_await series_of("ten")).empty());
        },
        2);
}

TEST_CASE("of deployments of one name, and of many stages, the first ones have series") {
    weir::test::on_both(
        [](weir::host&) -> future<> {
            const deploy_options some{.fuse = false, .name = "some", .series_stages_max = 2};
            const auto one = co_await deploy(ten() >> map(same) >> discard(), some);
            const std::string first = co_await series_of("some");
            const auto two = co_await deploy(ten() >> map(same) >> discard(), some);
            CHECK(std::ranges::count(co_await series_of("some"), '\n') ==
                  std::ranges::count(first, '\n'));
            CHECK(first.find("stage=\"map\"") != std::string::npos);
            CHECK(first.find("stage=\"discard\"") == std::string::npos);
            co_await one->join();
            co_await two->join();
            const auto none = co_await deploy(ten() >> discard(), {.name = ""});
            CHECK((co_await series_of("")).empty());
            co_await none->join();
        },
        2);
}

TEST_SUITE_END();
