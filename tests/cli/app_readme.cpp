// The README's SQL on the views, and its commands' files, are what they say.
#include <catch2/catch.hpp>
#include <filesystem>
#include <regex>

#include "core/files.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_readme_cli {

TEST_CASE("the README's query gives one row per run and read-out", "[cli]") {
  const std::string readme = read_file(std::string(TANDEM_SOURCE_DIR) + "/README.md");
  const std::size_t begin = readme.find("\"\"\"") + 3;
  const std::string sql = readme.substr(begin, readme.find("\"\"\"", begin) - begin);
  REQUIRE(sql.find("FROM v_eval") != std::string::npos);

  const TemporaryFolder folder;
  const std::string db = folder / "r.sqlite";
  for (const char* weights : {"dense", "rigl"}) {
    const ProgramResult made =
        run_program({"run", "--weights", weights, "--train-examples", "300", "--steps", "4",
                     "--widths", "16", "--density", "0.2", "--final", "--db", db});
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
  }
  const QueryResult rows = StoreReader(db).query(sql);
  // dense in both read-outs, RigL in the one it has; no other budgets of their curves.
  REQUIRE(rows.rows.size() == 3);
}

TEST_CASE("files that the README names are there", "[cli]") {
  const std::string readme = read_file(std::string(TANDEM_SOURCE_DIR) + "/README.md");
  const std::regex named("(experiments/[a-z_/]+\\.ini|results/[a-z_/]+\\.md|CONTRIBUTING\\.md)");
  std::size_t count = 0;
  for (std::sregex_iterator it(readme.begin(), readme.end(), named), end; it != end; ++it) {
    CAPTURE(it->str());
    REQUIRE(std::filesystem::exists(std::string(TANDEM_SOURCE_DIR) + "/" + it->str()));
    ++count;
  }
  REQUIRE(count > 3);
}

}  // namespace tandem::test::app_readme_cli
