// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/files.hh>

#include <optional>

#include <weir/core/abort.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>

namespace weir::pipeline {

namespace {

class file_reader final : public byte_reader {
  public:
    file_reader(std::string path, const file_options& options)
        : _path(std::move(path)), _options(options) {}

    future<buffer> read() override {
        if (_stream) [[likely]] {
            return _stream->read();
        }
        return begin();
    }
    void stop() noexcept override {
        _stop.request();
        if (_stream) {
            _stream->stop();
        }
    }
    future<> close() override {
        if (_stream) {
            co_await _stream->close();
        }
        if (_file.is_open()) {
            co_await _file.close();
        }
    }

  private:
    future<buffer> begin() {
        future<io::file> opened = io::file::open(_path, {}, &_stop);
        co_await settled(opened);
        if (_stop.requested() && opened.failed()) {  // a FIFO that nobody writes
            std::move(opened).ignore();
            co_return buffer();
        }
        _file = opened.take();
        _stream.emplace(_file, _options.offset, _options.read);
        if (_stop.requested()) {
            co_return buffer();
        }
        co_return co_await _stream->read();
    }

    const std::string _path;
    const file_options _options;
    abort_source _stop;
    io::file _file;
    std::optional<io::input_stream> _stream;
};

class writer final : public byte_writer {
  public:
    writer(std::string path, io::stream_options options)
        : _path(std::move(path)), _options(options) {}

    future<> write(std::span<const iovec> parts) override {
        if (!_stream) {
            co_await open();
        }
        for (const iovec& each : parts) {
            co_await _stream->write({static_cast<const std::byte*>(each.iov_base), each.iov_len});
        }
    }
    void stop() noexcept override { _stop.request(); }
    future<> close() override {
        if (!_stream && !_failed) {
            co_await open();  // a pipeline that gives nothing makes an empty file
        }
        if (_stream) {
            co_await _stream->close().finally([this] { return _file.close(); });
        }
    }

  private:
    future<> open() {
        _failed = true;
        _file = co_await io::file::open(
            _path, {.mode = io::op::access::read_write, .create = true, .truncate = true}, &_stop);
        _failed = false;
        _stream.emplace(_file, 0, _options);
    }

    const std::string _path;
    const io::stream_options _options;
    io::file _file;
    bool _failed = false;
    abort_source _stop;
    std::optional<io::output_stream> _stream;
};

}  // namespace

source_of<block> file_blocks(std::string path, file_options options) {
    return blocks_from(
        "file",
        [path = std::move(path), options] { return std::make_unique<file_reader>(path, options); },
        options.offset);
}

source_of<line> file_lines(std::string path, file_options options) {
    return lines_from(
        "file", path, [path, options] { return std::make_unique<file_reader>(path, options); },
        options.lines, options.offset);
}

make_writer file_writer(std::string path, io::stream_options options) {
    return [path = std::move(path), options] { return std::make_unique<writer>(path, options); };
}

}  // namespace weir::pipeline
