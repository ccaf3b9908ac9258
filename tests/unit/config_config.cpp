// Resolution, strictness, the canonical form, and what changes an id.
#include "config/config.h"

#include <catch2/catch.hpp>

#include "core/error.h"
#include "core/hash.h"
#include "support/config_fixture.h"

namespace tandem::test::config_config_unit {

using Catch::Matchers::Contains;
using test::ConfigFixture;

TEST_CASE("defaults are laid: option, then parts in their order, then what was said", "[unit]") {
  const ConfigFixture fixture;
  CHECK(fixture.resolve({}).real("lr") == 0.1);
  CHECK(fixture.resolve({{"optimizer", "adam"}}).real("lr") == 0.003);
  CHECK(fixture.resolve({{"optimizer", "adam"}, {"lr", "0.5"}}).real("lr") == 0.5);
  const Config bytes = fixture.resolve({{"data", "bytes"}});
  CHECK(bytes.text("model") == "transformer");
  CHECK(bytes.text("optimizer") == "adam");
  CHECK(bytes.real("lr") == 0.003);  // data 0.001, model 0.002, optimizer 0.003: the last one wins
  CHECK(bytes.integer("batch") == 32);
  const Config mixed = fixture.resolve({{"data", "bytes"}, {"optimizer", "sgd"}});
  CHECK(mixed.text("model") == "transformer");
  CHECK(mixed.real("lr") == 0.002);
}

TEST_CASE("an option that no selected part reads takes its neutral value", "[unit]") {
  const ConfigFixture fixture;
  const Config dense = fixture.resolve({});
  CHECK(dense.text("drop_fraction") == "-1");
  CHECK(dense.text("drop_schedule") == "none");
  const Config rigl = fixture.resolve({{"weights", "rigl"}});
  CHECK(rigl.real("drop_fraction") == 0.3);
  CHECK(rigl.text("update_order") == "update_instead");
  CHECK(rigl.text("drop_schedule") == "none");
}

TEST_CASE("strict refuses what no selected part reads and says who does", "[unit]") {
  const ConfigFixture fixture;
  const Settings said = {{"drop_fraction", "0.2"}};
  CHECK_THROWS_WITH(fixture.resolve(said), Contains("'drop_fraction'") &&
                                               Contains("weights=dense") &&
                                               Contains("weights=rigl") && Contains("weights=set"));
  const Config loose = fixture.resolve(said, false);
  CHECK(loose.text("drop_fraction") == "-1");
  CHECK_FALSE(loose.was_given("drop_fraction"));
  CHECK(loose.id() == fixture.id({}));
}

TEST_CASE("a neutral value may be said where nothing reads the option, and only there", "[unit]") {
  const ConfigFixture fixture;
  CHECK(fixture.id({{"drop_fraction", "-1"}, {"drop_schedule", "none"}}) == fixture.id({}));
  CHECK_FALSE(fixture.resolve({{"drop_fraction", "-1"}}).was_given("drop_fraction"));
  CHECK_THROWS_AS(fixture.resolve({{"weights", "set"}, {"drop_fraction", "-1"}}), ConfigError);
  CHECK_THROWS_AS(fixture.resolve({{"weights", "set"}, {"grow_init", "none"}}), ConfigError);
  CHECK_THROWS_AS(fixture.resolve({{"drop_fraction", "-2"}}), ConfigError);
}

TEST_CASE("bad names and values are refused", "[unit]") {
  const ConfigFixture fixture;
  CHECK_THROWS_WITH(fixture.resolve({{"leraning_rate", "1"}}), Contains("unknown option"));
  CHECK_THROWS_WITH(fixture.resolve({{"momentun", "1"}}), Contains("did you mean momentum"));
  CHECK_THROWS_AS(fixture.resolve({{"lr", "fast"}}), ConfigError);
  CHECK_THROWS_AS(fixture.resolve({{"lr", "-1"}}), ConfigError);
  CHECK_THROWS_WITH(fixture.resolve({{"weights", "rgl"}}), Contains("did you mean rigl"));
}

TEST_CASE("parts whose defaults select each other in a circle are refused", "[unit]") {
  ConfigFixture fixture;
  const auto defaults = [](std::vector<std::pair<std::string, std::string>> values) {
    return [values](Part& part) { part.defaults = values; };
  };
  fixture = fixture.with_part("scenario", "single", defaults({{"strategy", "replay"}}))
                .with_part("strategy", "replay", defaults({{"scenario", "split"}}))
                .with_part("scenario", "split", defaults({{"strategy", "finetune"}}));
  CHECK_THROWS_WITH(fixture.resolve({}), Contains("circle"));
  CHECK_NOTHROW(fixture.resolve({{"strategy", "finetune"}}));
}

TEST_CASE("values are read by type", "[unit]") {
  const Config config = ConfigFixture().resolve(
      {{"widths", "3,4"}, {"lr_step_at", "0.5"}, {"nesterov", "yes"}, {"exempt", "head"}});
  CHECK(config.integers("widths") == std::vector<std::int64_t>{3, 4});
  CHECK(config.reals("lr_step_at") == std::vector<double>{0.5});
  CHECK(config.reals("widths") == std::vector<double>{3, 4});
  CHECK(config.flag("nesterov"));
  CHECK_FALSE(config.flag("final"));
  CHECK(config.text("exempt") == "head");
  CHECK(config.real("batch") == 128);
  CHECK(ConfigFixture().resolve({{"widths", ""}}).integers("widths").empty());
  CHECK_THROWS_AS(config.integer("lr"), std::logic_error);
  CHECK_THROWS_AS(config.flag("lr"), std::logic_error);
  CHECK_THROWS_AS(config.text("nothing"), std::logic_error);
}

TEST_CASE("the canonical form of a small table is as stated", "[unit]") {
  ConfigFixture fixture;
  fixture.options = OptionTable(std::vector<Option>{
      {.name = "weights",
       .type = OptionType::kChoice,
       .default_value = "dense",
       .neutral = "none",
       .help = "h"},
      {.name = "b", .type = OptionType::kReal, .default_value = "0.5", .neutral = "0", .help = "h"},
      {.name = "a", .type = OptionType::kInt, .default_value = "3", .neutral = "3", .help = "h"},
      {.name = "path",
       .type = OptionType::kText,
       .default_value = "p",
       .neutral = "",
       .help = "h",
       .scope = OptionScope::kProgram}});
  CHECK(fixture.resolve({}).canonical() == "tandem-config v1\nb=0.5\nweights=dense\n");
  const std::string said = "tandem-config v1\na=4\nb=1\nweights=dense\n";
  const Config config = fixture.resolve({{"a", "4"}, {"b", "1.0"}, {"path", "q"}});
  CHECK(config.canonical() == said);
  CHECK(config.id() == sha256(said));
  CHECK(short_id(config.id()) == config.id().substr(0, 12));
  CHECK(fixture.resolve({{"b", "0"}}).canonical() == "tandem-config v1\nweights=dense\n");
  fixture.engine_revision = 3;
  fixture = fixture.with_part("weights", "dense", [](Part& part) { part.revision = 2; })
                .with_part("weights", "set", [](Part& part) { part.revision = 9; });
  CHECK(fixture.resolve({}).canonical() ==
        "tandem-config v1\nb=0.5\nweights=dense\nrevision.engine=3\nrevision.weights.dense=2\n");
}

TEST_CASE("equal runs said differently have one id", "[unit]") {
  const ConfigFixture fixture;
  CHECK(fixture.id({{"lr", "0.10"}, {"seed", "01"}}) == fixture.id({}));
  CHECK(fixture.id({{"optimizer", "adam"}}) == fixture.id({{"optimizer", "adam"}, {"lr", "3e-3"}}));
  CHECK(fixture.id({{"db", "elsewhere"}, {"jobs", "2"}, {"device", "cpu"}}) == fixture.id({}));
}

TEST_CASE("a changed value, default, part revision or engine revision makes a new id", "[unit]") {
  const ConfigFixture fixture;
  const std::string before = fixture.id({});
  CHECK(fixture.id({{"seed", "2"}}) != before);
  CHECK(fixture.id({{"final", "true"}}) != before);
  CHECK(fixture.id({{"weights", "static"}}) != before);
  const auto default_to = [](const char* value) {
    return [value](Option& option) { option.default_value = value; };
  };
  CHECK(fixture.with_option("lr", default_to("0.2")).id({}) != before);
  CHECK(fixture.with_option("lr", default_to("0.2")).id({{"lr", "0.1"}}) == before);
  CHECK(fixture.with_option("layers", default_to("3")).id({}) == before);
  CHECK(fixture.with_option("layers", default_to("3")).id({{"data", "bytes"}}) !=
        fixture.id({{"data", "bytes"}}));
  CHECK(fixture.with_option("probe_every", default_to("3")).id({}) != before);
  CHECK(fixture.with_option("db", default_to("other")).id({}) == before);
  CHECK(fixture.with_option("drop_fraction", default_to("0.5")).id({}) == before);
  CHECK(fixture.with_option("drop_fraction", default_to("0.5")).id({{"weights", "set"}}) !=
        fixture.id({{"weights", "set"}}));
  const auto revised = [](Part& part) { part.revision = 2; };
  CHECK(fixture.with_part("weights", "dense", revised).id({}) != before);
  CHECK(fixture.with_part("weights", "rigl", revised).id({}) == before);
  ConfigFixture engine = fixture;
  engine.engine_revision = 2;
  CHECK(engine.id({}) != before);
}

TEST_CASE("a new option leaves every id as it is", "[unit]") {
  const ConfigFixture before;
  ConfigFixture after = before;
  after.options.declare({.name = "new_switch",
                         .type = OptionType::kFlag,
                         .default_value = "false",
                         .neutral = "false",
                         .help = "h"});
  after.options.declare({.name = "new_of_part",
                         .type = OptionType::kReal,
                         .default_value = "0.5",
                         .neutral = "-1",
                         .help = "h",
                         .minimum = 0,
                         .of_part = true});
  after.options.declare({.name = "new_path",
                         .type = OptionType::kText,
                         .default_value = "x",
                         .neutral = "",
                         .help = "h",
                         .scope = OptionScope::kProgram});
  for (const Settings& said : {Settings{}, Settings{{"weights", "set"}},
                               Settings{{"data", "bytes"}, {"attention", "ssa"}}}) {
    CHECK(after.id(said) == before.id(said));
  }
  CHECK(after.id({{"new_switch", "true"}}) != before.id({}));
}

TEST_CASE("from_canonical refuses what canonical() would not write", "[unit]") {
  const ConfigFixture fixture;
  const std::string good = fixture.resolve({}).canonical();
  const auto read = [&](const std::string& text) {
    return Config::from_canonical(text, fixture.tables());
  };
  CHECK(read(good).id() == fixture.id({}));
  CHECK_THROWS_AS(read(""), ConfigError);
  CHECK_THROWS_AS(read("tandem-config v2\n"), ConfigError);
  CHECK_THROWS_AS(read(good.substr(0, good.size() - 1)), ConfigError);
  CHECK_THROWS_AS(read(good + "aa=1\n"), ConfigError);
  CHECK_THROWS_AS(read(good + "weights=dense\n"), ConfigError);
  CHECK_THROWS_AS(read("tandem-config v1\nlr=0.10\n"), ConfigError);
  CHECK_THROWS_AS(read("tandem-config v1\nlr=0\n"), ConfigError);
  CHECK_THROWS_AS(read("tandem-config v1\nwidths\n"), ConfigError);
  CHECK_THROWS_AS(read("tandem-config v1\nseed=1\nlr=0.5\n"), ConfigError);
}

TEST_CASE("from_canonical keeps revisions, so an old run keeps its id", "[unit]") {
  ConfigFixture old;
  old.engine_revision = 2;
  old = old.with_part("weights", "rigl", [](Part& part) { part.revision = 5; });
  const Config stored = old.resolve({{"weights", "rigl"}});
  const Config read = Config::from_canonical(stored.canonical(), ConfigFixture().tables());
  CHECK(read.canonical() == stored.canonical());
  CHECK(read.id() == stored.id());
}

}  // namespace tandem::test::config_config_unit
