// Read-outs of windows longer than those of training, against loops over logits.
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "core/files.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "support/resume_support.h"
#include "support/train_support.h"

namespace tandem::test::eval_contexts_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kContext = 8;
const TrainerOptions kDouble = {.device = torch::kCPU, .dtype = torch::kFloat64};

std::string letters(std::size_t size, std::uint32_t seed) {
  std::string text;
  std::uint64_t state = seed;
  while (text.size() < size) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    text += static_cast<char>('a' + (state >> 60) % 7);
  }
  return text;
}

Settings longer_settings(const std::string& corpus, const Settings& more = {}) {
  Settings said = small_transformer({{"corpus", corpus},
                                     {"context", std::to_string(kContext)},
                                     {"blocks", "1"},
                                     {"weights", "dense"},
                                     {"steps", "6"},
                                     {"eval_contexts", "1,2,4"},
                                     {"eval_scalings", "none,linear,ntk"}});
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

// Of one range of bytes.
struct Sums {
  double loss = 0, beyond = 0;
  std::int64_t rows = 0, rows_beyond = 0, correct = 0;
};

// By passes of one window each.
Sums by_hand(Trainer& trainer, std::int64_t r, std::int64_t begin, std::int64_t end,
             std::int64_t multiple, const RopeFactors& rope, bool sparse) {
  const at::NoGradGuard no_grad;
  const std::int64_t tokens = multiple * kContext;
  const auto* bytes = trainer.data().inputs.const_data_ptr<std::uint8_t>();
  Sums sums;
  for (std::int64_t start = begin; start + tokens + 1 <= end; start += tokens + 1) {
    at::Tensor x = torch::empty({trainer.replicas(), 1, tokens}, torch::kInt64);
    for (std::int64_t i = 0; i < tokens; ++i) x.select(2, i).fill_(bytes[start + i]);
    Context context;
    context.rope = rope;
    context.plans.attention.wanted = sparse ? StreamsWanted::kSparse : StreamsWanted::kFull;
    const at::Tensor z = trainer.model().forward(x, context)[r][0].contiguous();
    const auto logits = z.accessor<double, 2>();
    for (std::int64_t i = 0; i < tokens; ++i) {
      const std::int64_t right = bytes[start + i + 1];
      double sum = 0;
      bool best = true;
      for (std::int64_t v = 0; v < 256; ++v) {
        sum += std::exp(logits[i][v]);
        best = best && (logits[i][v] < logits[i][right] || v == right);
      }
      const double loss = std::log(sum) - logits[i][right];
      sums.loss += loss;
      sums.correct += best;
      ++sums.rows;
      if (i < kContext) continue;
      sums.beyond += loss;
      ++sums.rows_beyond;
    }
  }
  return sums;
}

std::vector<Config> two_seeds(Settings said) {
  std::vector<Config> runs;
  for (const char* seed : {"3", "8"}) {
    said["seed"] = seed;
    runs.push_back(Config::resolve(said));
  }
  return runs;
}

const EvalRow& row_where(const std::vector<EvalRow>& rows, const ReadoutRecord& readout,
                         std::int64_t task = 1) {
  const EvalRow* found = nullptr;
  for (const EvalRow& row : rows) {
    if (!(row.readout == readout) || row.task != task) continue;
    REQUIRE(found == nullptr);
    found = &row;
  }
  CAPTURE(identity_of(readout), task);
  REQUIRE(found != nullptr);
  return *found;
}

ReadoutRecord readout_of(bool sparse, std::int64_t multiple, const std::string& scaling,
                         bool beyond) {
  ReadoutRecord readout;
  readout.attention = sparse ? LevelRead{"sparse", 1.0, "blocks"} : LevelRead{"full", {}, ""};
  if (multiple > 1) {
    readout.context = multiple * kContext;
    if (scaling != "none") readout.scaling = scaling;
    if (beyond) readout.condition = "position=beyond";
  }
  return readout;
}

}  // namespace

