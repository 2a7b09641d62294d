// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include <broker/protocol/message.hh>
#include <broker/protocol/messages.hh>
#include <broker/protocol/printer.hh>

#include <weir/core/assert.hh>

namespace {

using namespace weir::broker::protocol;

/// Whatever decodes must encode, decode and encode again to the same bytes: the first encoding
/// may differ from the input, which has more than one way to say true or an unknown tag.
template <class Message>
void round_trip(byte_view body, std::int16_t version) {
    reader in(body);
    Message first;
    if (!decode(in, version, first)) {
        WEIR_ASSERT(!in.failed_field().empty());
        return;
    }
    writer once;
    encode(once, version, first);
    const auto bytes = std::move(once).finish().flat();
    WEIR_ASSERT(bytes.size() <= body.size());
    reader again(bytes);
    Message second;
    WEIR_ASSERT(decode(again, version, second));
    WEIR_ASSERT(first == second);
    WEIR_ASSERT(!print(first, version).empty());
}

}  // namespace

/// A request frame; and the same bytes as each body, since most frames name no API.
// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const byte_view input(reinterpret_cast<const std::byte*>(data), size);
    reader in(input);
    const request_header header = decode_header(in);
    const byte_view body = input.last(in.remaining());
    for_each_exchange([&]<class Exchange>(Exchange) {
        using request = typename Exchange::request;
        using response = typename Exchange::response;
        if (find_api(request::key)->advertised.contains(header.version)) {
            if (header.key == request::key && in.ok()) {
                round_trip<request>(body, header.version);
            }
            round_trip<request>(input.subspan(std::min<std::size_t>(size, 4)), header.version);
            round_trip<response>(input.subspan(std::min<std::size_t>(size, 4)), header.version);
        }
    });
    return 0;
}
