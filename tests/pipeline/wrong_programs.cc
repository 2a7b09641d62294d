// SPDX-License-Identifier: Apache-2.0
// Pipelines that would break the law. Each line that is marked must not compile, with a message
// that holds the words behind the mark; wrong_programs_test.py sees to it.
#include <array>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <weir/pipeline/bytes.hh>
#include <weir/pipeline/pipeline.hh>

namespace {

using namespace weir::pipeline;
using weir::future;

const auto twice = map([](int i) { return 2 * i; });
const auto even = filter([](int i) { return i % 2 == 0; });
const auto sum = fold(0, [](int& total, int i) { return total += i; });
const auto total = reduce(0, [](int& all, int i) { all += i; });
const auto late = map_unordered(4, [](int i) { return weir::make_ready_future<int>(i); });
const auto soon = map_async(4, [](int i) { return weir::make_ready_future<int>(i); });
const auto ranges = flat_map([](int i) { return std::vector<int>{i}; });
const auto letter = [](int, const std::exception_ptr&) {};
const auto sides = map([](int i) {
    return i > 0 ? either<int, long>(std::in_place_index<0>, i)
                 : either<int, long>(std::in_place_index<1>, -i);
});

// What may stand here compiles.
[[maybe_unused]] const auto right = describe<int>(fanout(twice, sum) >> both(twice, twice));
[[maybe_unused]] const auto ends = describe<int>(even >> fanout(total, total));
[[maybe_unused]] const auto halves = describe<int>(sides >> merge(twice, shard<2>(twice)));

[[maybe_unused]] const auto seen = describe<std::pair<int, std::string>>(
    map([](const ref<std::pair<int, std::string>>& p) { return p.second; }) >>
    map([](std::string_view s) { return s.size(); }));
[[maybe_unused]] const auto stays =
    describe<std::string_view>(map([](std::string_view s) { return s.substr(1); }));

[[maybe_unused]] const auto kept = describe<int>(skip(retry(1, soon), letter) >> restart(sum));

using text = std::string;
using seeing = std::string_view;
using list = std::vector<seeing>;
using owner = std::unique_ptr<int>;
using large = std::array<char, 300 << 10>;
using two = std::pair<text, text>;
const auto count = [](text& all, const two& p) { return (all += p.first).size(); };

template <typename A = int, typename P>
void wrong(const P& p) {
    (void)describe<A>(p);
}

// clang-format off
void programs() {
    wrong(fanout(twice, even));           // wrong: rate: pipelines side by side must give
    wrong(fanout(twice, total));          // wrong: rate: pipelines side by side must give
    wrong(fanout(late, twice));           // wrong: order: what comes unordered can't be put
    wrong(sides >> merge(twice, even));   // wrong: rate: each side of a choice must give
    wrong(sides >> choose(late, twice));  // wrong: order: what comes unordered can't be put
    wrong(shard<2>(sum));                 // wrong: state: each copy would see only some
    wrong(shard<2>(even));                // wrong: rate: a sharded pipeline must give one
    wrong(shard<2>(late));                // wrong: order: what comes unordered can't be put
    wrong(twice >> both(twice, twice));   // wrong: both takes elements that are pairs
    wrong(twice >> merge(twice, twice));  // wrong: merge takes elements that are an either
    wrong(map([](std::string s) { return s; }));                    // wrong: does not take the
    wrong(map([](int i) { return weir::make_ready_future<int>(i); }));  // wrong: use map_async
    wrong(map_async(2, [](int i) { return i; }));        // wrong: of a map_async returns a future
    wrong(map_async(2, [](int) { return weir::make_ready_future<>(); }));  // wrong: gives nothing
    wrong(map([](int) {}));                              // wrong: the function returns nothing
    (void)describe<std::string>(map(&std::string::size));  // wrong: does not take the elements
    wrong(loop(std::vector<int>{0}, map([](auto) { return 1; })));    // wrong: a loop's pipeline
    wrong(retry(1, twice >> twice));        // wrong: one stage: retry goes around a map,
    wrong(retry(1, skip(twice, letter)));   // wrong: one stage: retry goes around a map,
    wrong(retry(1, describe<int>(twice)));  // wrong: one stage: retry goes around a map,
    wrong(skip(total, letter));             // wrong: one stage: skip goes around a map,
    wrong(skip(window(2), letter));         // wrong: one stage: skip goes around a map,
    wrong(skip(ranges, letter));            // wrong: one stage: skip goes around a map,
    wrong(skip(sum, letter));               // wrong: state: what a fold changed
    wrong(retry(1, sum));                   // wrong: state: what a fold changed
    wrong(retry(1, restart(sum)));          // wrong: state: what a fold changed
    wrong(restart(twice));                  // wrong: one stage: restart goes around a fold,
    wrong(restart(total));                  // wrong: one stage: restart goes around a fold,
    wrong(skip(twice, [](int) {}));         // wrong: the sink for dead letters takes an element
    wrong(skip(soon, [](int) {}));          // wrong: the sink for dead letters takes an element
    wrong(describe<long>(map([](long i) { return i; })) >> twice);    // wrong: the element types
    wrong<text>(map([](std::string_view s) { return s.substr(1); }));  // wrong: views: the function
    wrong<text>(map([](const text& s) { return std::optional<seeing>(s); }));  // wrong: views: the
    wrong<two>(flat_map([](const auto& p) { return list{p.first}; }));  // wrong: views: the
    wrong<long>(fold(list(), [](list& all, long i) { return all[i]; }));  // wrong: views: the
    wrong<line>(map([](std::string_view s) { return std::pair(1, s); }));  // wrong: views: the
    wrong<two>(map([](const two& p) { return p.first; }));             // wrong: pairs: the function
    wrong<two>(retry(1, map([](const two& p) { return p.first; })));   // wrong: pairs: the function
    wrong<two>(fold(text(), count));                                   // wrong: pairs: the function
    wrong<two>(filter([](const two& p) { return p.first.empty(); }));  // wrong: pairs: the function
    wrong<owner>(filter([](const owner& o) { return *o > 0; }));        // wrong: copies: a filter
    wrong<owner>(window(2));                                           // wrong: copies: a window
    wrong<large>(map([](const large& l) { return l[0]; }));  // wrong: an element lies on the stack
}
// clang-format on

}  // namespace
