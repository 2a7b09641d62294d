// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment.hh>

#include <broker/storage/names.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

/// An index of a segment of the largest size with the smallest batches is not larger.
constexpr std::size_t largest_index = std::size_t{256} << 20;

}  // namespace

future<io::file> open_segment_file(const std::string& path, const log_options& options,
                                   io::op::access mode, bool data_sync) {
    return io::file::open(path, {.mode = mode, .direct = options.direct, .data_sync = data_sync});
}

future<std::vector<std::byte>> read_small_file(std::string path, std::size_t limit) {
    io::file from = co_await io::file::open(path, {});
    const std::uint64_t size = co_await from.size();
    if (size > limit) {
        throw error("read", path, errc::limit_exceeded);
    }
    std::vector<std::byte> bytes(size);
    bytes.resize(co_await from.read(0, bytes));
    co_await from.close();
    co_return bytes;
}

future<> replace_file(std::string path, std::vector<std::byte> bytes) {
    const std::string unfinished = path + std::string(unfinished_suffix);
    io::file to = co_await io::file::open(
        unfinished, {.mode = io::op::access::write, .create = true, .truncate = true});
    if (!bytes.empty()) {
        co_await to.write(0, bytes);
    }
    co_await to.sync(true);
    co_await to.close();
    co_await io::rename(unfinished, path);
}

future<> seal(std::string directory, segment& sealed, const log_options& options) {
    const std::string path = segment_path(directory, sealed.base_offset, log_suffix);
    io::file data = co_await open_segment_file(path, options, io::op::access::write);
    co_await data.truncate(sealed.size);
    co_await data.sync(true);
    co_await data.close();
    co_await write_index_files(directory, sealed, options);
}

future<> write_index_files(std::string directory, segment& sealed, const log_options& options) {
    sealed.index.finish();
    co_await replace_file(segment_path(directory, sealed.base_offset, time_index_suffix),
                          sealed.index.encode_times());
    co_await replace_file(segment_path(directory, sealed.base_offset, index_suffix),
                          sealed.index.encode_offsets());
    co_await io::sync_directory(directory);
    sealed.index.thin(options.max_index_entries);
    sealed.sealed = true;
}

future<> unseal(std::string directory, segment& opened, const log_options& options) {
    // In memory the index may be thinner than on disk.
    if (!co_await load_index(directory, opened, options)) {
        throw error("read index of", segment_path(directory, opened.base_offset, index_suffix),
                    errc::corrupt);
    }
    co_await io::unlink(segment_path(directory, opened.base_offset, index_suffix));
    co_await io::unlink(segment_path(directory, opened.base_offset, time_index_suffix));
    co_await io::sync_directory(directory);
    opened.sealed = false;
}

future<bool> load_index(std::string directory, segment& loaded, const log_options& options) {
    const std::string offsets = segment_path(directory, loaded.base_offset, index_suffix);
    const std::string times = segment_path(directory, loaded.base_offset, time_index_suffix);
    if (!co_await io::exists(offsets) || !co_await io::exists(times)) {
        co_return false;
    }
    loaded.index = segment_index(loaded.base_offset, options.index_interval_bytes);
    co_return loaded.index.decode(co_await read_small_file(offsets, largest_index),
                                  co_await read_small_file(times, largest_index));
}

}  // namespace weir::broker
