// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/bytes.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

using namespace weir;
using namespace weir::pipeline;

namespace {

/// Where an end of a pipeline throws, or fails.
enum class fault : std::uint8_t { none, wait_throws, wait_fails, close_throws, close_fails };

future<> go_wrong(bool throws, bool fails, const char* what) {
    if (throws) {
        throw std::runtime_error(what);
    }
    return fails ? make_failed_future<>(std::make_exception_ptr(std::runtime_error(what)))
                 : make_ready_future();
}

/// Gives an element after each wait.
class faulty_source final : public source {
  public:
    faulty_source(fault with, int& closed) : _with(with), _closed(closed) {}

    void fill(const slot_lane* out, std::size_t, source_step& done) override {
        if (std::exchange(_waited, false)) {
            shape<int>::store(out, 0, _next++);
            done = {1, _next == 10};
        }
    }
    future<> wait() override {
        _waited = true;
        return go_wrong(_with == fault::wait_throws && _next == 5,
                        _with == fault::wait_fails && _next == 5, "source wait");
    }
    future<> close() override {
        ++_closed;
        return go_wrong(_with == fault::close_throws, _with == fault::close_fails, "source close");
    }

  private:
    const fault _with;
    int& _closed;
    bool _waited = false;
    int _next = 0;
};

/// Takes an element after each wait.
class faulty_sink final : public sink {
  public:
    faulty_sink(fault with, int& taken, int& closed)
        : _with(with), _taken(taken), _closed(closed) {}

    std::size_t take(const lane*, std::size_t) override {
        if (!std::exchange(_waited, false)) {
            return 0;
        }
        ++_taken;
        return 1;
    }
    future<> wait() override {
        _waited = true;
        return go_wrong(_with == fault::wait_throws && _taken == 5,
                        _with == fault::wait_fails && _taken == 5, "sink wait");
    }
    future<> close() override {
        ++_closed;
        return go_wrong(_with == fault::close_throws, _with == fault::close_fails, "sink close");
    }

  private:
    const fault _with;
    int& _taken;
    int& _closed;
    bool _waited = false;
};

struct found {
    std::string failure{};
    int taken = 0;
    int source_closed = 0;
    int sink_closed = 0;
};

future<found> run_with(fault in_source, fault in_sink) {
    found all;
    const source_of<int> from{
        "faulty", [&] { return std::make_unique<faulty_source>(in_source, all.source_closed); }};
    const sink_for to{
        "faulty", [&]<typename T>() {
            return std::function<std::unique_ptr<sink>()>(
                [&] { return std::make_unique<faulty_sink>(in_sink, all.taken, all.sink_closed); });
        }};
    try {
        co_await run(from >> map([](int i) { return i; }) >> to);
    } catch (const std::runtime_error& failure) {
        all.failure = failure.what();
    }
    co_return all;
}

/// Gives three lines, one a read, and then throws where it should give a future.
class faulty_reader final : public byte_reader {
  public:
    future<buffer> read() override {
        if (_reads == 3) {
            throw std::runtime_error("reader");
        }
        const std::string text = std::to_string(_reads++) + "\n";
        return make_ready_future<buffer>(buffer::copy_of(text));
    }
    future<> close() override { return make_ready_future(); }

  private:
    int _reads = 0;
};

/// Gives three elements, as many a call as there is room for, and throws in the call that gave the
/// last one.
class throwing_source final : public source {
  public:
    void fill(const slot_lane* out, std::size_t room, source_step& done) override {
        while (done.produced < room) {
            shape<std::string>::store(out, done.produced, std::to_string(_given++) + "\n");
            ++done.produced;
            if (_given == 3) {
                throw std::runtime_error("source");
            }
        }
    }

