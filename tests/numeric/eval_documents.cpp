// Training and evaluation on packed documents, against documents that are passed one by one.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/files.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "eval/group_probes.h"
#include "support/resume_support.h"
#include "support/train_support.h"
#include "train/loss.h"

namespace tandem::test::eval_documents_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kContext = 12;
const TrainerOptions kDouble = {.device = torch::kCPU, .dtype = torch::kFloat64};

// Files of these lengths; text of seven letters.
struct Files {
  TemporaryFolder folder;
  std::string corpus;
  std::vector<std::int64_t> begins;
  std::int64_t size = 0;

  explicit Files(const std::vector<std::size_t>& lengths) {
    std::uint64_t state = 5;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      std::string text;
      while (text.size() < lengths[i]) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        text += static_cast<char>('a' + (state >> 60) % 7);
      }
      const std::string path = folder / ("f" + std::to_string(i));
      atomic_write(path, text);
      corpus += (i > 0 ? "," : "") + path;
      begins.push_back(size);
      size += static_cast<std::int64_t>(text.size());
    }
  }
};

// Many short files, of which some end within every window.
std::vector<std::size_t> short_files() {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < 220; ++i) lengths.push_back(3 + i * 7 % 17);
  return lengths;
}

std::vector<Config> packed_runs(const Files& files, const Settings& more = {}) {
  Settings said = small_transformer({{"corpus", files.corpus},
                                     {"documents", "pack"},
                                     {"context", std::to_string(kContext)},
                                     {"weights", "dense"},
                                     {"steps", "5"}});
  for (const auto& [name, value] : more) said[name] = value;
  std::vector<Config> runs;
  for (const char* seed : {"3", "8"}) {
    said["seed"] = seed;
    runs.push_back(Config::resolve(said));
  }
  return runs;
}

struct Sums {
  double loss = 0, beyond = 0;
  std::int64_t rows = 0, rows_beyond = 0, correct = 0;
  double mean() const { return loss / static_cast<double>(rows); }
};

// Adds a window's documents, each passed alone, in the full stream. A document's first byte, as the
// window's, is no target.
void add_window(Trainer& trainer, const Files& files, std::int64_t r, std::int64_t start,
                std::int64_t tokens, Sums& sums) {
  const at::NoGradGuard no_grad;
  const auto* bytes = trainer.data().inputs.const_data_ptr<std::uint8_t>();
  for (std::int64_t begin = start; begin < start + tokens;) {
    std::int64_t end = start + tokens + 1;  // of the document within the window and its last target
    for (const std::int64_t each : files.begins) {
      if (each > begin) end = std::min(end, each);
    }
    const std::int64_t inputs = std::min(end, start + tokens) - begin;
    at::Tensor x = torch::empty({trainer.replicas(), 1, inputs}, torch::kInt64);
    for (std::int64_t i = 0; i < inputs; ++i) x.select(2, i).fill_(bytes[begin + i]);
    Context context;
    const at::Tensor z = trainer.model().forward(x, context)[r][0].contiguous();
    const auto logits = z.accessor<double, 2>();
    for (std::int64_t i = 0; i < inputs && begin + i + 1 < end; ++i) {
      const std::int64_t right = bytes[begin + i + 1];
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
    begin = std::min(end, start + tokens);
  }
}

}  // namespace

TEST_CASE("a read-out of packed documents is that of each alone", "[numeric]") {
  const Files files(short_files());
  Trainer trainer(packed_runs(files, {{"eval_contexts", "2"}}), kDouble);
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 5; ++s) trainer.advance(0, s, 1);
  Evaluation asked{1, "validation", false, {1, 1}};
  asked.longer = true;
  const auto rows = evaluate(trainer, asked);
  const std::int64_t train_end = files.size / 10 * 9 + files.size % 10 * 9 / 10;
  const std::int64_t end = train_end + (files.size - train_end) / 2;
  for (const std::int64_t multiple : {1, 2}) {
    for (std::int64_t r = 0; r < 2; ++r) {
      const std::int64_t tokens = multiple * kContext;
      Sums sums;
      for (std::int64_t at = train_end; at + tokens + 1 <= end; at += tokens + 1) {
        add_window(trainer, files, r, at, tokens, sums);
      }
      std::size_t seen = 0;
      for (const EvalRow& row : rows[static_cast<std::size_t>(r)]) {
        if (row.readout.attention.stream != "full" || row.readout.weights.stream != "full")
          continue;
        if (row.readout.context.value_or(kContext) != tokens) continue;
        CAPTURE(multiple, r, identity_of(row.readout));
        ++seen;
        if (row.readout.condition.empty()) {
          CHECK(row.n_total == sums.rows);
          CHECK(row.n_correct == sums.correct);
          CHECK(row.loss == Approx(sums.mean()).epsilon(1e-9));
        } else {
          CHECK(row.n_total == sums.rows_beyond);
          CHECK(row.loss ==
                Approx(sums.beyond / static_cast<double>(sums.rows_beyond)).epsilon(1e-9));
        }
      }
      CHECK(seen == static_cast<std::size_t>(multiple));
    }
  }
}

