// SPDX-License-Identifier: Apache-2.0
// What becomes of each element: made once, ended once, never copied where nothing asks for it,
// never looked at too early or too late; and how far a writer may be ahead of its readers.
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <pipeline/random_values.hh>
#include <pipeline/seeded.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/counts");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using namespace weir::test;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using weir::future;
using weir::sleep_for;

namespace {

/// What became of all `counted` of a run, on all shards.
struct ledger {
    std::atomic<std::int64_t> made{0};
    std::atomic<std::int64_t> copied{0};
    std::atomic<std::int64_t> moved{0};
    std::atomic<std::int64_t> ended{0};  ///< of those that were not moved from
    std::atomic<std::int64_t> freed{0};
    std::atomic<std::int64_t> wrong{0};  ///< looks at what is not there

    /// returns  what does not add up; empty: each value ended once, where it was last
    std::string balance() const {
        if (wrong != 0 || ended != made + copied || freed != made + copied + moved) {
            return fmt::format("made {}, copied {}, moved {}, ended {}, freed {}, wrong looks {}",
                               made.load(), copied.load(), moved.load(), ended.load(), freed.load(),
                               wrong.load());
        }
        return "";
    }
};

/// A number that tells its ledger what happens to it.
class counted {
  public:
    counted(ledger& of, number value) : _of(&of), _value(value) { ++_of->made; }
    counted(const counted& other) : _of(other._of), _value(other.value()) { ++_of->copied; }
    counted(counted&& other) noexcept
        : _of(other._of), _value(other.value()), _state(std::exchange(other._state, moved_from)) {
        ++_of->moved;
    }
    counted& operator=(const counted&) = delete;
    counted& operator=(counted&&) = delete;
    ~counted() {
        _of->ended += _state == alive ? 1 : 0;
        ++_of->freed;
        // A second end would be seen: it is of no known state.
        _of->wrong += _state != alive && _state != moved_from ? 1 : 0;
        _state = gone;
    }

    number value() const {
        _of->wrong += _state != alive ? 1 : 0;
        return _value;
    }
    ledger& book() const { return *_of; }
    bool there() const noexcept { return _state == alive; }

  private:
    static constexpr std::uint32_t alive = 0x600d600d;
    static constexpr std::uint32_t moved_from = 0xe3e3e3e3;
    static constexpr std::uint32_t gone = 0xdeaddead;
    ledger* _of;
    number _value;
    std::uint32_t _state = alive;
};

source_of<counted> counted_up_to(ledger& book, number length) {
    return generate([&book, length, next = number{0}]() mutable {
        return next < length ? std::optional<counted>(std::in_place, book, next++) : std::nullopt;
    });
}

constexpr auto look = [](const counted& each) { return each.value(); };
constexpr auto renew = [](const counted& each) { return counted(each.book(), each.value()); };
constexpr auto split = [](const counted& each) {
    return each.value() % 3 == 0
               ? either<counted, counted>(std::in_place_index<0>, each.book(), each.value())
               : either<counted, counted>(std::in_place_index<1>, each.book(), each.value());
};

/// Numbers of an element, which it looks at until its end.
class watchful_range {
  public:
    explicit watchful_range(const counted& of) : _book(&of.book()), _of(&of) {}
    watchful_range(watchful_range&& other) noexcept
        : _book(other._book), _of(std::exchange(other._of, nullptr)) {}
    watchful_range& operator=(watchful_range&&) = delete;
    ~watchful_range() { _book->wrong += _of == nullptr || _of->there() ? 0 : 1; }

    const number* begin() const { return numbers.data(); }
    const number* end() const { return numbers.data() + numbers.size(); }

