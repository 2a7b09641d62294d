// SPDX-License-Identifier: Apache-2.0
// What a word costs when it follows itself: as much each time.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/chains");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;

namespace {

using way = either<int, std::string>;

/// A pipe without what is visible in its type, so that it can follow itself any number of times.
template <typename A, traits T>
using link = weir::pipeline::pipe_of<A, A, T>;

template <typename A, traits T>
link<A, T> chain(const link<A, T>& each, unsigned length) {
    return length == 1 ? each : link<A, T>(chain(each, length - 1) >> each);
}

template <typename A, traits T>
std::size_t gates_of(const link<A, T>& described) {
    const plan laid = lay_out(generate([] { return std::optional<A>(); }) >> described >> discard(),
                              {.fuse = false}, 2);
    std::size_t gates = 0;
    for (const stage_plan& each : laid.stages) {
        gates += each.readers;
    }
    return gates;
}

/// Every further link adds what the third one did, and the deployment gives what the model does.
template <typename A, traits T>
void costs_by_length(const char* name, const link<A, T>& each, std::vector<A> in) {
    CAPTURE(name);
    const std::size_t two = gates_of(chain(each, 2));
    const std::size_t more = gates_of(chain(each, 3)) - two;
    for (const unsigned length : {4U, 6U, 9U, 12U}) {
        CAPTURE(length);
        CHECK(gates_of(chain(each, length)) == two + (length - 2) * more);
    }
    CHECK(more <= 16);
    weir::test::on_both(
        [&](weir::host&) -> future<> {
            const auto whole = chain(each, 6);
            const auto expected = co_await model(whole, in);
            std::vector<A> out;
            co_await run(from_list(in) >> whole >> collect(out), {.capacity = 16});
            CHECK(out == expected.values);
        },
        2);
}

/// As many gates a link for a chain of any length, if not the same for each, and the model's
/// values.
template <typename A, traits T>
void grows_by_length(const char* name, const link<A, T>& each, std::vector<A> in) {
    CAPTURE(name);
    for (const unsigned length : {2U, 6U, 12U, 40U}) {
        CAPTURE(length);
        CHECK(gates_of(chain(each, length)) <= 120 * length);
    }
    weir::test::on_both(
        [&](weir::host&) -> future<> {
            const auto whole = chain(each, 3);
            const auto expected = co_await model(whole, in);
            std::vector<A> out;
            co_await run(from_list(in) >> whole >> collect(out), {.capacity = 16});
            CHECK(out == expected.values);
        },
        2);
}

std::vector<way> ways(int count) {
    std::vector<way> all;
    for (int i = 0; i < count; ++i) {
        all.push_back(i % 10 == 0 ? way(std::to_string(i)) : way(i));
    }
    return all;
}
std::vector<std::pair<int, int>> pairs(int count) {
    std::vector<std::pair<int, int>> all;
    for (int i = 0; i < count; ++i) {
        all.emplace_back(i, -i);
    }
    return all;
}

std::vector<std::pair<int, way>> beside(const std::vector<way>& all) {
    std::vector<std::pair<int, way>> pairs;
    for (const way& each : all) {
        pairs.emplace_back(int(pairs.size()), each);
    }
    return pairs;
}

/// What a combinator is for elements A.
template <typename A, combinator P>
auto plain(const P& described) {
    const auto p = describe<A>(described);
    return link<A, std::decay_t<decltype(p)>::kept>(p);
}

constexpr auto more = [](int i) { return i + 1; };

/// It says that it can be copied, but can't.
struct parcel {
    std::vector<std::unique_ptr<int>> parts;
};
/// The same, put together otherwise.
class letters {
  public:
    letters() = default;

  private:
    std::vector<std::pair<int, std::unique_ptr<int>>> _all;
};
/// It can be, and says so below.
struct note {
    std::string text;
};
constexpr auto left_of = [](const ref<std::pair<int, int>>& p) { return p.first + 1; };

}  // namespace

template <>
inline constexpr bool weir::pipeline::copies<note> = true;

