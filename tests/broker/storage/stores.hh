// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <broker/storage/store.hh>

#include "bed.hh"

namespace weir::broker::storage_test {

/// Opens a store of all partitions of which there is a directory, and waits until each was tried.
inline future<std::unique_ptr<store>> open_store(std::string directory, store_options options) {
    std::vector<topic_partition> there;
    for (const std::string& name : co_await io::list_directory(directory)) {
        if (const auto which = partition_of_directory(name)) {
            there.push_back(*which);
        }
    }
    auto opened = co_await store::open(directory, options, std::move(there));
    co_await opened->opened();
    co_return opened;
}

}  // namespace weir::broker::storage_test
