// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <doctest/doctest.h>
#include <support/both.hh>

#include <weir/core/coroutine.hh>
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

    source_step fill(const slot_lane* out, std::size_t) override {
        if (!std::exchange(_waited, false)) {
            return {0, false};
        }
        shape<int>::store(out, 0, _next++);
        return {1, _next == 10};
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

}  // namespace

TEST_SUITE("pipeline/guard") {
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
