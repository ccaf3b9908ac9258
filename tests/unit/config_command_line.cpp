// The command line: spellings of names and values, errors, help.
#include <algorithm>
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

TEST_CASE("flags stand alone, or take a value that can only be theirs", "[unit]") {
  for (const char* word : {"false", "no", "off"}) {
    CHECK(parse_settings({"--nesterov", word}) == Settings{{"nesterov", word}});
    CHECK(parse_settings({"--nesterov", "--final", word}) ==
          Settings{{"nesterov", "true"}, {"final", word}});
    CHECK(canonical_value(option("nesterov"), word) == "false");
  }
  CHECK(parse_settings({"--nesterov", "true", "--lr", "1"}) ==
        Settings{{"nesterov", "true"}, {"lr", "1"}});
  CHECK(parse_arguments({"--nesterov", "1"}).positionals == Args{"1"});  // perhaps a run's id
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
                    Contains("unknown option '--weigths'; did you mean --weights"));
  CHECK_THROWS_WITH(parse_settings({"--drop-fracton=1"}), Contains("--drop-fraction"));
  CHECK_THROWS_WITH(parse_settings({"--drop_fracton=1"}), Contains("--drop-fraction"));
  CHECK_THROWS_AS(parse_settings({"--momen", "0.5"}), ConfigError);
  CHECK_THROWS_AS(parse_settings({"-x"}), ConfigError);
  CHECK_THROWS_WITH(parse_settings({"--limti", "3"}, kExtra), Contains("did you mean --limit"));
  CHECK_THROWS_WITH(parse_settings({"stray"}), Contains("'stray'"));
}

TEST_CASE("missing values and doubled options are refused", "[unit]") {
  CHECK_THROWS_WITH(parse_settings({"--lr"}), Contains("option '--lr' needs a value"));
  CHECK_THROWS_WITH(parse_settings({"--weight_decay"}), Contains("--weight-decay VALUE"));
  CHECK_THROWS_WITH(parse_settings({"--lr", "--momentum", "0.5"}), Contains("lr"));
  CHECK_THROWS_WITH(parse_settings({"--lr", "1", "--lr", "2"}), Contains("'--lr' is given twice"));
}

TEST_CASE("messages about the command line have options as they are typed", "[unit]") {
  CHECK(words_of_command_line("option 'weight_decay': 'x' is not allowed. option 'lr', 'a_b'") ==
        "option '--weight-decay': 'x' is not allowed. option '--lr', 'a_b'");
  CHECK(words_of_command_line("option '") == "option '");
  CHECK(words_of_command_line("option 'not a name'") == "option 'not a name'");
  CHECK(words_of_command_line("") == "");
  CHECK(as_typed("seed_data") == "--seed-data");
}

TEST_CASE("help shows every option with type, default, unit, choices and readers", "[unit]") {
  const test::ConfigFixture fixture;
  const std::string help = options_help(kExtra, fixture.tables());
  for (const auto& each : fixture.options.all()) {
    if (!each.retired.empty()) continue;
    CHECK_THAT(help, Contains(as_typed(each.name) + " ") && Contains(each.help));
  }
  CHECK_THAT(help, Contains("this command:") && Contains("--dry-run"));
  CHECK_THAT(help,
             Contains("(real 0..1; default 0.3)") && Contains("read by weights=rigl, weights=set"));
  CHECK_THAT(help, Contains("one of dense | rigl | set | ssa | static; default dense"));
  CHECK_THAT(help, Contains("(int 1..1e+12, steps; default 100)"));
  CHECK(help.find("training:") == help.rfind("training:"));
}

TEST_CASE("the short help has what most runs say, with hyphens, and little else", "[unit]") {
  const std::string help = short_options_help(kExtra);
  CHECK(std::count(help.begin(), help.end(), '\n') < 45);
  for (const char* name : {"--weights ", "--density ", "--lr ", "--weight-decay ", "--db ",
                           "--seed ", "--dry-run ", "--data-dir "}) {
    CHECK_THAT(help, Contains(name));
  }
  CHECK(help.find('_') == help.find("fashion_mnist") + 7);  // a value's, and no option's
}

}  // namespace tandem::test::config_command_line_unit