  private:
    int _given = 0;
};

template <typename T>
future<std::string> text_and_failure(source_of<T> from) {
    std::string said;
    try {
        co_await run(std::move(from) >> map([](const T& each) { return std::string(each); }) >>
                     for_each([&said](const std::string& each) {
                         said += each;
                         said += each.back() == '\n' ? "" : "\n";
                     }));
    } catch (const std::runtime_error& failure) {
        said += failure.what();
    }
    co_return said;
}

generator<std::string> throwing_generator(abort_source&) {
    for (int i = 0; i < 3; ++i) {
        co_yield std::to_string(i);
    }
    throw std::runtime_error("generator");
}

}  // namespace

TEST_SUITE("pipeline/guard") {
    TEST_CASE("what a source made before it threw comes out, and then the failure") {
        test::on_both(
            [](host&) -> future<> {
                const auto reader = [] { return std::make_unique<faulty_reader>(); };
                CHECK(co_await text_and_failure(blocks_from("blocks", reader)) ==
                      "0\n1\n2\nreader");
                CHECK(co_await text_and_failure(lines_from("lines", "", reader)) ==
                      "0\n1\n2\nreader");
                CHECK(co_await text_and_failure(source_of<std::string>{
                          "thrower", [] { return std::make_unique<throwing_source>(); }}) ==
                      "0\n1\n2\nsource");
                CHECK(co_await text_and_failure(from_generator(&throwing_generator)) ==
                      "0\n1\n2\ngenerator");
                CHECK(co_await text_and_failure(generate([i = 0]() mutable {
                          if (i == 3) {
                              throw std::runtime_error("generate");
                          }
                          return std::optional(std::to_string(i++));
                      })) == "0\n1\n2\ngenerate");
            },
            2);
    }

    TEST_CASE("a stage that fails has taken as many elements as its first function has") {
        test::on_both([](host&) -> future<> {
            for (const int which : {0, 1, 2, 3}) {
                auto taken = std::make_shared<std::uint64_t>(0);
                // What is a plain pipe shows nothing to its neighbours: each is a kernel.
                const auto fails = [which, taken](int own) -> weir::pipeline::pipe_of<int, int> {
                    return describe<int>(map([which, own, taken](int i) {
                        if (which == own && i == 5) {
                            throw std::runtime_error("bad");
                        }
                        *taken += own == 1 ? 1 : 0;
                        return i;
                    }));
                };
                std::vector<int> out;
                const auto running = co_await deploy(
                    from_list(std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8}) >> fails(1) >> fails(2) >>
                        filter([](int i) { return i != 3; }) >> fails(3) >> collect(out),
                    {.where = {.how = placement::policy::pack}});
                CHECK(running->laid_out().stages.size() == 3);
                bool failed = false;
                try {
                    co_await running->join();
                } catch (const std::runtime_error&) {
                    failed = true;
                }
                CHECK(failed == (which != 0));
                CHECK((co_await running->sample())[1].counted.elements == *taken);
                CHECK(out.size() == (failed ? 4 : 8));
            }
        });
    }

    TEST_CASE("a wait or a close that throws or fails is the stream's failure, told once") {
        test::on_both(
            [](host&) -> future<> {
                for (const fault with : {fault::none, fault::wait_throws, fault::wait_fails,
                                         fault::close_throws, fault::close_fails}) {
                    const bool waits = with == fault::wait_throws || with == fault::wait_fails;
                    const found source = co_await run_with(with, fault::none);
                    CHECK(source.failure == (with == fault::none ? ""
                                             : waits             ? "source wait"
                                                                 : "source close"));
                    CHECK(source.taken == (waits ? 5 : 10));
                    CHECK(source.source_closed == 1);
                    CHECK(source.sink_closed == 1);

                    const found sink = co_await run_with(fault::none, with);
                    CHECK(sink.failure == (with == fault::none ? ""
                                           : waits             ? "sink wait"
                                                               : "sink close"));
                    CHECK(sink.taken == (waits ? 5 : 10));
                    CHECK(sink.source_closed == 1);
                    CHECK(sink.sink_closed == 1);
                }
            },
            2);
    }
}
