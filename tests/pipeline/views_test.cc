// SPDX-License-Identifier: Apache-2.0
// Who may look at an element, for how long, and where copies may go.
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/bytes.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/views");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;
using weir::test::on_both;

namespace {

/// Long enough to lie on the heap.
std::string long_text(int i) {
    return std::to_string(i) + std::string(60, 'x');
}

std::vector<std::string> texts(int count) {
    std::vector<std::string> all;
    for (int i = 0; i < count; ++i) {
        all.push_back(long_text(i));
    }
    return all;
}

/// A text, a few bytes at a time.
class pieces final : public byte_reader {
  public:
    future<weir::buffer> read() override {
        const std::size_t begin = std::min(_given, text.size());
        _given += 7;
        return weir::make_ready_future<weir::buffer>(
            weir::buffer::copy_of(std::string_view(text).substr(begin, 7)));
    }
    future<> close() override { return weir::make_ready_future(); }

    static inline const std::string text =
        "one\ntwo\nthree and more\nfour\n\nfive and the rest\nsix";

  private:
    std::size_t _given = 0;
};

const std::vector<std::string> lines_of_pieces{
    "one", "two", "three and more", "four", "", "five and the rest", "six"};

source_of<line> piece_lines() {
    return lines_from("pieces", "pieces", [] { return std::make_unique<pieces>(); });
}

template <typename T>
std::vector<std::string> copied_texts(const std::vector<T>& of) {
    std::vector<std::string> all;
    for (const T& each : of) {
        all.emplace_back(std::string_view(each));
    }
    return all;
}

}  // namespace

TEST_CASE("copies of lines and blocks outlive their pipeline, on other shards") {
    on_both(
        [](weir::host&) -> future<> {
            for (const weir::shard_id base : {0U, 1U}) {
                std::vector<line> lines;
                std::vector<block> blocks;
                co_await run(
                    piece_lines() >> filter([](const line&) { return true; }) >> collect(lines),
                    {.where = {.base = base}});
                co_await run(blocks_from("pieces", [] { return std::make_unique<pieces>(); }) >>
                                 collect(blocks),
                             {.where = {.base = base}});
                CHECK(copied_texts(lines) == lines_of_pieces);
                std::string all;
                for (const block& each : blocks) {
                    all += each.text();
                }
                CHECK(all == pieces::text);
                CHECK(blocks.back().next_offset() == all.size());
                CHECK(lines.back().next_offset() == all.size());
            }
        },
        2);
}

TEST_CASE("the state of a fold may keep copies of lines, and leave its shard with them") {
    on_both(
        [](weir::host&) -> future<> {
            std::vector<std::vector<line>> out;
            co_await run(piece_lines() >> reduce(std::vector<line>{},
                                                 [](std::vector<line>& all, const line& each) {
                                                     all.push_back(each);
                                                 }) >>
                             collect(out),
                         {.fuse = false});
            REQUIRE(out.size() == 1);
            CHECK(copied_texts(out.front()) == lines_of_pieces);
        },
        2);
}

TEST_CASE("the range of a flat_map may look into its element, a pair too, until it ends") {
    on_both(
        [](weir::host&) -> future<> {
            // Longer than any batch and any ring: it is left and taken up again.
            const auto characters = flat_map([](const auto& pair) {
                return std::views::iota(0, 300) | std::views::transform([&pair](int i) {
                           const std::string& from = i % 2 == 0 ? pair.first : pair.second;
                           return from[static_cast<std::size_t>(i) % from.size()];
                       });
            });
            const auto pairs = describe<std::string>(
                fanout(id(), map([](const std::string& s) { return s + "second half"; })) >>
                characters);
            const std::vector<std::string> in = texts(20);
            const listed<char> expected = co_await model(pairs, in);
            for (const std::size_t capacity : {1, 16, 1024}) {
                std::vector<char> out;
                co_await run(from_list(in) >> pairs >> collect(out), {.capacity = capacity});
                CHECK(out == expected.values);
            }
        },
        2);
}

TEST_CASE("a future may look at its element, a pair too, until it is ready") {
    on_both(
        [](weir::host&) -> future<> {
            const auto later = map_async(8, [](const auto& pair) -> future<std::string> {
                co_await weir::sleep_for(std::chrono::microseconds(50));
                co_return pair.first + pair.second;
            });
            const std::vector<std::string> in = texts(40);
            const auto p = describe<std::string>(fanout(id(), id()) >> later);
            const listed<std::string> expected = co_await model(p, in);
            std::vector<std::string> out;
            co_await run(from_list(in) >> p >> collect(out), {.capacity = 16});
            CHECK(out == expected.values);
        },
        2);
}

TEST_CASE("views of what stays pass through") {
    on_both(
        [](weir::host&) -> future<> {
            const std::vector<std::string> stays = texts(30);
            std::vector<std::string_view> in(stays.begin(), stays.end());
            std::vector<std::string_view> out;
            co_await run(from_list(in) >> map([](std::string_view s) { return s.substr(1); }) >>
                             collect(out),
                         {.fuse = false});
            REQUIRE(out.size() == in.size());
            for (std::size_t i = 0; i < in.size(); ++i) {
                CHECK(out[i] == in[i].substr(1));
                CHECK(out[i].data() == in[i].data() + 1);
            }
        },
        2);
}

TEST_CASE("elements that can't be copied are fanned out, looped, skipped and taken out of ranges") {
    using owner = std::unique_ptr<int>;
    on_both(
        [](weir::host&) -> future<> {
            const auto owners = [] {
                return generate([i = 0]() mutable {
                    return i < 50 ? std::optional(std::make_unique<int>(i++))
                                  : std::optional<owner>();
                });
            };
            const auto look = [](const owner& each) { return *each; };
            std::vector<std::pair<int, int>> pairs;
            co_await run(owners() >> fanout(map(look), id()) >> both(id(), map(look)) >>
                         collect(pairs));
            CHECK(pairs.size() == 50);
            CHECK(pairs.back() == std::pair(49, 49));

            std::vector<int> sums;
            co_await run(owners() >> loop(std::vector<int>{0}, map([](const auto& fed) {
                                              return std::pair(*fed.first + fed.second,
                                                               *fed.first + fed.second);
                                          })) >>
                         collect(sums));
            CHECK(sums.back() == 49 * 50 / 2);

            std::vector<int> odd;
            std::vector<int> letters;
            co_await run(owners() >>
                             skip(map_async(4,
                                            [](const owner& each) {
                                                return *each % 2 != 0
                                                           ? weir::make_ready_future<int>(*each)
                                                           : weir::make_failed_future<int>(
                                                                 std::runtime_error("even"));
                                            }),
                                  [&letters](const owner& each, const std::exception_ptr&) {
                                      letters.push_back(*each);
                                  }) >>
                             collect(odd),
                         {.where = {.how = placement::policy::pack}});
            CHECK(odd.size() == 25);
            CHECK(letters.size() == 25);

            std::vector<int> taken;
            co_await run(owners() >> flat_map([](const owner& each) {
                             std::vector<owner> range;
                             range.push_back(std::make_unique<int>(*each));
                             range.push_back(std::make_unique<int>(*each));
                             return range;
                         }) >>
                         map(look) >> collect(taken));
            CHECK(taken.size() == 100);
        },
        2);
}

TEST_SUITE_END();
