// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace weir::broker {

/// What a topic or a cluster is, whatever it is called. In text it has 22 letters: base64 for
/// URLs, without padding.
/// source   Kafka Uuid
struct uuid {
    std::array<std::byte, 16> bytes{};

    friend bool operator==(const uuid&, const uuid&) = default;
};

/// A random one (version 4); its text does not begin with '-', which would look like an option.
/// thread   any shard
uuid random_uuid();
std::string to_text(const uuid& of);
/// returns  null for what to_text() does not write
std::optional<uuid> uuid_of(std::string_view text);

}  // namespace weir::broker
