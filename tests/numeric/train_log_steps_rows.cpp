// What is logged of topology updates has no part in training, and says what those updates did.
#include <catch2/catch.hpp>
#include <set>

#include "data/tensor.h"
#include "support/resume_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_log_steps_rows_numeric {

using namespace tandem::test;

namespace {

Config logged(Settings said, const std::string& log_steps) {
  said["topology_log_steps"] = log_steps;
  said["widths"] = "13,11";
  said["batch"] = "8";
  said["lr"] = "0.01";
  return small_run(said);
}

struct Logged {
  std::map<std::pair<std::string, std::int64_t>, TopologyRow> rows;  // by layer and step
  std::set<std::int64_t> steps;
};

std::vector<Logged> logged_rows(const std::vector<Config>& runs) {
  GroupSpec spec;
  spec.runs = runs;
  MemorySink sink;
  REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
  std::vector<Logged> all(runs.size());
  for (const auto& [key, line] : sink.rows()) {
    const RowBody body = decode_row(line).body;
    const auto* row = std::get_if<TopologyRow>(&body);
    for (std::size_t r = 0; row != nullptr && r < runs.size(); ++r) {
      if (runs[r].id() != key.first) continue;
      all[r].rows.emplace(std::pair(row->layer, row->step), *row);
      all[r].steps.insert(row->step);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("what is logged of updates changes neither weights, masks nor operations", "[numeric]") {
  const std::vector<Settings> methods = {
      {{"weights", "ste"}},
      {{"weights", "srste"}, {"granularity", "n_m"}, {"density", "0.5"}},
      {{"weights", "random_masks"}},
      {{"weights", "random_masks"}, {"granularity", "block"}},
      {{"weights", "topkast"}, {"refresh_interval", "1"}},
      {{"weights", "set"}, {"update_interval_epochs", "0"}, {"update_interval", "2"}},
      {{"weights", "gmp"}, {"prune_interval", "2"}}};
  for (Settings said : methods) {
    CAPTURE(said);
    said["steps"] = "40";
    Trainer trainer({logged(said, "1"), logged(said, "0"), logged(said, "7")}, {});
    trainer.begin_stage(0);
    std::vector<int> updates(3, 0);
    for (std::int64_t step = 0; step < 40; ++step) {
      const StepReport report = trainer.advance(0, step, 1);
      for (std::size_t r = 0; r < 3; ++r) updates[r] += report.updated[r];
      CHECK(report.updates.empty() == (report.updated == std::vector<char>(3, 0)));
    }
    CHECK(updates[2] < updates[0]);
    const auto first = trainer.save(0);
    for (std::int64_t r = 1; r < 3; ++r) {
      const auto other = trainer.save(r);
      REQUIRE(first.size() == other.size());
      for (std::size_t i = 0; i < first.size(); ++i) {
        CAPTURE(first[i].first);
        CHECK(torch::equal(first[i].second, other[i].second));
      }
      CHECK(trainer.flops().training(r) == trainer.flops().training(0));
      CHECK(trainer.flops().forward(r, true, false) == trainer.flops().forward(0, true, false));
    }
    for (const Linear* layer : trainer.model().linears()) {  // counts are known, not looked up
      const at::Tensor mask = layer->connections->active_flags();
      if (!mask.defined()) continue;
      const at::Tensor sums = mask.view({3, -1}).sum(1);
      for (std::int64_t r = 0; r < 3; ++r) {
        CHECK(layer->connections->active(r) == sums[r].item<std::int64_t>());
      }
    }
  }
}

TEST_CASE("a logged row says what that one update changed", "[numeric]") {
  const Settings said = {{"weights", "ste"}, {"steps", "250"}};
  const auto all = logged_rows({logged(said, "1"), logged(said, "0"), logged(said, "7")});
  CHECK(all[0].steps.size() == 249);
  CHECK(all[1].steps == std::set<std::int64_t>{1, 100, 200, 249});
  std::set<std::int64_t> sevenths = {1, 249};
  for (std::int64_t step = 7; step < 250; step += 7) sevenths.insert(step);
  CHECK(all[2].steps == sevenths);
  std::int64_t moved = 0;
  for (const Logged& own : all) {
    CHECK(own.rows.size() == 3 * own.steps.size());  // layers
    for (const auto& [key, row] : own.rows) {
      CAPTURE(key.first, key.second);
      const TopologyRow& same = all[0].rows.at(key);
      CHECK(row.nnz == same.nnz);
      CHECK(row.dropped == same.dropped);
      CHECK(row.grown == same.grown);
      CHECK(row.mask_hash == same.mask_hash);
      moved += row.grown;
    }
  }
  CHECK(moved > 0);
}

}  // namespace tandem::test::train_log_steps_rows_numeric