TEST_CASE("the loss of a batch of packed documents is the mean over what counts", "[numeric]") {
  const Files files(short_files());
  Trainer trainer(packed_runs(files), kDouble);
  const std::vector<std::vector<std::int64_t>> examples = {{4, 90, 311}, {777}};
  const Batch batch = trainer.batches().make(examples, 3, OutputsOf::kAll);
  Context context;
  const at::NoGradGuard no_grad;
  const at::Tensor logits = trainer.model().forward(batch.x, context).reshape({2, -1, 256});
  const at::Tensor loss = cross_entropy(logits, batch.target, batch.weight, batch.allowed);
  for (std::int64_t r = 0; r < 2; ++r) {
    Sums sums;
    for (const std::int64_t each : examples[static_cast<std::size_t>(r)]) {
      add_window(trainer, files, r, each, kContext, sums);
    }
    CHECK(batch.weight[r].sum().item<double>() == static_cast<double>(sums.rows));
    CHECK(sums.rows < kContext * (r == 0 ? 3 : 1));
    CHECK(loss[r].item<double>() == Approx(sums.mean()).epsilon(1e-9));
  }
}

TEST_CASE("probes of packed documents ask for targets of the own document", "[numeric]") {
  const Files files(short_files());
  Trainer trainer(packed_runs(files), kDouble);
  const Batch batch = probe_batch(trainer);
  REQUIRE(batch.asked.defined());
  const at::Tensor counted = batch.counted;
  CHECK(batch.asked.size(1) == counted[0].sum().item<std::int64_t>());
  CHECK(counted.gather(1, batch.asked).all().item<bool>());
  CHECK(batch.asked.size(1) < counted.size(1));
}

TEST_CASE("a corpus of one file is the same packed or not", "[numeric]") {
  const Files files({2000});
  const auto losses = [&](const std::string& documents) {
    Trainer trainer(packed_runs(files, {{"documents", documents}, {"attention", "ssa"}}), kDouble);
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 5; ++s) trainer.advance(0, s, 1);
    std::vector<double> all;
    for (const auto& own : evaluate(trainer, {1, "validation", false, {1, 1}})) {
      for (const EvalRow& row : own) all.push_back(row.loss);
    }
    return all;
  };
  const auto join = losses("join"), pack = losses("pack");
  REQUIRE(join.size() == pack.size());
  for (std::size_t i = 0; i < join.size(); ++i) CHECK(pack[i] == Approx(join[i]).epsilon(1e-10));
}

TEST_CASE("strategies train on packed documents, the same alone, in company and resumed",
          "[numeric]") {
  const Files a(short_files()), b({400, 300, 5, 500});
  for (const std::string strategy : {"er", "derpp", "mir", "agem", "ewc_empirical", "lwf"}) {
    Settings said = {{"corpus", a.corpus + "|" + b.corpus},
                     {"scenario", "domain_il"},
                     {"tasks_by", "corpus"},
                     {"tasks", "2"},
                     {"strategy", strategy},
                     {"steps", "6"},
                     {"attention", "ssa"}};
    if (strategy != "ewc_empirical" && strategy != "lwf") {
      said["buffer"] = "6";
      said["replay_batch"] = "2";
    }
    CAPTURE(strategy);
    const std::vector<Config> runs = packed_runs(a, said);
    const Outcome together = run_disturbed(runs, 0), disturbed = run_disturbed(runs, 5);
    CHECK(disturbed.rows == together.rows);
    CHECK(disturbed.weights == together.weights);
    const Outcome alone = run_disturbed({runs[1]}, 0);
    for (const auto& [key, line] : alone.rows) CHECK(together.rows.at(key) == line);
  }
}

}  // namespace tandem::test::eval_documents_numeric
