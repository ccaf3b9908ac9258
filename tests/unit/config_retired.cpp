// A retired option: nobody may say it, and what is stored with it stays what it was.
#include <catch2/catch.hpp>

#include "config/command_line.h"
#include "config/grid.h"
#include "core/error.h"
#include "support/config_fixture.h"

namespace tandem::test::config_retired_unit {

using Catch::Matchers::Contains;

namespace {

template <class Work>
std::string refusal(const Work& work) {
  try {
    work();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

bool says_what(const std::string& text) {
  return text.find("'lr_final' is retired") != std::string::npos &&
         text.find("lr_end") != std::string::npos &&
         text.find("lr_final / lr") != std::string::npos;
}

// As a run was stored that said lr_final = 0.02.
std::string stored_text() {
  std::string text = ConfigFixture().resolve({{"lr_schedule", "cosine"}}).canonical();
  return text.insert(text.find("lr_schedule="), "lr_final=0.02\n");
}

}  // namespace

TEST_CASE("a user who says a retired option is told what to say", "[unit]") {
  const ConfigFixture fixture;
  for (const std::string value : {"0.02", "0"}) {
    CHECK(says_what(refusal([&] {
      parse_arguments({"--lr-final", value}, {}, fixture.tables());
    })));
  }
  const auto grid = [&](const std::string& text) {
    return parse_grid(text, "dir/some.ini", {}, fixture.tables());
  };
  const std::string places[] = {"lr_final = 0.02\n", "[when weights=set]\nlr_final = 0.1\n",
                                "[when lr_final=0.1]\nlr = 0.1\n", "[exclude]\nlr_final = 0.1\n",
                                "weights = set\n[tune]\ntrials = 2\nlr_final = 0.1 .. 0.2\n"};
  for (const std::string& text : places) {
    const std::string said = refusal([&] { grid(text); });
    INFO(text << said);
    CHECK(says_what(said));
    CHECK_THAT(said, Contains("dir/some.ini:"));
  }
  CHECK(grid("lr_end = 0.1\n").runs.front().real("lr_end") == 0.1);
}

TEST_CASE("help and corrections don't speak of a retired option", "[unit]") {
  CHECK_THAT(options_help(), !Contains("lr-final"));
  CHECK_THAT(options_help(), Contains("--lr-end "));
  CHECK_THROWS_WITH(parse_arguments({"--lr-fina", "1"}), !Contains("lr_final"));
  CHECK_THROWS_WITH(option("lr_fina"), !Contains("lr_final"));
}

TEST_CASE("a stored run keeps its id and value, and goes on", "[unit]") {
  const ConfigFixture fixture;
  const std::string text = stored_text();
  const Config read = Config::from_canonical(text, fixture.tables());
  CHECK(read.canonical() == text);
  CHECK(read.real("lr_final") == 0.02);
  CHECK(read.real("lr_end") == 0);
  // The way of the planner and of a worker that take it up again.
  CHECK(fixture.resolve(read.values()).id() == read.id());
  CHECK(Config::resolve(read.values(), false, fixture.tables()).id() == read.id());
}

TEST_CASE("every retired option says what to give in its place", "[unit]") {
  for (const Option& each : all_options()) {
    if (each.retired.empty()) continue;
    INFO(each.name);
    CHECK(each.default_value == each.neutral);  // a run that doesn't say it doesn't hold it
    CHECK_THROWS_AS(option_table().sayable(each.name), ConfigError);
  }
}

}  // namespace tandem::test::config_retired_unit
