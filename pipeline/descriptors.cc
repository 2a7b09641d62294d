// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/descriptors.hh>

#include <algorithm>
#include <cerrno>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/io/submit.hh>

namespace weir::pipeline {

namespace {

using namespace std::chrono_literals;

/// Who shares a terminal or pipe with us may have set it to O_NONBLOCK, which is ours then, too:
/// it says EAGAIN instead of waiting, and all that is left is to ask again.
constexpr duration ask_again = 1ms;

/// One operation at a time that can be cancelled.
class stream_operation final : public io::operation {
  public:
    stream_operation() : operation(io::op::nop{}) {}

    future<std::int32_t> start(io::any_op asked) {
        what = asked;
        _result = {};
        future<std::int32_t> result = _result.get_future();
        io::this_backend().start(*this);
        return result;
    }
    void cancel() noexcept {
        if (_result.open()) {
            io::this_backend().cancel(*this);
        }
    }
    void complete(const io::completion& outcome) noexcept override {
        _result.set_value(outcome.result);
    }

  private:
    promise<std::int32_t> _result;
};

class reader final : public byte_reader {
  public:
    reader(int fd, descriptor_options options) : _fd(fd), _options(std::move(options)) {}

    future<buffer> read() override {
        buffer memory = std::exchange(_spare, {});
        if (memory.empty()) {
            memory = buffer::allocate(_options.buffer_bytes);
        }
        while (!_stop.requested()) {
            const std::span<std::byte> into = memory.writable();
            const std::int32_t result = co_await _operation.start(
                io::op::read_stream{_fd, into.data(), static_cast<std::uint32_t>(into.size())});
            if (result == -EAGAIN) {
                co_await pause();
            } else if (result < 0 && result != -EINTR) {
                throw error::from_errno("read", _options.name, -result);
            } else if (result >= 0) {
                co_return fitting(std::move(memory), static_cast<std::size_t>(result));
            }
        }
        co_return buffer();
    }
    void stop() noexcept override {
        _stop.request();
        _operation.cancel();
    }
    future<> close() override { return make_ready_future(); }

  private:
    future<> pause() {
        co_await sleep_for(ask_again, _stop).then_wrapped([](future<> ended) {
            std::move(ended).ignore();
        });
    }

    /// A line typed at a terminal must not hold the memory of thousands.
    buffer fitting(buffer memory, std::size_t size) {
        if (size < memory.size() / 4) {
            buffer result = buffer::copy_of(memory.bytes().first(size));
            _spare = std::move(memory);
            return result;
        }
        memory.truncate(size);
        return memory;
    }

    const int _fd;
    const descriptor_options _options;
    stream_operation _operation;
    abort_source _stop;
    buffer _spare;
};

class writer final : public byte_writer {
  public:
    writer(int fd, std::string name) : _fd(fd), _name(std::move(name)) {}

    future<> write(std::span<const iovec> parts) override {
        iovec left[byte_parts_max];
        std::size_t count = parts.size();
        std::ranges::copy(parts, left);
        iovec* first = left;
        while (count != 0) {
            const std::int32_t result = co_await _operation.start(
                io::op::write_stream{_fd, first, static_cast<std::uint32_t>(count)});
            if (result == -EAGAIN) {
                co_await sleep_for(ask_again);
            } else if (result < 0 && result != -EINTR) {
                throw error::from_errno("write", _name, -result);
            }
            auto written = static_cast<std::size_t>(std::max(result, 0));
            for (; count != 0 && written >= first->iov_len; ++first, --count) {
                written -= first->iov_len;
            }
            if (count != 0) {
                first->iov_base = static_cast<std::byte*>(first->iov_base) + written;
                first->iov_len -= written;
            }
        }
    }
    future<> close() override { return make_ready_future(); }

  private:
    const int _fd;
    const std::string _name;
    stream_operation _operation;
};

}  // namespace

make_reader descriptor_reader(int fd, descriptor_options options) {
    return [fd, options = std::move(options)] { return std::make_unique<reader>(fd, options); };
}

make_writer descriptor_writer(int fd, std::string name) {
    return [fd, name = std::move(name)] { return std::make_unique<writer>(fd, name); };
}

source_of<block> descriptor_blocks(int fd, descriptor_options options) {
    std::string name = options.name;
    return blocks_from(std::move(name), descriptor_reader(fd, std::move(options)));
}

source_of<line> descriptor_lines(int fd, descriptor_options options) {
    std::string name = options.name;
    const line_options lines = options.lines;
    return lines_from(name, name, descriptor_reader(fd, std::move(options)), lines);
}

}  // namespace weir::pipeline
