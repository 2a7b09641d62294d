// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log.hh>

#include "bed.hh"

namespace weir::broker {

using namespace storage_test;

namespace {

/// Does random things to a log and to a vector of records, and compares.
class model_run {
  public:
    explicit model_run(std::uint64_t seed) : _random(seed) {
        _options.segment_bytes = (4 + below(60)) << 10;
        _options.max_read_bytes = (4 + below(60)) << 10;
        _options.index_interval_bytes = static_cast<std::uint32_t>(1 + below(5000));
        _options.max_index_entries = 2 + below(20);
        _recent_bytes = below(3) * below(100'000);
        _ahead_bytes = below(3) * below(200'000);
        _options.max_followed_readers = 1 + below(3);
        _options.unzeroed_commit_bytes = 1 + below(10'000);
    }

    future<> run() {
        co_await io::make_directories("/data/t-0");
        for (int opening = 0; opening < 4; ++opening) {
            recent_memory recent(_recent_bytes);
            read_ahead_memory ahead(_ahead_bytes);
            auto opened = co_await log::open("/data/t-0", _options, recent, &ahead);
            for (int i = 0; i < 60; ++i) {
                co_await step(*opened);
            }
            CHECK(co_await read_all(*opened, 0, 1 + below(30'000)) == _values);
            co_await opened->close();
        }
    }

  private:
    future<> step(log& on) {
        switch (below(4)) {
            case 2:
                co_await read_on(on);
                break;
            case 3:
                co_await find(on);
                break;
            default:
                co_await append(on);
                break;
        }
        CHECK(on.end_offset() == static_cast<std::int64_t>(_values.size()));
    }

    future<> append(log& on) {
        std::vector<future<append_result>> running;
        std::vector<std::int64_t> expected;
        for (std::uint64_t i = below(4) + 1; i > 0; --i) {
            const int count = static_cast<int>(1 + below(5));
            const std::int64_t time = static_cast<std::int64_t>(below(100'000));
            expected.push_back(static_cast<std::int64_t>(_values.size()));
            running.push_back(on.append(batch_of(_values.size(), count, below(1500), time)));
            for (int each = 0; each < count; ++each) {
                _values.push_back(_values.size());
                _times.push_back(time + each);
            }
        }
        for (std::size_t i = 0; i < running.size(); ++i) {
            CHECK((co_await std::move(running[i])).base_offset == expected[i]);
        }
    }

    // Now and then a few readers go on for a while, from one place or several.
    future<> read_on(log& on) {
        std::vector<std::int64_t> offsets(1 + below(3));
        for (std::int64_t& each : offsets) {
            each = static_cast<std::int64_t>(below(_values.size() + 3)) - 1;
        }
        offsets.back() = offsets.front();
        for (std::uint64_t rounds = below(4) == 0 ? below(8) : 1; rounds > 0; --rounds) {
            std::vector<future<std::int64_t>> reads;
            for (const std::int64_t each : offsets) {
                reads.push_back(read(on, each));
            }
            for (std::size_t i = 0; i < offsets.size(); ++i) {
                offsets[i] = co_await std::move(reads[i]);
            }
        }
    }

    /// returns  where to read on
    future<std::int64_t> read(log& on, std::int64_t offset) {
        const std::size_t max_bytes = 1 + below(40'000);
        const read_result result = co_await on.read(offset, max_bytes);
        const auto end = static_cast<std::int64_t>(_values.size());
        CHECK(result.end_offset == end);
        CHECK((result.how == read_result::outcome::out_of_range) == (offset < 0 || offset > end));
        CHECK(result.chunks.empty() == (offset < 0 || offset >= end));
        std::int64_t expected = -1;
        std::size_t bytes = 0;
        std::size_t first_batch = 0;
        for (const chunk& part : result.chunks) {
            protocol::batch_walk walk(part.bytes);
            while (const auto batch = walk.next()) {
                first_batch = first_batch ? first_batch : batch->bytes().size();
                bytes += batch->bytes().size();
            }
            CHECK(walk.stopped() == protocol::batch_walk::stop::end);
            for (const auto& [at, value] : records_in(part.bytes)) {
                CHECK((expected < 0 ? at <= offset : at == expected));
                CHECK(value == _values.at(static_cast<std::size_t>(at)));
                expected = at + 1;
            }
        }
        CHECK((result.chunks.empty() || expected > offset));
        CHECK(bytes == result.bytes);
        CHECK((bytes <= std::min(max_bytes, _options.max_read_bytes) || bytes == first_batch));
        co_return std::max(expected, offset);
    }

    future<> find(log& on) {
        const auto time = static_cast<std::int64_t>(below(110'000));
        const auto found = co_await on.find_timestamp(time);
        const auto first = std::find_if(_times.begin(), _times.end(),
                                        [time](std::int64_t each) { return each >= time; });
        REQUIRE(found.has_value() == (first != _times.end()));
        if (found) {
            CHECK(found->offset == first - _times.begin());
            CHECK(found->timestamp == *first);
        }
    }

    std::uint64_t below(std::uint64_t limit) {
        _random = _random * 6364136223846793005 + 1442695040888963407;
        return (_random >> 33) % limit;
    }

    std::uint64_t _random;
    log_options _options = small_options();
    std::size_t _recent_bytes;
    std::size_t _ahead_bytes;
    std::vector<std::uint64_t> _values;
    std::vector<std::int64_t> _times;
};

}  // namespace

TEST_SUITE("broker/storage/model") {
    TEST_CASE("a log does what a vector of records does") {
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            CAPTURE(seed);
            bed on(seed);
            on.run([seed]() -> future<> {
                model_run model(seed);
                co_await model.run();
            });
        }
    }
}

}  // namespace weir::broker
