// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <wordcount/count.hh>

TEST_SUITE_BEGIN("apps/wordcount");

namespace {

using namespace wordcount;

struct counted {
    std::uint64_t lines = 0;
    std::uint64_t words = 0;
    std::uint64_t characters = 0;
    friend bool operator==(const counted&, const counted&) = default;
};

const std::shared_ptr<const character_classes>& classes() {
    static const auto all = std::make_shared<const character_classes>();
    return all;
}

/// Counts a text that comes in pieces of lengths that `next()` gives.
template <typename Next>
counted count(std::string_view text, Next next) {
    line_counter lines;
    word_counter words(classes());
    character_counter characters;
    while (!text.empty()) {
        const std::size_t size = std::min<std::size_t>(next(), text.size());
        const bytes part = std::as_bytes(std::span(text.substr(0, size)));
        lines.add(part);
        words.add(part);
        characters.add(part);
        text.remove_prefix(size);
    }
    return {lines.total(), words.total(), characters.total()};
}

counted whole(std::string_view text) {
    return count(text, [&] { return text.size(); });
}

}  // namespace

TEST_CASE("words part at spaces, and what can't be printed makes none") {
    CHECK(whole("") == counted{0, 0, 0});
    CHECK(whole("so it\nflows") == counted{1, 3, 11});
    CHECK(whole(" \t\v\f\r\n") == counted{1, 0, 6});
    CHECK(whole("a\x01"
                "b \x7f") == counted{0, 1, 5});
    CHECK(whole("a\xc2\xa0"
                "b\xe3\x80\x80"
                "c\xe2\x80\xa8"
                "d") == counted{0, 3, 7});
}

TEST_CASE("bytes that are no UTF-8 neither count nor end a word") {
    CHECK(whole("a\xff"
                "b \xff") == counted{0, 1, 3});
    CHECK(whole("\xed\xa0\x80 \xc0\x80 \xe0\x80\x80 \xf0\x80\x80\x80") == counted{0, 0, 3});
    CHECK(whole("\xf4\x90\x80\x80\xf8\x88\x80\x80\x80\xfd\xbf\xbf\xbf\xbf\xbf") ==
          counted{0, 0, 3});
    CHECK(whole("\xe2\x82") == counted{0, 0, 0});
}

TEST_CASE("it does not matter where blocks end") {
    constexpr std::string_view strides =
        "a plain text that fills whole strides of sixty-four bytes, one after the other ";
    const std::string_view pieces[] = {
        "word", " ",        "\n",   "\xc3\xa9",     "\xe2\x82\xac", "\xf0\x9f\x99\x82",
        "\xff", "\xf0\x9f", "\x01", "\xe3\x80\x80", "\xc2\xa0",     "\xfd\xbf\xbf\xbf\xbf\xbf",
        "\xe2", strides};
    std::uint64_t state = 88172645463325252U;
    const auto random = [&state] {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    };
    for (int round = 0; round < 300; ++round) {
        CAPTURE(round);
        std::string text;
        for (std::uint64_t i = random() % 60; i != 0; --i) {
            text += pieces[random() % std::size(pieces)];
        }
        const counted expected = count(text, [&] { return 1; });
        CHECK(whole(text) == expected);
        for (const std::uint64_t most : {2, 3, 7, 70, 200}) {
            CHECK(count(text, [&] { return random() % most + 1; }) == expected);
        }
    }
}