TEST_CASE("longer windows are read with and without scaling, and beyond the trained length",
          "[numeric]") {
  const TemporaryFolder folder;
  atomic_write(folder / "text", letters(3000, 4));
  Trainer trainer(two_seeds(longer_settings(folder / "text")), kDouble);
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 6; ++s) trainer.advance(0, s, 1);
  Evaluation asked{1, "validation", false, {1, 1}};
  const std::size_t trained_only = evaluate(trainer, asked)[0].size();
  asked.longer = true;
  const auto rows = evaluate(trainer, asked);
  // Two more lengths, each with three scalings, and of each the targets beyond.
  CHECK(rows[0].size() == trained_only * (1 + 2 * 3 * 2));
  asked.split = "test";
  const auto test = evaluate(trainer, asked);
  for (std::int64_t r = 0; r < 2; ++r) {
    const auto own = static_cast<std::size_t>(r);
    for (const bool sparse : {false, true}) {
      for (const std::int64_t multiple : {1, 2, 4}) {
        for (const std::string scaling : {"none", "linear", "ntk"}) {
          if (multiple == 1 && scaling != "none") continue;
          CAPTURE(r, sparse, multiple, scaling);
          const RopeFactors rope = rope_factors(scaling, static_cast<double>(multiple));
          const Sums sums = by_hand(trainer, r, 2700, 2850, multiple, rope, sparse);
          const EvalRow& all = row_where(rows[own], readout_of(sparse, multiple, scaling, false));
          CHECK(all.n_total == sums.rows);
          CHECK(all.n_correct == sums.correct);
          CHECK(all.loss == Approx(sums.loss / static_cast<double>(sums.rows)).epsilon(1e-9));
          const Sums there = by_hand(trainer, r, 2850, 3000, multiple, rope, sparse);
          CHECK(row_where(test[own], readout_of(sparse, multiple, scaling, false)).loss ==
                Approx(there.loss / static_cast<double>(there.rows)).epsilon(1e-9));
          if (multiple == 1) continue;
          const EvalRow& beyond = row_where(rows[own], readout_of(sparse, multiple, scaling, true));
          CHECK(beyond.n_total == sums.rows_beyond);
          CHECK(beyond.loss ==
                Approx(sums.beyond / static_cast<double>(sums.rows_beyond)).epsilon(1e-9));
        }
      }
    }
  }
}

TEST_CASE("each task has longer windows of its own part of a corpus", "[numeric]") {
  const TemporaryFolder folder;
  atomic_write(folder / "a", letters(2000, 4));
  atomic_write(folder / "b", letters(1200, 9));
  Trainer trainer(
      two_seeds(longer_settings(folder / "a|" + (folder / "b"), {{"scenario", "domain_il"},
                                                                 {"tasks_by", "corpus"},
                                                                 {"tasks", "2"},
                                                                 {"eval_scalings", "none"}})),
      kDouble);
  trainer.begin_stage(0);
  Evaluation asked{0, "validation", false, {1, 1}};
  asked.longer = true;
  const auto rows = evaluate(trainer, asked);
  for (const std::int64_t task : {1, 2}) {
    const std::int64_t begin = task == 1 ? 1800 : 2000 + 1080;
    const std::int64_t end = task == 1 ? 1900 : 2000 + 1140;
    for (const std::int64_t multiple : {2, 4}) {
      const Sums sums = by_hand(trainer, 1, begin, end, multiple, {}, true);
      const EvalRow& row = row_where(rows[1], readout_of(true, multiple, "none", false), task);
      CAPTURE(task, multiple);
      CHECK(row.n_total == sums.rows);
      CHECK(row.loss == Approx(sums.loss / static_cast<double>(sums.rows)).epsilon(1e-9));
    }
  }
}

TEST_CASE("evaluation_windows reads about as many bytes in longer windows", "[numeric]") {
  const TemporaryFolder folder;
  atomic_write(folder / "text", letters(6000, 4));
  Trainer trainer(two_seeds(longer_settings(folder / "text", {{"evaluation_windows", "9"}})),
                  kDouble);
  trainer.begin_stage(0);
  Evaluation asked{0, "validation", false, {1, 1}};
  asked.longer = true;
  const auto rows = evaluate(trainer, asked);
  CHECK(row_where(rows[0], readout_of(false, 1, "none", false)).n_total == 9 * 8);
  CHECK(row_where(rows[0], readout_of(false, 2, "none", false)).n_total == 5 * 16);
  CHECK(row_where(rows[0], readout_of(false, 4, "none", false)).n_total == 3 * 32);
}

TEST_CASE("longer windows are read the same alone, in company and resumed, at every budget",
          "[numeric]") {
  const TemporaryFolder folder;
  atomic_write(folder / "text", letters(4000, 4));
  for (const std::string attention : {"ssa", "nsa"}) {
    Settings said = longer_settings(folder / "text", {{"attention", attention},
                                                      {"eval_contexts", "3"},
                                                      {"weights", "static"},
                                                      {"blocks", "2"},
                                                      {"curve", "true"},
                                                      {"eval_every", "0.05"}});
    if (attention == "nsa") said["nsa_window"] = "8";
    const std::vector<Config> runs = two_seeds(said);
    const Outcome together = run_disturbed(runs, 0), disturbed = run_disturbed(runs, 2);
    CHECK(disturbed.rows == together.rows);
    CHECK(disturbed.weights == together.weights);
    const Outcome alone = run_disturbed({runs[1]}, 0);
    std::size_t longer = 0, beside_budget = 0;
    for (const auto& [key, line] : alone.rows) {
      CAPTURE(line);
      CHECK(together.rows.at(key) == line);
      longer += line.find("\"context\":24") != std::string::npos;
      beside_budget += line.find("\"context\":24") != std::string::npos &&
                       line.find("\"attention_budget\":4") != std::string::npos;
    }
    CHECK(longer > 0);
    CHECK(beside_budget == 3 * 2);
  }
}

}  // namespace tandem::test::eval_contexts_numeric