  private:
    static constexpr std::array<number, 100> numbers{};
    ledger* _book;
    const counted* _of;
};

/// Runs a pipeline from counted elements to numbers that are to be what went in, and balances.
/// copies   of each element that the pipeline asks for, or fewer where stages are one loop
template <combinator P>
future<std::string> run_counted(chooser& draw, const P& p, unsigned copies = 0) {
    const auto length = static_cast<number>(random_length(draw, 1 + draw(9)));
    auto options = random_deployment(draw, law_shards);
    auto book = std::make_shared<ledger>();
    const auto whole = describe<counted>(p);
    return [](auto pipeline, number count, deploy_options chosen, std::shared_ptr<ledger> kept,
              unsigned wanted) -> future<std::string> {
        std::vector<number> found;
        co_await run(counted_up_to(*kept, count) >> pipeline >> collect(found), chosen);
        for (number i = 0; i < count; ++i) {
            if (found.size() != static_cast<std::size_t>(count) ||
                found[static_cast<std::size_t>(i)] != i) {
                co_return fmt::format("{}: wrong elements", text_of(chosen));
            }
        }
        std::string said = kept->balance();
        const bool right =
            chosen.fuse ? kept->copied <= count * wanted : kept->copied == count * wanted;
        if (said.empty() && !right) {
            said = fmt::format("{} copies of {} elements", kept->copied.load(), count);
        }
        co_return said.empty() ? said : fmt::format("{}: {}", text_of(chosen), said);
    }(whole, length, options, std::move(book), copies);
}

}  // namespace

TEST_CASE("each element is made once and ended once, stage after stage") {
    on_seeds([](chooser& draw) {
        return run_counted(draw, map(renew) >> id() >> map(renew) >> map(renew) >> map(look));
    });
}

TEST_CASE("a fanout copies no element, however many look at it") {
    on_seeds([](chooser& draw) {
        const auto first = [](const auto& all) {
            const auto& [a, b] = all;
            return a.first == b.second.value() && b.first.value() == a.first ? a.first : -1;
        };
        return run_counted(
            draw, fanout(fanout(map(look), id()), fanout(id(), map(renew))) >>
                      fanout(id(), map([](const auto& all) { return all.second.first.value(); })) >>
                      map([first](const auto& all) {
                          return first(all.first) == all.second ? all.second : -1;
                      }));
    });
}

TEST_CASE("a shard copies no element, dealt by place, in blocks, by key and in copies of copies") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto key = [](const counted& each) { return std::size_t(each.value()) / 3; };
        const std::size_t block = 1 + draw(5);
        std::string said = co_await run_counted(
            draw, shard<2>(map(renew)) >> shard<3>(map(renew), block) >> map(look));
        if (said.empty()) {
            said = co_await run_counted(
                draw, shard<2>(shard<2>(map(renew) >> id()), block) >> shard<2>(map(look)));
        }
        if (said.empty()) {
            said = co_await run_counted(draw, shard_by<3>(key, map(renew) >> map(renew)) >>
                                                  shard_by<2>(key, id()) >> map(look));
        }
        co_return said;
    });
}

TEST_CASE("choices, pairs and futures copy no element") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto later = map_async(1 + draw(4), [](const counted& each) -> future<counted> {
            const counted& kept = each;  // stays until the future ends
            co_await sleep_for(microseconds(static_cast<std::uint64_t>(kept.value()) * 7 % 20));
            co_return renew(kept);
        });
        std::string said = co_await run_counted(
            draw, map(split) >> choose(later, map(renew)) >> merge(id(), later) >> map(look));
        if (said.empty()) {
            said = co_await run_counted(
                draw,
                map([](const counted& each) { return std::pair(renew(each), renew(each)); }) >>
                    both(later, id()) >> map([](const auto& pair) {
                        return pair.first.value() == pair.second.value() ? pair.first.value() : -1;
                    }));
        }
        co_return said;
    });
}

TEST_CASE("a filter copies what it keeps, a window what it holds: once each") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto all = filter([](const counted& each) { return each.value() >= 0; });
        std::string said = co_await run_counted(draw, all >> map(look), 1);
        if (said.empty()) {
            said = co_await run_counted(
                draw, all >> window(1 + draw(6)) >> flat_map([](const std::vector<counted>& some) {
                          std::vector<number> values;
                          for (const counted& each : some) {
                              values.push_back(each.value());
                          }
                          return values;
                      }),
                2);
        }
        co_return said;
    });
}

