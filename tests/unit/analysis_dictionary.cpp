// The data dictionary has every column of the views, with the type that they give.
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "analysis/dictionary.h"
#include "core/files.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_dictionary_unit {

TEST_CASE("every column of the views is in the data dictionary", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "r.sqlite";
  { StoreWriter writer(path); }
  const StoreReader reader(path);
  std::map<std::string, ColumnMeaning> known;
  for (const ColumnMeaning& column : data_dictionary()) {
    INFO(column.view << "." << column.name);
    CHECK_FALSE(column.text.empty());
    CHECK(std::set<std::string>{"BIGINT", "DOUBLE", "TEXT"}.count(column.type) == 1);
    known.emplace(column.name, column);
  }
  for (const char* view : {"v_run", "v_eval", "v_metric", "v_topology", "v_digest", "v_continual",
                           "v_stability", "v_anytime", "v_joint", "v_storage", "v_tuning"}) {
    const QueryResult columns =
        reader.query(std::string("SELECT name, type FROM pragma_table_info('") + view + "')");
    REQUIRE_FALSE(columns.rows.empty());
    for (const auto& row : columns.rows) {
      INFO(view << "." << row[0] << " " << row[1]);
      REQUIRE(known.count(row[0]) == 1);
      const std::string type = known.at(row[0]).type;
      // SQLite names the types of its own tables; a column that is computed may have none.
      const std::map<std::string, std::string> same = {
          {"INTEGER", "BIGINT"}, {"REAL", "DOUBLE"}, {"", type}};
      const auto found = same.find(row[1]);
      CHECK((found == same.end() ? row[1] : found->second) == type);
    }
  }
}

}  // namespace tandem::test::analysis_dictionary_unit
