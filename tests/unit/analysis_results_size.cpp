// What is committed of results stays small, so that a clone does: tables, pictures, lineages and
// the runs behind them.
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

namespace tandem::test::analysis_results_size_unit {

TEST_CASE("result pages stay under 8 MB, and the runs behind each study under 1 MB", "[unit]") {
  constexpr std::uintmax_t kMost = 8'000'000, kMostOfDump = 1'000'000;  // bytes
  const std::set<std::string> kinds = {".md",  ".csv", ".json", ".svg",
                                       ".png", ".xz",  ".txt",  ".sh"};
  std::uintmax_t all = 0;
  const std::filesystem::path results = std::string(TANDEM_SOURCE_DIR) + "/results";
  for (const auto& file : std::filesystem::recursive_directory_iterator(results)) {
    if (!file.is_regular_file() || kinds.count(file.path().extension().string()) == 0) continue;
    INFO(file.path().string());
    if (file.path().extension() == ".xz") {
      CHECK(file.file_size() <= kMostOfDump);
      continue;
    }
    all += file.file_size();
  }
  CHECK(all > 0);
  CHECK(all < kMost);
}

}  // namespace tandem::test::analysis_results_size_unit
