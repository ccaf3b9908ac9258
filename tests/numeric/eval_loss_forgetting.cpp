// Forgetting and transfer of the loss in a sequence of two byte corpora: what the views make of it
// against the definitions, written out over the rows of the run.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "core/files.h"
#include "store/store.h"
#include "support/train_support.h"

namespace tandem::test::eval_loss_forgetting_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kTasks = 3;

// By attention's and the weights' stream: L(stage, task) in nats.
using Losses = std::map<std::pair<std::int64_t, std::int64_t>, double>;
using OfReadOuts = std::map<std::pair<std::string, std::string>, Losses>;

OfReadOuts losses_in(const std::vector<Row>& rows) {
  OfReadOuts all;
  for (const Row& row : rows) {
    const auto* e = std::get_if<EvalRow>(&row.body);
    if (e == nullptr || e->split != "validation") continue;
    all[{e->readout.attention.stream, e->readout.weights.stream}][{e->stage, e->task}] = e->loss;
  }
  return all;
}

double forgotten(const Losses& l) {
  double sum = 0;
  for (std::int64_t j = 1; j < kTasks; ++j) {
    double least = l.at({1, j});
    for (std::int64_t k = 2; k < kTasks; ++k) least = std::min(least, l.at({k, j}));
    sum += l.at({kTasks, j}) - least;
  }
  return sum / (kTasks - 1);
}

double transferred_back(const Losses& l) {
  double sum = 0;
  for (std::int64_t j = 1; j < kTasks; ++j) sum += l.at({j, j}) - l.at({kTasks, j});
  return sum / (kTasks - 1);
}

double transferred(const Losses& l) {
  double sum = 0;
  for (std::int64_t i = 2; i <= kTasks; ++i) sum += l.at({0, i}) - l.at({i - 1, i});
  return sum / (kTasks - 1);
}

}  // namespace

TEST_CASE("what a byte model forgets, in bits per byte", "[numeric]") {
  const TemporaryFolder folder;
  std::string corpus;
  for (const char first : {'a', 'h', 'o'}) {  // alphabets of their own
    std::string text;
    for (int i = 0; i < 4000; ++i) text.push_back(static_cast<char>(first + i * i % 13 % 7));
    atomic_write(folder / std::string(1, first), text);
    corpus += (corpus.empty() ? "" : "|") + folder.path() + "/" + first;
  }
  const Config run = Config::resolve(small_transformer({{"corpus", corpus},
                                                        {"scenario", "domain_il"},
                                                        {"tasks_by", "corpus"},
                                                        {"tasks", "3"},
                                                        {"attention", "ssa"},
                                                        {"weights", "alternate"},
                                                        {"steps", "120"},
                                                        {"lr", "0.01"}}));
  GroupSpec spec;
  spec.runs = {run};
  MemorySink sink;
  run_group(spec, sink);
  const OfReadOuts all = losses_in(sink.unacknowledged());
  REQUIRE(all.size() == 4);  // both streams at both levels
  const std::string database = folder / "r.sqlite";
  {
    RunRecord record{.id = run.id(), .canonical = run.canonical(), .values = {}};
    for (const auto& [name, value] : run.values()) record.values.emplace_back(name, value);
    StoreWriter writer(database);
    writer.add_runs({record});
    writer.insert(sink.unacknowledged());
  }
  const StoreReader reader(database);
  for (const auto& [streams, losses] : all) {
    CAPTURE(streams.first, streams.second);
    const auto value = [&](const std::string& column) {
      const QueryResult found = reader.query("SELECT " + column +
                                                 " FROM v_continual WHERE attention_readout = ?1 "
                                                 "AND weights_readout = ?2 AND split = "
                                                 "'validation'",
                                             {streams.first, streams.second});
      REQUIRE(found.rows.size() == 1);
      return std::stod(found.rows[0][0]);
    };
    CHECK(value("f_nats") == Approx(forgotten(losses)).epsilon(1e-9));
    CHECK(value("bwt_nats") == Approx(transferred_back(losses)).epsilon(1e-9));
    CHECK(value("fwt_nats") == Approx(transferred(losses)).epsilon(1e-9));
    CHECK(value("f_bits_per_byte") == Approx(forgotten(losses) / std::log(2.0)).epsilon(1e-9));
    CHECK(value("f_bits_per_byte") > 0.1);  // alphabets that the others do not have are forgotten
  }
}

}  // namespace tandem::test::eval_loss_forgetting_numeric
