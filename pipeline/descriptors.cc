// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/descriptors.hh>

#include <algorithm>

#include <weir/core/abort.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/descriptor.hh>

namespace weir::pipeline {

namespace {

class reader final : public byte_reader {
  public:
    reader(int fd, descriptor_options options)
        : _from(fd, options.name), _options(std::move(options)) {}

    future<buffer> read() override {
        buffer memory = std::exchange(_spare, {});
        if (memory.empty()) {
            memory = buffer::allocate(_options.buffer_bytes);
        }
        future<std::size_t> next = _from.read(memory.writable(), &_stop);
        co_await settled(next);
        if (next.failed() && _stop.requested()) {
            std::move(next).ignore();
            co_return buffer();
        }
        co_return fitting(std::move(memory), next.take());
    }
    void stop() noexcept override { _stop.request(); }
    future<> close() override { return make_ready_future(); }

  private:
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

    io::descriptor _from;
    const descriptor_options _options;
    abort_source _stop;
    buffer _spare;
};

class writer final : public byte_writer {
  public:
    writer(int fd, std::string name) : _to(fd, std::move(name)) {}

    future<> write(std::span<const iovec> parts) override {
        iovec left[byte_parts_max];
        std::ranges::copy(parts, left);
        co_await _to.write(std::span(left, parts.size()), &_stop);
    }
    void stop() noexcept override { _stop.request(); }
    future<> close() override { return make_ready_future(); }

  private:
    io::descriptor _to;
    abort_source _stop;
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