TEST_CASE("each element ends once when the run ends early: a failure, a stop, a sink that fails") {
    on_seeds({.threaded = 8}, [](chooser& draw) -> future<std::string> {
        for (std::uint32_t kind = 0; kind < 4; ++kind) {
            auto book = std::make_shared<ledger>();
            const number bad = draw(60);
            const auto fragile = [bad, kind](const counted& each) {
                if (kind == 0 && each.value() == bad) {
                    throw std::runtime_error("bad");
                }
                return renew(each);
            };
            const auto later = [bad, kind](const counted& each) -> future<counted> {
                co_await sleep_for(microseconds(mixed(hash(each.value())) % 20));
                if (kind == 1 && each.value() == bad) {
                    throw std::runtime_error("bad");
                }
                co_return renew(each);
            };
            const auto taking = [bad, kind](const auto& pair) {
                if (kind == 2 && pair.first.value() == bad) {
                    throw std::runtime_error("bad");
                }
            };
            const auto options = random_deployment(draw, law_shards);
            const auto running = co_await deploy(
                counted_up_to(*book, kind == 3 ? 1'000'000'000 : 100) >> map(fragile) >>
                    map(split) >> merge(map_async(3, later), map(renew)) >>
                    fanout(shard<2>(map_async(2, later)), map(renew)) >> for_each(taking),
                options);
            if (kind == 3) {
                co_await sleep_for(microseconds(draw(300)));
                co_await running->stop();
            }
            bool failed = false;
            try {
                co_await running->join();
            } catch (const std::runtime_error&) {
                failed = true;
            }
            std::string said = book->balance();
            if (said.empty() && book->copied != 0) {
                said = "copies";
            }
            if (said.empty() && kind == 0 && !failed) {
                said = "it did not fail";
            }
            if (!said.empty()) {
                co_return fmt::format("kind {}, {}: {}", kind, text_of(options), said);
            }
        }
        co_return "";
    });
}

TEST_CASE(
    "a range made of an element ends before it, where a flat_map is stopped in its middle too") {
    on_seeds([](chooser& draw) -> future<std::string> {
        auto book = std::make_shared<ledger>();
        const number bad = draw(2000);
        const auto taking = [bad, next = number{0}](const number&) mutable {
            if (next++ == bad) {
                throw std::runtime_error("bad");
            }
        };
        try {
            co_await run(counted_up_to(*book, 30) >>
                             flat_map([](const counted& each) { return watchful_range(each); }) >>
                             for_each(taking),
                         random_deployment(draw, law_shards));
            co_return "it did not fail";
        } catch (const std::runtime_error&) {
        }
        co_return book->balance();
    });
}

TEST_CASE("an element goes when its readers are through, though its writer waits or has ended") {
    const auto check = [](chooser draw, bool ends) -> future<std::string> {
        auto book = std::make_shared<ledger>();
        const auto some = [book, ends](weir::abort_source& stop) -> generator<counted> {
            for (number i = 0; i < 5; ++i) {
                co_yield counted(*book, i);
            }
            if (!ends) {
                co_await sleep_for(hours(1), stop).handle_failure([](auto) {});
            }
        };
        const auto slow = map_async(1, [](number each) -> future<number> {
            co_await sleep_for(seconds(1));
            co_return each;
        });
        const auto options = random_deployment(draw, law_shards);
        const auto running = co_await deploy(
            from_generator(some) >> map(renew) >> map(look) >> slow >> discard(), options);
        // The last one gets through small rings when the one before it is done with.
        co_await sleep_for(milliseconds(4500));
        std::string said = book->balance();  // before a sample, which looks for what came back
        const auto samples = co_await running->sample();
        if (book->made != 10 || samples.back().over) {
            said = "it is not in its middle";
        }
        co_await running->stop();
        co_await running->join();
        co_return said.empty() ? "" : fmt::format("{}: {}", text_of(options), said);
    };
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        for (const bool ends : {false, true}) {
            INFO("seed ", seed, ends ? ", ended" : ", waiting");
            CHECK(in_world(seed, law_shards, [&] { return check(chooser(seed), ends); }) == "");
        }
    }
}

