// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <weir/core/assert.hh>
#include <weir/net/http_parser.hh>

namespace {

using namespace weir::net;

/// All whole requests in `input`, given in pieces of `step` bytes. A bad end may be seen sooner
/// or later.
std::string told(std::string_view input, std::size_t step, const http_options& limits) {
    http_parser parser(limits);
    std::string unread, all;
    for (std::size_t at = 0;;) {
        http_request request;
        const std::string moved = unread;
        const auto outcome = parser.parse(moved, request);
        switch (outcome.made) {
            case http_parser::progress::more:
                if (at == input.size()) {
                    return all;
                }
                unread += input.substr(at, step);
                at += std::min(step, input.size() - at);
                break;
            case http_parser::progress::bad:
                WEIR_ASSERT(outcome.status >= 400 && outcome.status <= 505);
                return all;
            case http_parser::progress::complete:
                WEIR_ASSERT(outcome.consumed > 0 && outcome.consumed <= moved.size());
                all.append(request.method).append(" ").append(request.path);
                all.append("?").append(request.query).append(request.keep_alive ? " keep" : "");
                for (const http_field& each : request.fields) {
                    all.append("\n").append(each.name).append("=").append(each.value);
                }
                for (const http_field& each : request.trailers) {
                    all.append("\ntrailer ").append(each.name).append("=").append(each.value);
                }
                all.append("\n").append(request.body).append("\n\n");
                WEIR_ASSERT(request.fields.size() + request.trailers.size() <=
                            limits.header_fields_max);
                WEIR_ASSERT(request.path.starts_with('/') || request.method == "CONNECT" ||
                            (request.method == "OPTIONS" && request.path == "*"));
                WEIR_ASSERT(request.version >= 11 || !request.keep_alive ||
                            request.field("Transfer-Encoding").empty());
                WEIR_ASSERT(request.body.size() <= limits.body_bytes_max);
                unread.erase(0, outcome.consumed);
                break;
        }
    }
}

}  // namespace

/// A connection's bytes: their cuts must not matter, and the limits hold.
// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    http_options limits;
    limits.header_bytes_max = 512;
    limits.header_fields_max = 8;
    limits.body_bytes_max = 256;
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    WEIR_ASSERT(told(input, input.size() + 1, limits) == told(input, 1 + data[0] % 16, limits));
    return 0;
}
