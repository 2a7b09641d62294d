// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/pipeline.hh>

// What tests look at: a small pipeline with a slow stage, and what other programs say about what
// was drawn of it.
namespace weir::test {

inline std::vector<int> numbers(int count) {
    std::vector<int> list(static_cast<std::size_t>(count));
    std::iota(list.begin(), list.end(), 0);
    return list;
}

inline auto slowly(std::size_t window) {
    return pipeline::named("slow \"<1>\"", pipeline::map_async(window, [](int i) -> future<int> {
                               co_await sleep_for(std::chrono::milliseconds(1));
                               co_return i;
                           }));
}

inline pipeline::program three_stages(std::vector<int>& out, int count = 100) {
    return pipeline::from_list(numbers(count)) >>
           pipeline::named("double", pipeline::map([](int i) { return 2 * i; })) >> slowly(4) >>
           pipeline::collect(out);
}

inline bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

/// What another program says about a text that it reads; nothing if it is not here.
inline std::optional<int> checked_by(const std::string& command, const std::string& text) {
    const std::string name = command.substr(0, command.find(' '));
    if (std::system(("command -v " + name + " >/dev/null").c_str()) != 0) {  // NOLINT: of a test
        MESSAGE("skipped: no " << name);
        return std::nullopt;
    }
    std::FILE* const checker = ::popen(command.c_str(), "w");
    REQUIRE(checker != nullptr);
    std::fwrite(text.data(), 1, text.size(), checker);
    return ::pclose(checker);
}

inline void check_json(const std::string& text) {
    CHECK(checked_by("python3 -c 'import json,sys; json.load(sys.stdin)'", text).value_or(0) == 0);
}
inline void check_dot(const std::string& text) {
    CHECK(checked_by("dot -Tsvg -o /dev/null", text).value_or(0) == 0);
}
inline void check_xml(const std::string& text) {
    CHECK(
        checked_by("python3 -c 'import sys,xml.dom.minidom as m; m.parse(sys.stdin.buffer)'", text)
            .value_or(0) == 0);
}

}  // namespace weir::test
