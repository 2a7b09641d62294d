// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include <broker/storage/names.hh>

#include "bed.hh"

namespace weir::broker::storage_test {

/// The files of a directory, by name.
using contents = std::map<std::string, std::vector<std::byte>>;

inline future<contents> take_contents(std::string directory) {
    contents all;
    for (const std::string& name : co_await io::list_directory(directory)) {
        all[name] = co_await read_small_file(directory + "/" + name, 4 << 20);
    }
    co_return all;
}

/// Makes the directory hold exactly these files.
inline future<> put_contents(std::string directory, contents all) {
    co_await io::make_directories(directory);
    for (const std::string& name : co_await io::list_directory(directory)) {
        co_await io::unlink(directory + "/" + name);
    }
    for (auto& [name, bytes] : all) {
        co_await replace_file(directory + "/" + name, bytes);
    }
}

/// Where each batch of a .log file starts; the last is the end of the data.
inline std::vector<std::size_t> batch_starts(std::span<const std::byte> bytes) {
    std::vector<std::size_t> starts{0};
    protocol::batch_walk walk(bytes);
    while (const auto batch = walk.next()) {
        starts.push_back(starts.back() + batch->bytes().size());
    }
    return starts;
}

/// Makes the checksum of a batch right again after somebody changed it.
inline void repair_checksum(std::span<std::byte> batch) {
    protocol::store_big(batch.data() + 17, protocol::crc32c(batch.subspan(21)));
}

}  // namespace weir::broker::storage_test
