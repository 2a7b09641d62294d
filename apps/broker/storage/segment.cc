// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment.hh>

#include <broker/storage/names.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

constexpr std::size_t offset_entry_bytes = segment_index::offset_entry_bytes;
constexpr std::size_t time_entry_bytes = segment_index::time_entry_bytes;

/// returns  the file's bytes, null if there are more than `limit`
future<std::optional<std::vector<std::byte>>> read_at_most(std::string path, std::size_t limit) {
    io::file from = co_await io::file::open(std::move(path), {});
    const std::uint64_t size = co_await from.size();
    std::optional<std::vector<std::byte>> bytes;
    if (size <= limit) {
        bytes.emplace(size);
        bytes->resize(co_await from.read(0, *bytes));
    }
    co_await from.close();
    co_return bytes;
}

}  // namespace

future<io::file> open_segment_file(const std::string& path, const log_options& options,
                                   io::op::access mode, bool data_sync) {
    return io::file::open(path, {.mode = mode, .direct = options.direct, .data_sync = data_sync});
}

future<std::vector<std::byte>> read_small_file(std::string path, std::size_t limit) {
    auto bytes = co_await read_at_most(path, limit);
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
    sealed.index.thin(options.max_index_entries);
    sealed.sealed = true;
}

future<> unseal(std::string directory, segment& opened, const log_options& options) {
    if (opened.sealed) {
        // In memory the index may be thinner than on disk. Readers use it until the other is there.
        auto index = co_await load_index(directory, opened.base_offset, opened.size, options);
        const auto last = index ? index->last() : std::nullopt;
        if (!index || (last ? last->last_offset + 1 : opened.base_offset) != opened.next_offset) {
            throw error("read index of", segment_path(directory, opened.base_offset, index_suffix),
                        errc::corrupt);
        }
        opened.index = std::move(*index);
        opened.sealed = false;
    }
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
    const std::string offsets = segment_path(directory, base_offset, index_suffix);
    const std::string times = segment_path(directory, base_offset, time_index_suffix);
    if (!co_await io::exists(offsets) || !co_await io::exists(times)) {
        co_return std::nullopt;
    }
    // At most an entry for each batch, and one more.
    const std::uint64_t entries = data_bytes / protocol::batch_view::header_size + 1;
    const auto offset_bytes = co_await read_at_most(offsets, entries * offset_entry_bytes);
    const auto time_bytes = co_await read_at_most(times, entries * time_entry_bytes);
    segment_index loaded(base_offset, options.index_interval_bytes);
    if (!offset_bytes || !time_bytes || !loaded.decode(*offset_bytes, *time_bytes)) {
        co_return std::nullopt;
    }
    co_return std::move(loaded);
}

}  // namespace weir::broker
