// SPDX-License-Identifier: Apache-2.0
// Where stages run, and as what.
#include <array>
#include <atomic>
#include <memory>
#include <set>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/host.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/place");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;
using weir::this_shard;
using weir::test::on_both;

namespace {

/// Deployments that were each started by the sink of the one before, without anybody waiting: on
/// the two shards in turn.
struct generations {
    static constexpr unsigned count = 12;
    std::array<std::unique_ptr<deployment>, count> all;
    std::array<unsigned, count> depths{};
    std::atomic<unsigned> started{0};
    std::atomic<bool> failed{false};

    future<> start(unsigned number) {
        try {
            all[number] = co_await deploy(
                from_list(std::vector<int>{1}) >> for_each([this, number](int) {
                    depths[number] = this_shard().context().call_depth;
                    if (number + 1 < count) {
                        start(number + 1).ignore();
                    }
                }),
                {.where = {.named = {{"list", number % 2}, {"for_each", (number + 1) % 2}}}});
        } catch (...) {
            failed = true;
        }
        ++started;
    }
};

}  // namespace

TEST_CASE("stages begin at depth 0, whatever led to their deployment") {
    on_both(
        [](weir::host&) -> future<> {
            generations own;
            co_await own.start(0);
            while (own.started < generations::count && !own.failed) {
                co_await weir::sleep_for(std::chrono::milliseconds(1));
            }
            CHECK(!own.failed);
            for (unsigned number = 0; number < generations::count; ++number) {
                co_await weir::on(number % 2, [&own, number]() -> future<> {
                    if (own.all[number]) {
                        co_await own.all[number]->join();
                        own.all[number].reset();
                    }
                });
                CHECK(own.depths[number] == 0);
            }
        },
        2);
}

TEST_CASE("a pipeline begins on the shard that deploys it, unless its base is said") {
    on_both(
        [](weir::host&) -> future<> {
            for (const weir::shard_id home : {0U, 1U, 2U}) {
                co_await weir::on(home, [home]() -> future<> {
                    const auto made = co_await deploy(
                        from_list(std::vector<int>{1}) >> map([](int i) { return i; }) >> discard(),
                        {.fuse = false});
                    const auto& stages = made->laid_out().stages;
                    CHECK(stages[0].shard == home);
                    CHECK(stages[1].shard == (home + 1) % 3);
                    co_await made->join();
                    const auto based = co_await deploy(from_list(std::vector<int>{1}) >> discard(),
                                                       {.where = {.base = 1}});
                    CHECK(based->laid_out().stages[0].shard == 1);
                    co_await based->join();
                });
            }
        },
        3);
}

TEST_CASE("stages run in the group of who deploys, or in the one that is said") {
    on_both(
        [](weir::host& own) -> future<> {
            const auto side = co_await own.create_group("side", 100);
            const weir::scheduling_group before = this_shard().context().group;
            for (const bool said : {false, true}) {
                std::set<unsigned> groups;
                const auto note = [&groups](int i) {
                    groups.insert(this_shard().context().group.index);
                    return i;
                };
                deploy_options options;
                options.where.how = placement::policy::pack;
                options.fuse = false;
                if (said) {
                    options.group = side;
                }
                co_await run(from_list(std::vector<int>(100, 1)) >> map(note) >> discard(),
                             options);
                CHECK(groups == std::set<unsigned>{said ? side.index : before.index});
            }
        },
        2);
}

TEST_CASE("an option that is out of range is refused by its name") {
    const auto refused = [](deploy_options options) -> std::string {
        try {
            (void)lay_out(from_list(std::vector<int>{}) >> discard(), options, 2);
        } catch (const weir::error& why) {
            return why.what();
        }
        return "";
    };
    CHECK(refused({.capacity = 0}).find("deploy capacity 0, not 1 to") == 0);
    CHECK(refused({.batch = 257}).find("deploy batch 257, not 1 to 256") == 0);
    CHECK(refused({.where = {.base = 2}}).find("deploy base shard 2, not 0 to 1") == 0);
}

TEST_SUITE_END();
