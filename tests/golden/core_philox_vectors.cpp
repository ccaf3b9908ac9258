// Philox4x32-10 against the known answers of Random123 (Salmon et al., SC 2011), and the first
// draws of each named stream, which no change may move: every stored run depends on them.
#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "core/philox.h"

namespace tandem::test::core_philox_vectors_golden {

namespace {

std::vector<std::uint32_t> words(std::uint64_t key, std::uint64_t low, std::uint64_t high) {
  const PhiloxBlock block = philox4x32(key, low, high);
  return {block.word, block.word + 4};
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers", "[golden]") {
  CHECK(words(0, 0, 0) ==
        std::vector<std::uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t ones = ~std::uint64_t{0};
  CHECK(words(ones, ones, ones) ==
        std::vector<std::uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e) ==
        std::vector<std::uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("the first draws of the named streams of seed 1 stay", "[golden]") {
  const std::map<std::string, std::vector<std::uint64_t>> pinned = {
      {"data", {0xc2ad5ce09e9d774au, 0xd1de4d734f259673u, 201u, 0x0db2062cc65f6a41u}},
      {"classes", {0x5ae9dba530e307a0u, 0xda5e7b1cb484007fu, 124u, 0x56da8a1fd3f63849u}},
      {"init", {0x1361a5c454350986u, 0x4e8288aa2cca84cdu, 542u, 0x00676b9ff3c20423u}},
      {"topology", {0x048724124eff3a73u, 0x8f9e780bdfd1f464u, 624u, 0x3b3da0bc35b7637au}},
      {"streams", {0x4e538c6c3be16951u, 0x144dde988881a2dfu, 5u, 0x5ffb817c078d13a9u}},
  };
  for (const auto& [name, values] : pinned) {
    INFO(name);
    const RandomStream stream{stream_key(1, name)};
    CHECK(stream.bits(0) == values[0]);
    CHECK(stream.bits(1) == values[1]);
    CHECK(stream.below(2, 1000) == values[2]);
    CHECK(RandomStream{sub_key(stream.key, 3)}.bits(0) == values[3]);
  }
}

}  // namespace tandem::test::core_philox_vectors_golden
