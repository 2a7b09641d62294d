// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include <io/conformance.hh>
#include <netinet/in.h>

#include <weir/core/error.hh>
#include <weir/io/uring.hh>

namespace weir::io {

/// A new directory under the working one (on a real file system, unlike /tmp at times), removed
/// with all that is in it.
class scratch_directory {
  public:
    scratch_directory() {
        std::string name = std::filesystem::current_path() / "uring_test.XXXXXX";
        if (mkdtemp(name.data()) == nullptr) {
            throw error::from_errno("make", name, errno);
        }
        path = name;
    }
    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;
    ~scratch_directory() { std::filesystem::remove_all(path); }

    std::string path;
};

/// The kernel's own files and loopback sockets.
class uring_bed final : public conformance::test_bed {
  public:
    explicit uring_bed(const uring_options& options = small_buffers())
        : ring(make_uring(options, pool, cycle_counter::monotonic())) {}
    ~uring_bed() override { ring->stop(); }

    static uring_options small_buffers() {
        uring_options options;
        options.receive_buffers = 16;
        options.receive_buffer_bytes = 4096;
        return options;
    }
    backend& tested() override { return *ring; }
    std::string directory() override { return scratch.path; }
    sockaddr_storage any_port(socklen_t& length) override {
        sockaddr_in loopback{};
        loopback.sin_family = AF_INET;
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        length = sizeof loopback;
        sockaddr_storage address{};
        std::memcpy(&address, &loopback, sizeof loopback);
        return address;
    }
    void turn() override {
        ring->submit();
        ring->park(ring->now() + std::chrono::seconds(10));
        ring->poll();
    }
    const uring_statistics& statistics() const { return ring->statistics(); }

    scratch_directory scratch;
    thread_pool pool;
    std::unique_ptr<uring> ring;
};

}  // namespace weir::io
