// The rendered table, to the byte.
#include <catch2/catch.hpp>

#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "unit/analysis_fixture.h"

namespace tandem::test::analysis_markdown_golden {
namespace {

TEST_CASE("Markdown and CSV of a small grid", "[golden]") {
  const TemporaryFolder folder;
  const test::SmallGrid grid(folder / "r.sqlite");
  const TablePlan plan = plan_table({"small",
                                     {{"rows", "weights"},
                                      {"columns",
                                       "accuracy@full as Full, accuracy@sparse/2, loss@full,"
                                       " metric:kept_mass as mass kept, accuracy@sparse*4"},
                                      {"grid", "small"},
                                      {"title", "Two methods at 10%"}}});
  const Table table = build_table(StoreReader(folder / "r.sqlite"), plan);
  CHECK(to_markdown(table) == R"(Two methods at 10%

| weights | Full (%) | accuracy@sparse/2 (%) | loss@full | mass kept | accuracy@sparse*4 (%) |
| --- | ---: | ---: | ---: | ---: | ---: |
| static | 88.33 ± 0.27 [1] | 78.33 ± 0.27 [1] | 0.117 ± 0.003 [1] |  |  |
| ssa † | 90.30 ± 0.20 | 80.30 ± 0.20 | 0.097 ± 0.002 | 0.500 ± 0.000 |  |

Means over seeds; ± is the half width of Student's 95% interval of the mean. Split: validation.

n = 5.

† has runs on device cuda, threads 1, revision abc; the others ran on device cpu, threads 1, revision abc.

[1] 1 of 5 diverged (seed 2).
)");
  const std::string csv = to_csv(table);
  CHECK(
      csv.substr(0, csv.find('\n')) ==
      "weights,Full,Full ci95_half,Full n,Full diverged,accuracy@sparse/2,"
      "accuracy@sparse/2 ci95_half,accuracy@sparse/2 n,accuracy@sparse/2 diverged,"
      "loss@full,loss@full ci95_half,loss@full n,loss@full diverged,mass kept,mass kept ci95_half,"
      "mass kept n,mass kept diverged,accuracy@sparse*4,accuracy@sparse*4 ci95_half,"
      "accuracy@sparse*4 n,accuracy@sparse*4 diverged");
  const std::size_t ssa = csv.find("\nssa,");
  REQUIRE(ssa != std::string::npos);
  CHECK(std::stod(csv.substr(ssa + 5)) == Approx(0.903).epsilon(1e-12));  // shares, not percent
}

}  // namespace
}  // namespace tandem::test::analysis_markdown_golden
