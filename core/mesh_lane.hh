// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include <weir/core/mesh.hh>

// For mesh.cc: what lies between two shards.
namespace weir {

/// The rings of one shard's calls to another. The caller makes them and they are its memory, but
/// what the callee writes it touches first.
struct mesh_port::channel {
    explicit channel(const mesh_options& options)
        : request_ring(options.capacity()),
          reply_ring(options.capacity()),
          requests_out(request_ring.open()),
          replies_out(reply_ring.open()),
          requests_in(*requests_out.join()),
          replies_in(*replies_out.join()) {}

    ring<call_message> request_ring;
    ring<call_reply> reply_ring;
    // The caller's are requests_out and replies_in, the callee's replies_out and requests_in.
    ring<call_message>::producer requests_out;
    ring<call_reply>::producer replies_out;
    ring<call_message>::reader requests_in;
    ring<call_reply>::reader replies_in;
};

/// Everything between this shard and one peer.
struct mesh_port::lane {
    struct level {
        unsigned credits = 0;
        call_record* first_waiting = nullptr;
        call_record* last_waiting = nullptr;
    };

    shard_id peer = 0;
    bool touched = false;
    unsigned waiting = 0;          // calls, of all levels
    std::unique_ptr<channel> out;  // our calls
    channel* in = nullptr;         // the peer's, as far as we know
    std::array<level, mesh_options::levels> levels;
};

}  // namespace weir