TEST_CASE("futures in any order: each element ends once, those too that nobody waits for") {
    on_seeds({.threaded = 20}, [](chooser& draw) -> future<std::string> {
        auto book = std::make_shared<ledger>();
        const number bad = draw(80);
        const auto later =
            map_unordered(1 + draw(9), [bad](const counted& each) -> future<counted> {
                co_await sleep_for(microseconds(mixed(hash(each.value())) % 50));
                if (each.value() == bad) {
                    throw std::runtime_error("bad");
                }
                co_return renew(each);
            });
        try {
            co_await run(counted_up_to(*book, 50) >> later >> map(look) >> discard(),
                         random_deployment(draw, law_shards));
        } catch (const std::runtime_error&) {
        }
        co_return book->balance();
    });
}

TEST_CASE("a writer is never ahead of its slowest reader by more than the capacity") {
    on_seeds({.threaded = 20}, [](chooser& draw) -> future<std::string> {
        // How many elements of the source each reader has been shown. An element may only be made
        // when the one that lay in its slot was given back, thus shown to all.
        struct shown {
            std::array<std::atomic<number>, 3> by{};
            std::atomic<number> most_ahead{0};
        };
        auto book = std::make_shared<shown>();
        auto options = random_deployment(draw, law_shards);
        options.capacity = std::size_t{1} << draw(4);
        const number length = 150 + draw(100);
        const auto source = generate([book, length, next = number{0}]() mutable {
            number slowest = book->by[0].load();
            for (const auto& each : book->by) {
                slowest = std::min(slowest, each.load());
            }
            book->most_ahead = std::max(book->most_ahead.load(), next - slowest + 1);
            return next < length ? std::optional<number>(next++) : std::nullopt;
        });
        const auto note = [book](std::size_t reader) {
            return map([book, reader](const number& each) {
                book->by[reader] = each + 1;
                return each;
            });
        };
        const auto note_late = map_async(1, [book](const number& each) -> future<number> {
            co_await sleep_for(microseconds(mixed(hash(each)) % 4));
            book->by[2] = each + 1;
            co_return each;
        });
        co_await run(source >> fanout(note(0), fanout(note(1), note_late)) >> discard(), options);
        const auto capacity = static_cast<number>(options.capacity);
        // The end is looked for with one more call.
        co_return book->most_ahead <= capacity + (book->most_ahead > length ? 1 : 0) &&
                book->by[2] == length
            ? ""
            : fmt::format("{}: {} ahead", text_of(options), book->most_ahead.load());
    });
}

TEST_CASE("whenever one looks, no ring holds more than its capacity and no reader is ahead of it") {
    on_seeds({.threaded = 20}, [](chooser& draw) -> future<std::string> {
        const auto options = random_deployment(draw, law_shards);
        const auto p =
            describe<number>(fanout(shard<2>(map([](const number& each) { return each + 1; })),
                                    map_async(2, late_function<number, number>{draw(1000)})) >>
                             map([](const auto& pair) { return pair.first + pair.second; }));
        const auto running = co_await deploy(
            from_list(random_elements<number>(draw, 400)) >> p >> discard(), options);
        std::string said;
        for (bool over = false; !over && said.empty();) {
            const auto samples = co_await running->sample();
            over = true;
            for (const stage_sample& each : samples) {
                const auto& planned = running->laid_out().stages[each.stage];
                over = over && each.over;
                for (const reader_sample& reader : each.readers) {
                    const auto& written = running->laid_out().stages[reader.writer];
                    if (reader.queued > written.capacity) {
                        said = fmt::format("{} elements of {} wait for {}", reader.queued,
                                           written.name, planned.name);
                    }
                }
                if (planned.out != nullptr && each.queued > planned.capacity) {
                    said = fmt::format("{} holds {}", planned.name, each.queued);
                }
            }
            co_await sleep_for(microseconds(30));
        }
        co_await running->join();
        co_return said;
    });
}
