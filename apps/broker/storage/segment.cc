// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment.hh>

#include <algorithm>

#include <broker/storage/names.hh>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

constexpr std::size_t offset_entry_bytes = segment_index::offset_entry_bytes;
constexpr std::size_t time_entry_bytes = segment_index::time_entry_bytes;

/// Reads entries of a file: all, or the last `most`.
/// returns  null if it has more than `limit`, or not only whole ones
future<std::optional<std::vector<std::byte>>> read_entries(std::string path,
                                                           std::size_t entry_bytes,
                                                           std::uint64_t limit,
                                                           std::uint64_t most) {
    io::file from = co_await io::file::open(std::move(path), {});
    const std::uint64_t size = co_await from.size();
    std::optional<std::vector<std::byte>> bytes;
    if (size / entry_bytes <= limit && size % entry_bytes == 0) {
        bytes.emplace(std::min(size, std::min(limit, most) * entry_bytes));
        bytes->resize(co_await from.read(size - bytes->size(), *bytes));
    }
    co_await from.close();
    co_return bytes;
}

/// What the index files of a sealed segment have, or their last entries.
struct index_files {
    std::vector<std::byte> offsets;
    std::vector<std::byte> times;
};

/// returns  null if they are missing or too large for the segment
future<std::optional<index_files>> read_index_files(std::string directory, std::int64_t base_offset,
                                                    std::uint64_t data_bytes, std::uint64_t most) {
    const std::string offsets = segment_path(directory, base_offset, index_suffix);
    const std::string times = segment_path(directory, base_offset, time_index_suffix);
    if (!co_await io::exists(offsets) || !co_await io::exists(times)) {
        co_return std::nullopt;
    }
    // At most an entry for each batch, and one more.
    const std::uint64_t entries = data_bytes / protocol::batch_view::header_size + 1;
    auto offset_bytes = co_await read_entries(offsets, offset_entry_bytes, entries, most);
    auto time_bytes = co_await read_entries(times, time_entry_bytes, entries, most);
    if (!offset_bytes || !time_bytes) {
        co_return std::nullopt;
    }
    co_return index_files{std::move(*offset_bytes), std::move(*time_bytes)};
}

}  // namespace

future<io::file> open_segment_file(const std::string& path, const log_options& options,
                                   io::op::access mode, bool data_sync) {
    return io::file::open(path, {.mode = mode, .direct = options.direct, .data_sync = data_sync});
}

segment_index empty_index(std::int64_t base_offset, const log_options& options) {
    return {base_offset, options.index_interval_bytes, options.max_index_entries};
}

future<std::vector<std::byte>> read_small_file(std::string path, std::size_t limit) {
    auto bytes = co_await read_entries(path, 1, limit, UINT64_MAX);
    if (!bytes) {
        throw error("read", path, errc::limit_exceeded);
    }
    co_return std::move(*bytes);
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
    sealed.has_index = true;
    sealed.index.finish();
    co_await replace_file(segment_path(directory, sealed.base_offset, time_index_suffix),
                          sealed.index.encode_times());
    co_await replace_file(segment_path(directory, sealed.base_offset, index_suffix),
                          sealed.index.encode_offsets());
    co_await io::sync_directory(directory);
    sealed.index.drop_entries();
    sealed.sealed = true;
}

future<> unseal(std::string directory, segment& opened) {
    WEIR_ASSERT(!opened.sealed);
    for (const std::string_view suffix : {index_suffix, time_index_suffix}) {
        const std::string path = segment_path(directory, opened.base_offset, suffix);
        if (co_await io::exists(path)) {
            co_await io::unlink(path);
        }
    }
    co_await io::sync_directory(directory);
    opened.has_index = false;
}

future<std::optional<segment_index>> load_index(std::string directory, std::int64_t base_offset,
                                                std::uint64_t data_bytes,
                                                const log_options& options) {
    const auto files =
        co_await read_index_files(std::move(directory), base_offset, data_bytes, UINT64_MAX);
    auto loaded = empty_index(base_offset, options);
    if (!files || !loaded.decode(files->offsets, files->times)) {
        co_return std::nullopt;
    }
    co_return std::move(loaded);
}

future<std::optional<segment_index>> load_index_end(std::string directory, std::int64_t base_offset,
                                                    std::uint64_t data_bytes,
                                                    const log_options& options) {
    const auto files = co_await read_index_files(std::move(directory), base_offset, data_bytes, 1);
    auto loaded = empty_index(base_offset, options);
    if (!files || !loaded.decode_last(files->offsets, files->times)) {
        co_return std::nullopt;
    }
    co_return std::move(loaded);
}

}  // namespace weir::broker
