// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/file_system.hh>

#include <cerrno>

#include <broker/storage/names.hh>
#include <broker/storage/segment.hh>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>
#include <weir/io/file.hh>

namespace weir::broker {

namespace {

bool is_full(const error& failure) {
    return failure.is_errno(ENOSPC) || failure.is_errno(EDQUOT);
}

bool is_unknown(const error& failure) {
    return failure.is_errno(EINVAL) || failure.is_errno(EOPNOTSUPP) || failure.is_errno(ENOSYS);
}

/// returns  whether a page can be written so; true also where there is no space for it
future<bool> can_write(std::string path, bool direct) {
    try {
        io::file file = co_await io::file::open(path, {.mode = io::op::access::read_write,
                                                       .create = true,
                                                       .direct = direct,
                                                       .data_sync = true});
        const io::aligned_buffer page(page_size);
        co_await file.write(0, page.span());
        co_await file.close();
    } catch (const error& e) {
        if (direct && is_unknown(e)) {
            co_return false;
        }
        if (!is_full(e)) {
            throw;
        }
    }
    co_return true;
}

future<bool> can_allocate(std::string path) {
    try {
        io::file file =
            co_await io::file::open(path, {.mode = io::op::access::write, .create = true});
        co_await file.allocate(0, 2 * page_size);
        co_await file.close();
    } catch (const error& e) {
        if (is_unknown(e)) {
            co_return false;
        }
        if (!is_full(e)) {
            throw;
        }
    }
    co_return true;
}

void tell(const std::string& directory, const char* missing, const char* instead) {
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::warning, "file system lacks something",
                     {{"directory", directory}, {"missing", missing}, {"instead", instead}});
}

}  // namespace

future<file_system_abilities> probe_file_system(std::string directory) {
    const std::string path = fmt::format("{}/{}{}", directory, probe_name, unfinished_suffix);
    file_system_abilities found;
    found.direct = co_await can_write(path, true);
    if (!found.direct) {
        co_await can_write(path, false);
        tell(directory, "O_DIRECT", "written through the page cache");
    }
    found.allocate = co_await can_allocate(path);
    if (!found.allocate) {
        tell(directory, "fallocate", "zeros are written");
    }
    if (co_await io::exists(path)) {
        co_await io::unlink(path);
    }
    co_return found;
}

}  // namespace weir::broker