namespace {

static_assert(copies<int> && copies<std::string> && copies<std::vector<std::string>>);
static_assert(copies<std::optional<std::tuple<const int, std::pair<std::string, way>>>>);
static_assert(copies<std::map<int, std::vector<std::string>>> && copies<std::filesystem::path>);
static_assert(copies<std::shared_ptr<parcel>> && copies<note> && copies<std::vector<note>>);
static_assert(!copies<parcel> && !copies<letters> && !copies<std::unique_ptr<int>>);
static_assert(!copies<std::vector<std::vector<std::unique_ptr<int>>>>);
static_assert(!copies<std::optional<std::vector<std::unique_ptr<int>>>>);
static_assert(!copies<std::tuple<int, std::vector<std::unique_ptr<int>>>>);
static_assert(!copies<std::map<int, std::vector<std::unique_ptr<int>>>>);
static_assert(!copies<either<std::pair<int, parcel>, int>>);

/// What can't be copied goes through all that picks, under any name and in whatever holds it.
template <typename A>
future<> goes_through() {
    using side = either<A, int>;
    const auto seven = [](const auto&) { return 7; };
    const auto all = [](auto index) { return [index](const auto&) { return index; }; };
    int seen = 0;
    const auto see = for_each([&seen](int i) { seen += i; });
    const auto many = [](auto make) {
        using made = std::optional<decltype(make())>;
        return generate(
            [make, i = 0]() mutable { return i++ == 9 ? made() : made(std::in_place, make()); });
    };
    const auto one = [] { return A(); };
    const auto two = [] { return side(); };
    co_await run(many(one) >> shard<2>(map(seven)) >> see);
    co_await run(many(one) >> shard_by<2>(all(1U), map(seven)) >> see);
    co_await run(many(two) >> choose(map(seven), id()) >> map(seven) >> see);
    co_await run(many(two) >> merge(map(seven), id()) >> see);
    CHECK(seen == 4 * 9 * 7);
}

}  // namespace

TEST_CASE("elements that can't be copied, though their type says so, go through all that picks") {
    weir::test::on_both(
        [](weir::host&) -> future<> {
            co_await goes_through<parcel>();
            co_await goes_through<letters>();
            co_await goes_through<std::optional<parcel>>();
            co_await goes_through<std::tuple<int, std::vector<std::unique_ptr<int>>>>();
        },
        2);
}

TEST_CASE("a chain of choices costs a chain") {
    costs_by_length("choose left", plain<way>(choose(map(more), id())), ways(200));
    costs_by_length("choose right",
                    plain<way>(choose(id(), map([](const std::string& s) { return s + "!"; }))),
                    ways(200));
    costs_by_length("choose nothing", plain<way>(choose(id(), id())), ways(200));
}

TEST_CASE("a chain of dealings costs a chain") {
    costs_by_length("shards", plain<int>(shard<2>(map(more))), std::vector<int>(100, 5));
    costs_by_length("shards of several blocks",
                    plain<int>(shard<2>(map(more)) >> shard<3>(map(more), 4)),
                    std::vector<int>(100, 5));
    costs_by_length("shards of nothing", plain<int>(shard<2>(id()) >> shard<2>(id(), 3)),
                    std::vector<int>(100, 5));
    costs_by_length("shards beside nothing",
                    plain<std::pair<int, int>>(shard<2>(both(map(more), id())) >>
                                               shard<3>(both(map(more), id()), 2)),
                    pairs(100));
    costs_by_length("shards of choices", plain<way>(shard<2>(choose(map(more), id()))), ways(100));
    costs_by_length(
        "shards by key",
        plain<int>(shard_by<2>([](int i) { return static_cast<unsigned>(i); }, map(more))),
        std::vector<int>(100, 5));
}

TEST_CASE("a chain of words that pick from what was picked costs a chain") {
    const auto right = choose(map(more), id());
    grows_by_length("choices in shards of blocks that alternate",
                    plain<way>(shard<2>(right) >> shard<2>(right, 4)), ways(60));
    grows_by_length("choices in two and in three shards",
                    plain<way>(shard<2>(right) >> shard<3>(right)), ways(60));
    grows_by_length(
        "choices beside something, in such shards",
        plain<std::pair<int, way>>(shard<2>(both(id(), right)) >> shard<2>(both(id(), right), 4)),
        beside(ways(60)));
    grows_by_length("choices in shards by key",
                    plain<way>(shard_by<2>([](const auto& w) { return w.index(); }, right)),
                    ways(60));
    grows_by_length("loops of choices", plain<way>(loop(std::vector<int>{1, 2}, both(right, id()))),
                    ways(60));
    grows_by_length("shards of nothing but choices",
                    plain<way>(shard<2>(choose(id(), id())) >> shard<2>(choose(id(), id()), 3)),
                    ways(60));
}

TEST_CASE("what can't be copied in such a chain is refused before it explodes") {
    using owned = either<std::unique_ptr<int>, int>;
    const auto each =
        plain<owned>(shard<2>(choose(id(), map(more))) >> shard<2>(choose(id(), map(more)), 4));
    CHECK(gates_of(each) < 100);
    CHECK_THROWS_WITH_AS(gates_of(chain(each, 8)), doctest::Contains("rings to look at"),
                         weir::error);
}

TEST_CASE("a chain of pairs costs a chain") {
    costs_by_length("both", plain<std::pair<int, int>>(both(map(more), id())), pairs(200));
    costs_by_length("fanout",
                    plain<std::pair<int, int>>(
                        fanout(map(left_of), map([](const auto& p) { return p.second; }))),
                    pairs(200));
}

TEST_CASE("a chain of loops costs a chain") {
    costs_by_length("loop",
                    plain<int>(loop(std::vector<int>{1, 2}, fanout(map(left_of), map(left_of)))),
                    std::vector<int>(50, 5));
}

TEST_SUITE_END();
