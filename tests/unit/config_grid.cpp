// Grid files: axes, [when], [exclude], [tune], [table], overrides, errors with file and line.
#include <catch2/catch.hpp>

#include "config/grid.h"
#include "config/initial_file.h"
#include "core/error.h"
#include "core/files.h"
#include "support/config_fixture.h"

namespace tandem::test::config_grid_unit {

using Catch::Matchers::Contains;
using Texts = std::vector<std::string>;

namespace {

const test::ConfigFixture fixture;

Grid grid(const std::string& text, const Settings& overrides = {}) {
  return parse_grid(text, "dir/some.ini", overrides, fixture.tables());
}

// One option's value in each run.
Texts column(const Grid& of, const std::string& name) {
  Texts values;
  for (const auto& run : of.runs) values.push_back(run.text(name));
  return values;
}

std::string refusal(const std::string& text, const Settings& overrides = {}) {
  try {
    grid(text, overrides);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a grid is named after its file, unless the file says a name", "[unit]") {
  const Grid one = grid("seed = 1\n");
  CHECK(one.name == "some");
  CHECK(one.file == "dir/some.ini");
  REQUIRE(one.runs.size() == 1);
  CHECK(one.runs[0].id() == fixture.id({}));
  CHECK(one.tune.empty());
  CHECK(grid("name = other ; comment\nseed = 1\n").name == "other");
  CHECK_THAT(refusal("name = a/tuning\nseed = 1\n"), Contains("some.ini:1:"));
}

TEST_CASE("a file that says nothing of its runs is refused", "[unit]") {
  for (const char* text :
       {"", "# nothing\n\n  ; here\n", "name = x\n", "[table a]\nrows = seed\n"}) {
    CAPTURE(text);
    CHECK_THAT(refusal(text), Contains("says nothing of its runs"));
  }
  CHECK_THAT(refusal("", {{"weights", "set"}}), Contains("says nothing of its runs"));
}

TEST_CASE("a section that no run meets is refused, unless an override took its runs", "[unit]") {
  const std::string base = "weights = dense, set\ndensity = 0.1, 0.2\n";
  CHECK_THAT(refusal(base + "[when weights=rigl]\nlr = 0.5\n"), Contains("some.ini:3: [when]") &&
                                                                    Contains("weights = rigl") &&
                                                                    Contains("dense, set"));
  CHECK_THAT(refusal(base + "[when weights=set, density=0.15]\nlr = 0.5\n"),
             Contains("density = 0.15") && Contains("0.1, 0.2"));
  CHECK_THAT(refusal(base + "[exclude]\nweights = rigl\n"), Contains("some.ini:3: [exclude]"));
  CHECK_THAT(refusal(base + "[tune weights=rigl]\nlr = 0.1, 0.2\n"),
             Contains("some.ini:3: [tune]"));
  CHECK_THAT(
      refusal(base + "[when weights=set]\nlr = 0.5\n[when weights=dense, lr=0.5]\nbatch = 3\n"),
      Contains("some.ini:5:") && Contains("none together"));
  CHECK(refusal(base + "[when weights=set|rigl]\nlr = 0.5\n").empty());
  const std::string all = base +
                          "[when weights=set]\nlr = 0.5\n[exclude]\nweights = set\ndensity = 0.2\n"
                          "[tune weights=set]\nbatch = 1, 2\n";
  CHECK(refusal(all).empty());
  CHECK(refusal(all, {{"weights", "dense"}}).empty());
  CHECK_FALSE(refusal(base + "[exclude]\nweights = rigl\n", {{"db", "x"}}).empty());
}

TEST_CASE("lists and ranges are axes, the first one slowest", "[unit]") {
  const Grid product = grid("weights = dense, ssa\nseed = 1..3\n");
  CHECK(column(product, "weights") == Texts{"dense", "dense", "dense", "ssa", "ssa", "ssa"});
  CHECK(column(product, "seed") == Texts{"1", "2", "3", "1", "2", "3"});
  CHECK(column(grid("seed = 1..9:4, 20\n"), "seed") == Texts{"1", "5", "9", "20"});
  CHECK(column(grid("seed = 1..8:4\n"), "seed") == Texts{"1", "5"});
  CHECK(product.runs[0].given() == Settings{{"weights", "dense"}, {"seed", "1"}});
  for (std::size_t i = 0; i < product.runs.size(); ++i) {
    CHECK(fixture.id(product.runs[i].given()) == product.runs[i].id());
  }
}

TEST_CASE("options of list type take braces for an axis, texts for commas", "[unit]") {
  CHECK(column(grid("widths = 400,400\n"), "widths") == Texts{"400,400"});
  CHECK(column(grid("widths = {400, 400}, {100}, {}\n"), "widths") == Texts{"400,400", "100", ""});
  CHECK(column(grid("exempt = {a,b}, c\n"), "exempt") == Texts{"a,b", "c"});
  CHECK_THAT(refusal("widths = {400, {1}\n"), Contains("some.ini:1:") && Contains("braces"));
  CHECK_THAT(refusal("widths = 400}, {1\n"), Contains("braces"));
}

TEST_CASE("comments end a line only after a space, and names take dashes", "[unit]") {
  CHECK(column(grid("data = bytes\ncorpus = /a#b;c # comment\n"), "corpus") == Texts{"/a#b;c"});
  CHECK(column(grid("weight-decay = 0.25\r\n"), "weight_decay") == Texts{"0.25"});
}

TEST_CASE("runs of equal id are kept once; unread settings are dropped", "[unit]") {
  CHECK(grid("lr = 0.1, 0.10, 1e-1\n").runs.size() == 1);
  const Grid mixed = grid("weights = dense, rigl\ndrop_fraction = 0.1, 0.2\n");
  CHECK(column(mixed, "weights") == Texts{"dense", "rigl", "rigl"});
  CHECK(mixed.runs[0].given() == Settings{{"weights", "dense"}});
  CHECK_THAT(refusal("weights = dense\ndrop_fraction = 0.1\n"),
             Contains("some.ini:2:") && Contains("drop_fraction"));
}

TEST_CASE("files that runs begin with are an axis, though their paths are in no id", "[unit]") {
  const Grid starts = grid("init_from = {}, nets/a-{seed}.st, nets/b.st\nseed = 1..2\n");
  CHECK(column(starts, "init_from") ==
        Texts{"", "", "nets/a-{seed}.st", "nets/a-{seed}.st", "nets/b.st", "nets/b.st"});
  CHECK(starts.runs[0].id() == starts.runs[2].id());
  CHECK(initial_file(starts.runs[3]) == "nets/a-2.st");
  CHECK(initial_file(starts.runs[5]) == "nets/b.st");
  const Grid some = grid("weights = dense, ssa\n[when weights=ssa]\ninit_from = a.st\n");
  CHECK(column(some, "init_from") == Texts{"", "a.st"});
  CHECK_THAT(refusal("jobs = 1, 2\n"), Contains("jobs") && Contains("axis"));
  CHECK_THAT(refusal("lr = 0.1\n[tune]\ninit_from = a, b\n"), Contains("can't be tuned"));
}

TEST_CASE("[when] sets options of matching runs, axes too", "[unit]") {
  const Grid some = grid(
      "weights = dense, rigl, set\n"
      "density = 0.1, 0.2\n"
      "[when weights=rigl|set, density=0.10]\n"
      "lr = 0.05, 0.5\n");
  CHECK(column(some, "lr") == Texts{"0.1", "0.1", "0.05", "0.5", "0.1", "0.05", "0.5", "0.1"});
  CHECK(column(grid("[when weights=dense]\nlr = 0.5\n"), "lr") == Texts{"0.5"});
  CHECK(column(grid("lr = 0.2\n[when weights=dense]\nlr = 0.5\n"), "lr") == Texts{"0.5"});
  const Grid chained = grid("[when weights=dense]\nlr = 0.5\n[when lr=0.5]\nbatch = 7\n");
  CHECK(column(chained, "batch") == Texts{"7"});
}

TEST_CASE("[exclude] is a conjunction of alternatives; several stand", "[unit]") {
  const Grid some = grid(
      "weights = dense, set\ndensity = 0.1, 0.2, 0.3\n"
      "[exclude]\nweights = dense\ndensity = 0.1, 0.3\n"
      "[exclude]\nweights = set\ndensity = 0.20\n");
  CHECK(column(some, "weights") == Texts{"dense", "set", "set"});
  CHECK(column(some, "density") == Texts{"0.2", "0.1", "0.3"});
  CHECK_THAT(refusal("[exclude]\nweights = dense\n"), Contains("no run is left"));
  CHECK_THAT(refusal("seed = 1\n[exclude]\n"), Contains("some.ini:2:"));
}

TEST_CASE("[tune] holds axes and the seeds of trials", "[unit]") {
  const Grid tuned = grid("weights = dense, set\n[tune]\nlr = 0.01, 0.10\nseeds = 1..2\n");
  REQUIRE(tuned.tune.sections.size() == 1);
  REQUIRE(tuned.tune.sections[0].axes.size() == 1);
  CHECK(tuned.tune.sections[0].axes[0].name == "lr");
  CHECK(tuned.tune.sections[0].axes[0].values == Texts{"0.01", "0.1"});
  CHECK(tuned.tune.seeds == Texts{"1", "2"});
  CHECK(tuned.tune.trials == 0);
  CHECK(tuned.runs.size() == 2);
  CHECK_THAT(refusal("lr = 1\n[tune]\nlr = 1, 2\n"), Contains("some.ini:3:") && Contains("line 1"));
  CHECK_THAT(refusal("[tune]\nlr = 1\n[tune]\n"), Contains("line 1 already"));
  CHECK_THAT(refusal("[tune]\ndrop_fraction = 0.1, 0.2\n"), Contains("read by no part"));
  CHECK_THAT(refusal("[tune]\nseeds = 1, x\n"), Contains("some.ini:2:"));
}

TEST_CASE("[table] settings are kept as written", "[unit]") {
  const Grid tables =
      grid("seed = 1\n[table accuracy]\nrows = weights, seed\n[table loss]\nmetric = loss\n");
  REQUIRE(tables.tables.size() == 2);
  CHECK(tables.tables[0].name == "accuracy");
  CHECK(tables.tables[0].settings == Settings{{"rows", "weights, seed"}});
  CHECK(tables.tables[1].settings == Settings{{"metric", "loss"}});
  CHECK_THAT(refusal("[table]\n"), Contains("needs a name"));
  CHECK_THAT(refusal("[table a]\n[table a]\n"), Contains("some.ini:2:"));
}

TEST_CASE("what only runs read that an override took away is no mistake of the file", "[unit]") {
  const std::string text =
      "weights = dense, rigl\n[when weights=rigl]\ndrop_fraction = 0.2\n[table t]\nrows = "
      "weights\n";
  CHECK(grid(text).runs.size() == 2);
  CHECK(column(grid(text, {{"weights", "dense"}}), "weights") == Texts{"dense"});
  // What nobody reads stays one, whatever is said on top.
  CHECK_THAT(refusal("weights = dense\ndrop_fraction = 0.2\n", {{"lr", "0.5"}}),
             Contains("some.ini:2:") && Contains("read by no part"));
}

TEST_CASE("overrides replace settings and axes everywhere", "[unit]") {
  const std::string text =
      "weights = dense, set\nseed = 1..5\n[when weights=set]\nlr = 0.5\n[tune]\nbatch = 1, 2\n";
  CHECK(column(grid(text, {{"seed", "7"}}), "seed") == Texts{"7", "7"});
  CHECK(column(grid(text, {{"seed", "7..8"}, {"weights", "ssa"}}), "seed") == Texts{"7", "8"});
  CHECK(column(grid(text, {{"lr", "0.25"}, {"seed", "1"}}), "lr") == Texts{"0.25", "0.25"});
  CHECK(grid(text, {{"batch", "3"}, {"seed", "1"}}).tune.empty());
  CHECK_THAT(refusal(text, {{"sed", "1"}}), Contains("did you mean seed"));
  CHECK_THAT(refusal(text, {{"seed", "x"}}), Contains("'x'"));
  CHECK_THAT(refusal("weights = dense\n", {{"drop_fraction", "0.1"}}), Contains("drop_fraction"));
}

TEST_CASE("errors name file, line and the nearest name", "[unit]") {
  CHECK_THAT(refusal("\nweigths = set\n"), Contains("dir/some.ini:2:") && Contains("weights"));
  CHECK_THAT(refusal("weights = sett\n"), Contains("some.ini:1:") && Contains("did you mean set?"));
  CHECK_THAT(refusal("lr = fast\n"), Contains("some.ini:1:") && Contains("'fast'"));
  CHECK_THAT(refusal("lr = 1,,2\n"), Contains("some.ini:1:"));
  CHECK_THAT(refusal("lr\n"), Contains("some.ini:1:") && Contains("'lr'"));
  CHECK_THAT(refusal("lr = 1\nlr = 2\n"), Contains("some.ini:2:") && Contains("twice"));
  CHECK_THAT(refusal("[wenn weights=set]\n"), Contains("did you mean when"));
  CHECK_THAT(refusal("[when weights=set\n"), Contains("closing"));
  CHECK_THAT(refusal("[when]\n"), Contains("needs conditions"));
  CHECK_THAT(refusal("[when weights]\n"), Contains("'weights' is no condition"));
  CHECK_THAT(refusal("[when weights=sett]\n"), Contains("some.ini:1:") && Contains("mean set?"));
  CHECK_THAT(refusal("[when weigths=set]\n"), Contains("some.ini:1:") && Contains("weights"));
  CHECK_THAT(refusal("[exclude all]\n"), Contains("'all' follows"));
  CHECK_THAT(refusal("seed = 5..1\n"), Contains("is no range"));
  CHECK_THAT(refusal("seed = 1..5:0\n"), Contains("is no range"));
  CHECK_THAT(refusal("seed = 1..x\n"), Contains("is no range"));
  CHECK_THAT(refusal("seed = 0..9223372036854775807\n"), Contains("shorten"));
  CHECK_THAT(refusal("jobs = 1, 2\n"), Contains("axis"));
  CHECK_THAT(refusal("name = a\nname = b\n"), Contains("twice"));
  CHECK_THAT(refusal("seed = 1..2000\nbatch = 1..2000\n"), Contains("1000000 cells"));
}

TEST_CASE("read_grid reads a file and keeps its text", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "pilot.ini", "seed = 1..2\n");
  const Grid read = read_grid(folder / "pilot.ini", {}, fixture.tables());
  CHECK(read.name == "pilot");
  CHECK(read.text == "seed = 1..2\n");
  CHECK(read.runs.size() == 2);
  CHECK_THROWS_AS(read_grid(folder / "missing.ini", {}, fixture.tables()), ConfigError);
}

}  // namespace tandem::test::config_grid_unit
