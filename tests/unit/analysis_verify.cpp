// Tables that are made again from their lineage and their runs.
#include <catch2/catch.hpp>
#include <filesystem>

#include "analysis/lineage.h"
#include "analysis/table_writers.h"
#include "analysis/verify.h"
#include "core/files.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_verify_unit {
namespace {

using Catch::Contains;
using Outcome = Verified::Outcome;

struct Written {
  Written() {
    const Table table = build_table(StoreReader(path), plan_table({"results",
                                                                   {{"rows", "weights"},
                                                                    {"columns",
                                                                     "accuracy@full as a, "
                                                                     "loss@sparse"},
                                                                    {"grid", "small"},
                                                                    {"where", "weights=ssa|static"},
                                                                    {"bold", "tied"},
                                                                    {"digits", "1"}}}));
    save_table(table, folder / "t");
    atomic_write(folder / "p.tex", table_writer("latex").write(table, {.plain = true}));
    atomic_write(folder / "p.tex.lineage.json", write_lineage(lineage_of(table)));
  }
  Verified verify(const std::string& name) const {
    return verify_table(StoreReader(path), folder / (name + ".lineage.json"));
  }
  void change(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = read_file(folder / name);
    REQUIRE(text.find(from) != std::string::npos);
    atomic_write(folder / name, text.replace(text.find(from), from.size(), to));
  }
  TemporaryFolder folder;
  std::string path = folder / "r.sqlite";
  SmallGrid grid{path};
};

}  // namespace

TEST_CASE("a table that its runs still make is the same", "[unit]") {
  const Written written;
  CHECK(written.verify("t").outcome == Outcome::kSame);
  CHECK(written.verify("p.tex").outcome == Outcome::kSame);
  CHECK(lineage_files(written.folder.path()) ==
        std::vector<std::string>{written.folder / "p.tex.lineage.json",
                                 written.folder / "t.lineage.json"});
}

TEST_CASE("a table that was changed differs, and where is said", "[unit]") {
  const Written written;
  written.change("t.csv", "ssa,0.9", "ssa,0.8");
  const Verified changed = written.verify("t");
  CHECK(changed.outcome == Outcome::kDiffers);
  CHECK_THAT(changed.detail, Contains("t.csv:3: has \"ssa,0.8") && Contains("make \"ssa,0.9"));
  std::filesystem::remove(written.folder / "t.md");
  CHECK_THAT(written.verify("t").detail, Contains("t.md: is gone"));
  written.change("p.tex", "90.3", "90.4");
  CHECK(written.verify("p.tex").outcome == Outcome::kDiffers);
}

TEST_CASE("a table whose runs have other numbers differs", "[unit]") {
  const Written written;
  {
    StoreWriter writer(written.path);
    const std::string id = written.grid.runs[7].id;
    writer.begin_attempt(id);
    writer.insert({test::readout(id, 20, 100, "full", {}), test::state(id, 21, "done", 100)});
  }
  const Verified changed = written.verify("t");
  CHECK(changed.outcome == Outcome::kDiffers);
}

TEST_CASE("what can't be verified is told apart from what differs", "[unit]") {
  const Written written;
  const TemporaryFolder other;
  { StoreWriter writer(other / "empty.sqlite"); }
  const Verified lacking =
      verify_table(StoreReader(other / "empty.sqlite"), written.folder / "t.lineage.json");
  CHECK(lacking.outcome == Outcome::kNotMade);
  CHECK_THAT(lacking.detail, Contains("small"));
  // A line of the file is the plan.
  std::string text = read_file(written.folder / "t.lineage.json");
  const auto begin = text.find("\"plan\": "), end = text.find('\n', begin);
  REQUIRE(begin != std::string::npos);
  CHECK_THAT(text.substr(begin, end - begin), Contains("\"where\":\"weights=ssa|static\""));
  atomic_write(written.folder / "t.lineage.json", text.erase(begin, end - begin + 1));
  CHECK(written.verify("t").outcome == Outcome::kNoPlan);
  atomic_write(written.folder / "t.lineage.json", "{}");
  CHECK(written.verify("t").outcome == Outcome::kNoLineage);
}

}  // namespace tandem::test::analysis_verify_unit
