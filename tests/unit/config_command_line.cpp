// The command line: spellings of names and values, errors, help.
#include <catch2/catch.hpp>

#include "config/command_line.h"
#include "core/error.h"
#include "support/config_fixture.h"

namespace tandem::test::config_command_line_unit {

using Catch::Matchers::Contains;
using Args = std::vector<std::string>;

namespace {
const std::vector<Option> kExtra = {{.name = "dry_run",
                                     .type = OptionType::kFlag,
                                     .default_value = "false",
                                     .neutral = "false",
                                     .help = "say what would be done"},
                                    {.name = "limit",
                                     .type = OptionType::kInt,
                                     .default_value = "10",
                                     .neutral = "0",
                                     .help = "most rows",
                                     .minimum = 1}};
}

TEST_CASE("names take dashes or underscores, values a space or '='", "[unit]") {
  const Settings expected = {{"weight_decay", "1e-4"}};
  CHECK(parse_settings({"--weight-decay", "1e-4"}) == expected);
  CHECK(parse_settings({"--weight_decay", "1e-4"}) == expected);
  CHECK(parse_settings({"--weight-decay=1e-4"}) == expected);
  CHECK(parse_settings({"--weight_decay=1e-4"}) == expected);
  CHECK(parse_settings({}).empty());
  CHECK(parse_settings({"--db", "some-dir/a-b"}) == Settings{{"db", "some-dir/a-b"}});
  CHECK(parse_settings({"--db=some-dir/a-b=c"}) == Settings{{"db", "some-dir/a-b=c"}});
  CHECK(parse_settings({"--exempt="}) == Settings{{"exempt", ""}});
}

TEST_CASE("negative numbers and lists are values", "[unit]") {
  CHECK(parse_settings({"--seed-data", "-1", "--seed", "1..5"}) ==
        Settings{{"seed_data", "-1"}, {"seed", "1..5"}});
}

TEST_CASE("flags stand alone or take =value", "[unit]") {
  CHECK(parse_settings({"--nesterov"}) == Settings{{"nesterov", "true"}});
  CHECK(parse_settings({"--nesterov=false", "--final"}) ==
        Settings{{"nesterov", "false"}, {"final", "true"}});
  const ParsedArguments parsed = parse_arguments({"--nesterov", "grid.ini"});
  CHECK(parsed.settings == Settings{{"nesterov", "true"}});
  CHECK(parsed.positionals == Args{"grid.ini"});
}

TEST_CASE("extra options and positionals are kept apart", "[unit]") {
  const ParsedArguments parsed =
      parse_arguments({"a.ini", "--dry-run", "--lr", "0.5", "b.ini"}, kExtra);
  CHECK(parsed.settings == Settings{{"lr", "0.5"}});
  CHECK(parsed.extra == Settings{{"dry_run", "true"}});
  CHECK(parsed.positionals == Args{"a.ini", "b.ini"});
  CHECK(extra_value(parsed, kExtra[0]) == "true");
  CHECK(extra_value(parsed, kExtra[1]) == "10");
  CHECK_THROWS_AS(extra_value(parse_arguments({"--limit", "0"}, kExtra), kExtra[1]), ConfigError);
  CHECK(parse_settings({"--dry-run", "--lr=1"}, kExtra) ==
        Settings{{"dry_run", "true"}, {"lr", "1"}});
  CHECK(parse_arguments({"--", "--lr"}).positionals == Args{"--lr"});
}

TEST_CASE("unknown options name the nearest; abbreviations are not guessed", "[unit]") {
  CHECK_THROWS_AS(parse_settings({"--weigths", "set"}), ConfigError);
  CHECK_THROWS_WITH(parse_settings({"--weigths", "set"}),
                    Contains("unknown option 'weigths'; did you mean weights"));
  CHECK_THROWS_WITH(parse_settings({"--drop-fracton=1"}), Contains("drop_fraction"));
  CHECK_THROWS_AS(parse_settings({"--momen", "0.5"}), ConfigError);
  CHECK_THROWS_AS(parse_settings({"-x"}), ConfigError);
  CHECK_THROWS_WITH(parse_settings({"--limti", "3"}, kExtra), Contains("did you mean limit"));
  CHECK_THROWS_WITH(parse_settings({"stray"}), Contains("'stray'"));
}

TEST_CASE("missing values and doubled options are refused", "[unit]") {
  CHECK_THROWS_WITH(parse_settings({"--lr"}), Contains("option 'lr' needs a value"));
  CHECK_THROWS_WITH(parse_settings({"--lr", "--momentum", "0.5"}), Contains("lr"));
  CHECK_THROWS_WITH(parse_settings({"--lr", "1", "--lr", "2"}), Contains("'lr' is given twice"));
}

TEST_CASE("help shows every option with type, default, unit, choices and readers", "[unit]") {
  const test::ConfigFixture fixture;
  const std::string help = options_help(kExtra, fixture.tables());
  for (const auto& each : fixture.options.all()) {
    if (!each.retired.empty()) continue;
    CHECK_THAT(help, Contains("--" + each.name + " ") && Contains(each.help));
  }
  CHECK_THAT(help, Contains("this command:") && Contains("--dry_run"));
  CHECK_THAT(help,
             Contains("(real 0..1; default 0.3)") && Contains("read by weights=rigl, weights=set"));
  CHECK_THAT(help, Contains("one of dense | rigl | set | ssa | static; default dense"));
  CHECK_THAT(help, Contains("(int >= 1, steps; default 100)"));
  CHECK(help.find("training:") == help.rfind("training:"));
}

}  // namespace tandem::test::config_command_line_unit
