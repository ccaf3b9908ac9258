// A task that has no examples in a split is not measured: no row, alone and in a group whose other
// runs have some.
#include <catch2/catch.hpp>

#include "data/dataset.h"
#include "support/train_support.h"

namespace tandem::test::eval_empty_tasks_parity {

using namespace tandem::test;

TEST_CASE("a task without examples has no row, alone and in company", "[parity]") {
  // Fewer validation examples than the five tasks; the orders of classes differ by seed.
  const auto config = [](const std::string& seed) {
    return small_run({{"scenario", "class_il"},
                      {"class_order", "random"},
                      {"weights", "set"},
                      {"epochs", "1"},
                      {"validation", "0.00007"},
                      {"seed", seed}});
  };
  const std::vector<Config> group = {config("1"), config("2"), config("3")};
  GroupSpec together;
  together.runs = group;
  MemorySink company;
  run_group(together, company);
  std::vector<std::size_t> tasks;
  const auto validation = static_cast<std::int64_t>(load_dataset(group.front())->validation.size());
  REQUIRE(validation > 0);
  REQUIRE(validation < 5);
  for (const Config& own : group) {
    GroupSpec single;
    single.runs = {own};
    MemorySink alone;
    run_group(single, alone);
    REQUIRE(alone.results().size() > 5);
    std::map<std::int64_t, std::int64_t> totals;
    for (const auto& [key, line] : alone.results()) REQUIRE(company.results().at(key) == line);
    for (const auto& [key, line] : company.rows()) {
      if (key.first != own.id()) continue;
      const RowBody body = decode_row(line).body;
      const auto* row = std::get_if<EvalRow>(&body);
      if (row == nullptr) continue;
      REQUIRE(row->n_total > 0);
      REQUIRE(row->loss > 0);
      totals[row->task] = row->n_total;
    }
    tasks.push_back(totals.size());
    std::int64_t all = 0;
    for (const auto& [task, total] : totals) all += total;
    REQUIRE(all == validation);
  }
  // Otherwise the group would have had nothing to get wrong.
  REQUIRE(std::any_of(tasks.begin(), tasks.end(), [](std::size_t n) { return n < 5; }));
}

}  // namespace tandem::test::eval_empty_tasks_parity
