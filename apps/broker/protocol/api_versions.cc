// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/api_versions.hh>

#include <algorithm>

namespace weir::broker::protocol {

namespace {

bool is_alphanumeric(char c) {
    return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9');
}

/// Letters and digits, inside also '-' and '.' (KIP-511).
bool is_software_name(std::string_view name) {
    const auto inner = [](char c) { return is_alphanumeric(c) || c == '-' || c == '.'; };
    return !name.empty() && is_alphanumeric(name.front()) && is_alphanumeric(name.back()) &&
           std::all_of(name.begin(), name.end(), inner);
}

}  // namespace

api_versions_answer answer_api_versions(const api_versions_request& request, std::int16_t version) {
    api_versions_answer answer{{}, version};
    if (!find_api(api_key::api_versions)->served.contains(version)) {
        answer.body.error = error_code::unsupported_version;
        answer.version = 0;
        const version_range& own = find_api(api_key::api_versions)->advertised;
        answer.body.api_keys.push_back({api_key::api_versions, own.first, own.last});
        return answer;
    }
    if (version >= 3 && !(is_software_name(request.client_software_name) &&
                          is_software_name(request.client_software_version))) {
        answer.body.error = error_code::invalid_request;
        return answer;
    }
    for (const api& known : apis) {
        answer.body.api_keys.push_back({known.key, known.advertised.first, known.advertised.last});
    }
    return answer;
}

}  // namespace weir::broker::protocol
