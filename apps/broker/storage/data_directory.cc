// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/data_directory.hh>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

#include <broker/storage/names.hh>
#include <broker/storage/segment.hh>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

constexpr std::size_t largest_meta = 64 << 10;
constexpr std::string_view our_version = "1";

/// "key=value" lines; '#' starts a comment.
std::map<std::string, std::string> parse_properties(std::string_view text) {
    std::map<std::string, std::string> found;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const std::size_t equals = line.find('=');
        if (!line.starts_with('#') && equals != std::string_view::npos) {
            found.emplace(line.substr(0, equals), line.substr(equals + 1));
        }
    }
    return found;
}

error foreign(const std::string& path, std::string_view why) {
    return {"open data directory", fmt::format("{} ({})", path, why), errc::corrupt};
}

/// returns  the cluster's id, null if a program wrote it that knew none
future<std::optional<uuid>> check_meta(std::string path, std::int32_t node_id) {
    const auto bytes = co_await read_small_file(path + "/" + std::string(meta_name), largest_meta);
    const auto found = parse_properties(
        std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    const auto version = found.find("version");
    if (version == found.end() || version->second != our_version) {
        throw foreign(path, "meta.properties is of no version that weir knows");
    }
    const auto node = found.find("node.id");
    if (node == found.end() || node->second != fmt::to_string(node_id)) {
        throw foreign(path, "meta.properties has another node.id");
    }
    const auto cluster = found.find("cluster.id");
    if (cluster == found.end()) {
        co_return std::nullopt;
    }
    const auto id = uuid_of(cluster->second);
    if (!id) {
        throw foreign(path, "meta.properties has no cluster.id that can be one");
    }
    co_return id;
}

future<> write_meta(std::string path, std::int32_t node_id, uuid cluster) {
    const std::string text = fmt::format("version={}\nnode.id={}\ncluster.id={}\n", our_version,
                                         node_id, to_text(cluster));
    std::vector<std::byte> bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    co_await replace_file(path + "/" + std::string(meta_name), std::move(bytes));
    co_await io::sync_directory(path);
}

}  // namespace

data_directory::data_directory(std::string path, uuid cluster, io::file lock) noexcept
    : _path(std::move(path)), _cluster(cluster), _lock(std::move(lock)) {}

future<data_directory> data_directory::open(std::string path, std::int32_t node_id) {
    co_await io::make_directories(path);
    // Looked at before anything is written: a wrong path must not leave a trace.
    bool has_meta = false;
    bool has_others = false;
    for (const std::string& name : co_await io::list_directory(path)) {
        has_meta = has_meta || name == meta_name;
        has_others =
            has_others || (name != lock_name && name != "lost+found" && !is_unfinished(name));
    }
    if (has_others && !has_meta) {
        throw foreign(path, "not empty, and without meta.properties");
    }
    io::file lock = co_await io::file::open(path + "/" + std::string(lock_name),
                                            {.mode = io::op::access::write, .create = true});
    if (!co_await lock.lock()) {
        throw error::from_errno("open data directory", path + " (in use by another broker)", EBUSY);
    }
    std::optional<uuid> cluster;
    if (has_meta) {
        cluster = co_await check_meta(path, node_id);
    }
    if (!cluster) {
        cluster = random_uuid();
        co_await write_meta(path, node_id, *cluster);
    }
    co_return data_directory(std::move(path), *cluster, std::move(lock));
}

}  // namespace weir::broker
