// For random settings: from_canonical(canonical()) is the same config; and so is resolving what it
// was read as.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>

#include "config/config.h"
#include "core/text.h"
#include "support/config_fixture.h"

namespace tandem::test::config_canonical_property {

namespace {

std::string random_number(const Option& option, std::mt19937_64& random) {
  const bool integer = option.type == OptionType::kInt || option.type == OptionType::kIntList;
  const double low = option.minimum.value_or(-1000);
  const double high = option.maximum.value_or(low + 1e6);
  if (integer) {
    std::uniform_int_distribution<std::int64_t> draw(static_cast<std::int64_t>(low),
                                                     static_cast<std::int64_t>(high));
    return std::to_string(draw(random));
  }
  return real_to_text(std::uniform_real_distribution<double>(low, high)(random));
}

std::string random_value(const Option& option, const PartTable& parts, std::mt19937_64& random) {
  const auto pick = [&](const std::vector<std::string>& from) {
    return from[random() % from.size()];
  };
  switch (option.type) {
    case OptionType::kFlag:
      return pick({"true", "false"});
    case OptionType::kChoice:
      return pick(option.choices.empty() ? parts.names_of(option.name) : option.choices);
    case OptionType::kText:
      return pick({"", "a", "a=b", "with, comma", "revision.x", "\xc3\xa9"});
    case OptionType::kIntList:
    case OptionType::kRealList: {
      std::vector<std::string> items;
      for (auto left = random() % 4; left > 0; --left)
        items.push_back(random_number(option, random));
      return join(items, ",");
    }
    case OptionType::kInt:
    case OptionType::kReal:
      break;
  }
  return random_number(option, random);
}

}  // namespace

TEST_CASE("canonical forms read back as the config they came from", "[property]") {
  const char* given = std::getenv("TANDEM_TEST_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  INFO("replay with TANDEM_TEST_SEED=" << seed);
  std::mt19937_64 random(seed);
  const test::ConfigFixture fixture;
  for (int trial = 0; trial < 200; ++trial) {
    Settings said;
    for (const auto& each : fixture.options.all()) {
      if (random() % 3 == 0) said[each.name] = random_value(each, fixture.parts, random);
    }
    const Config config = fixture.resolve(said, false);
    INFO(config.canonical());
    const Config read = Config::from_canonical(config.canonical(), fixture.tables());
    REQUIRE(read.canonical() == config.canonical());
    REQUIRE(read.id() == config.id());
    for (const auto& each : fixture.options.all()) {
      INFO(each.name);
      if (each.scope == OptionScope::kRun) REQUIRE(read.text(each.name) == config.text(each.name));
    }
    REQUIRE(fixture.resolve(config.given()).id() == config.id());
    REQUIRE(fixture.resolve(config.values()).id() == config.id());
    REQUIRE(fixture.resolve(config.values()).values() == config.values());
    REQUIRE(fixture.resolve(read.values()).id() == config.id());
  }
}

}  // namespace tandem::test::config_canonical_property
