// Sequences that are asked at some places: what training, evaluation and probes count of them,
// against loops over logits.
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>

#include "eval/evaluate.h"
#include "eval/group_probes.h"
#include "support/train_support.h"
#include "train/loss.h"

namespace tandem::test::eval_recall_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kRuns = 2;
const TrainerOptions kDouble = {.device = torch::kCPU, .dtype = torch::kFloat64};

std::vector<Config> recall_runs(const std::string& data, const Settings& more) {
  Settings said = {{"data", data},
                   {"train_sequences", "50"},
                   {"validation_sequences", "37"},
                   {"test_sequences", "5"}};
  if (data != "listops") said["vocabulary"] = "18";
  for (const auto& [name, value] : more) said[name] = value;
  std::vector<Config> runs;
  for (const char* seed : {"3", "8"}) {
    said["seed"] = seed;
    runs.push_back(Config::resolve(small_transformer(said)));
  }
  return runs;
}

struct Sums {
  double loss = 0;
  std::int64_t correct = 0, asked = 0;
};

// Of one sequence, from its logits [T,V] and the data set's own lists.
void add(const at::Tensor& logits, const Dataset& data, std::int64_t example, Sums& sums) {
  const auto asked = data.asked.accessor<std::int16_t, 2>(),
             answers = data.answers.accessor<std::int16_t, 2>();
  const auto z = logits.accessor<double, 2>();
  for (std::int64_t q = 0; q < data.asked.size(1); ++q) {
    const std::int64_t t = asked[example][q], right = answers[example][q];
    double sum = 0;
    bool best = true;
    for (std::int64_t v = 0; v < logits.size(1); ++v) {
      sum += std::exp(z[t][v]);
      best = best && (z[t][v] < z[t][right] || v == right);
    }
    sums.loss += std::log(sum) - z[t][right];
    sums.correct += best;
    ++sums.asked;
  }
}

at::Tensor logits_of(Trainer& trainer, const at::Tensor& x) {
  at::NoGradGuard no_grad;
  Context context;
  context.plans.attention.wanted = StreamsWanted::kFull;
  return trainer.model().forward(x, context);
}

at::Tensor tokens_of(const Dataset& data, std::int64_t example) {
  return data.inputs[example].to(torch::kLong).view({1, 1, -1}).expand({kRuns, 1, -1}).contiguous();
}

}  // namespace

TEST_CASE("evaluation counts what is asked and nothing else", "[numeric]") {
  const std::map<std::string, std::int64_t> queries = {
      {"mqar", 4},   {"mqar_forgetting", 4}, {"mqar_compositional", 4}, {"mqar_multihop", 4},
      {"recall", 1}, {"listops", 1},         {"mqar_stacked", 4},       {"needle", 8}};
  for (const auto& [name, asked] : queries) {
    Settings said = {{"steps", "8"}, {"weights", "dense"}};
    if (name == "mqar_stacked") said["vocabulary"] = "25";  // a square
    Trainer trainer(recall_runs(name, said), kDouble);
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 8; ++s) trainer.advance(0, s, 1);
    const Dataset& data = trainer.data();
    std::vector<Sums> expected(kRuns);
    for (const std::int64_t example : data.validation) {
      const at::Tensor logits = logits_of(trainer, tokens_of(data, example));
      for (std::int64_t r = 0; r < kRuns; ++r) {
        add(logits[r][0], data, example, expected[static_cast<std::size_t>(r)]);
      }
    }
    const auto rows = evaluate(trainer, {1, "validation", false, {1, 1}});
    for (std::size_t r = 0; r < kRuns; ++r) {
      CAPTURE(name, r);
      std::int64_t seen = 0;
      for (const EvalRow& row : rows[r]) {
        CHECK(row.n_total == 37 * asked);
        if (row.readout.attention.stream != "full" || row.readout.weights.stream != "full")
          continue;
        CHECK(row.n_total == expected[r].asked);
        CHECK(row.n_correct == expected[r].correct);
        CHECK(row.loss ==
              Approx(expected[r].loss / static_cast<double>(row.n_total)).epsilon(1e-10));
        ++seen;
      }
      CHECK(seen == 1);
    }
  }
}

TEST_CASE("the loss of a batch is the mean over what is asked of it", "[numeric]") {
  Trainer trainer(recall_runs("mqar", {{"steps", "1"}}), kDouble);
  const Dataset& data = trainer.data();
  // The second run has fewer, and rows that don't count in the place of the others.
  const std::vector<std::vector<std::int64_t>> examples = {{4, 9, 31}, {7}};
  const Batch batch = trainer.batches().make(examples, 3, OutputsOf::kAll);
  CHECK(batch.weight.sum(1)[0].item<double>() == 12);
  CHECK(batch.weight.sum(1)[1].item<double>() == 4);
  const at::Tensor logits = logits_of(trainer, batch.x).reshape({kRuns, -1, 18});
  const at::Tensor loss = cross_entropy(logits, batch.target, batch.weight, batch.allowed);
  for (std::size_t r = 0; r < kRuns; ++r) {
    Sums sums;
    for (const std::int64_t example : examples[r]) {
      add(logits_of(trainer, tokens_of(data, example))[static_cast<std::int64_t>(r)][0], data,
          example, sums);
    }
    CHECK(loss[static_cast<std::int64_t>(r)].item<double>() ==
          Approx(sums.loss / static_cast<double>(sums.asked)).epsilon(1e-10));
  }
}

TEST_CASE("probes see what is asked", "[numeric]") {
  Trainer trainer(recall_runs("mqar", {{"steps", "1"}}), kDouble);
  const Batch batch = probe_batch(trainer);
  CHECK(batch.x.size(1) == 32);
  CHECK(batch.asked.sizes() == at::IntArrayRef({kRuns, 32 * 4}));
  const at::Tensor logits = logits_of(trainer, batch.x);
  Sums sums;
  for (std::int64_t b = 0; b < 32; ++b) {
    const std::int64_t example = trainer.data().validation[static_cast<std::size_t>(b)];
    add(logits[0][b], trainer.data(), example, sums);
  }
  const double ranked = ranking_batch(batch).loss(logits)[0].item<double>();
  CHECK(ranked == Approx(sums.loss / static_cast<double>(sums.asked)).epsilon(1e-10));
}

TEST_CASE("recall by distance is what loops over validation find, in both streams", "[numeric]") {
  for (const std::string name : {"mqar_forgetting", "needle"}) {
    const Settings own = name == "needle" ? Settings{{"depth", "-1"}, {"key_length", "3"}}
                                          : Settings{{"gap_power", "1"}};
    Settings said = {{"steps", "8"}, {"weights", "dense"}, {"probes", "recall"}};
    said.insert(own.begin(), own.end());
    Trainer trainer(recall_runs(name, said), kDouble);
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 8; ++s) trainer.advance(0, s, 1);
    GroupProbes probes(trainer);
    GroupProbes::Moment moment;
    moment.wanted = {1, 1};
    moment.last = true;
    const auto rows = probes.measure(moment);
    const Dataset& data = trainer.data();
    const auto asked = data.asked.accessor<std::int16_t, 2>(),
               sources = data.sources.accessor<std::int16_t, 2>(),
               answers = data.answers.accessor<std::int16_t, 2>();
    for (std::size_t r = 0; r < kRuns; ++r) {
      std::map<std::string, std::pair<double, std::int64_t>> expected;  // sums and counts
      for (const std::string stream : {"full", "sparse"}) {
        for (const std::int64_t example : data.validation) {
          at::NoGradGuard no_grad;
          Context context;
          context.plans.attention.wanted =
              stream == "full" ? StreamsWanted::kFull : StreamsWanted::kSparse;
          const at::Tensor all = trainer.model().forward(tokens_of(data, example), context);
          const at::Tensor own_logits = all[static_cast<std::int64_t>(r)][0].contiguous();
          const auto z = own_logits.accessor<double, 2>();
          bool whole = true;
          for (std::int64_t q = 0; q < data.asked.size(1); ++q) {
            const std::int64_t t = asked[example][q], right = answers[example][q],
                               from = sources[example][q];
            double sum = 0;
            bool best = true;
            for (std::int64_t v = 0; v < all.size(3); ++v) {
              sum += std::exp(z[t][v]);
              best = best && (z[t][v] < z[t][right] || v == right);
            }
            std::int64_t bin = 1;
            while (2 * bin <= t - from) bin *= 2;
            const auto add = [&](const std::string& to, double value) {
              expected[to].first += value;
              ++expected[to].second;
            };
            add("recall_" + stream + "_" + std::to_string(bin), best ? 1 : 0);
            add("recall_loss_" + stream + "_" + std::to_string(bin), std::log(sum) - z[t][right]);
            const auto tenths = static_cast<std::int64_t>(
                std::floor(10 * static_cast<double>(from) / static_cast<double>(t)));
            add("recall_depth_" + stream + "_" + std::to_string(10 * tenths), best ? 1 : 0);
            if (stream == "full") expected["recall_queries_" + std::to_string(bin)].first += 1;
            whole = whole && best;
          }
          expected["recall_whole_" + stream].first += whole ? 1 : 0;
          ++expected["recall_whole_" + stream].second;
        }
      }
      std::size_t found = 0, bins = 0;
      for (const MetricRow& row : rows[r]) {
        if (row.name == "probe_seconds") continue;
        CAPTURE(name, r, row.name);
        REQUIRE(expected.count(row.name) == 1);
        CHECK(row.layer == "attention");
        const auto& [sum, count] = expected.at(row.name);
        CHECK(row.value ==
              Approx(sum / static_cast<double>(std::max<std::int64_t>(1, count))).epsilon(1e-10));
        bins += row.name.find("queries") != std::string::npos;
        ++found;
      }
      CHECK(found == expected.size());
      CHECK(bins >= 3);
    }
  }
}

TEST_CASE("what a task's tokens mean is learned, and forgotten for the next one's", "[numeric]") {
  const Settings said = small_transformer({{"data", "recall"},
                                           {"context", "6"},
                                           {"vocabulary", "10"},
                                           {"pairs", "1"},
                                           {"train_sequences", "4000"},
                                           {"validation_sequences", "200"},
                                           {"scenario", "domain_il"},
                                           {"tasks_by", "permutation"},
                                           {"tasks", "2"},
                                           {"layers", "1"},
                                           {"block_size", "2"},
                                           {"batch", "16"},
                                           {"lr", "0.01"},
                                           {"steps", "200"}});
  const auto accuracy = [&](const Settings& more) {  // [stage][task], through full attention
    Settings own = said;
    for (const auto& [name, value] : more) own[name] = value;
    Trainer trainer({Config::resolve(own)}, {});
    std::vector<std::vector<double>> found;
    for (std::int64_t stage = 0; stage < 2; ++stage) {
      trainer.begin_stage(stage);
      for (std::int64_t s = 0; s < 200;) s += trainer.advance(stage, s, 200 - s).steps;
      trainer.end_stage(stage);
      found.emplace_back();
      const auto rows = evaluate(trainer, {stage + 1, "validation", false, {1}});
      for (const EvalRow& row : rows[0]) {
        if (row.readout.attention.stream != "full" || row.readout.weights.stream != "full")
          continue;
        CHECK(row.n_total == 200);
        found.back().push_back(static_cast<double>(row.n_correct) / 200);
      }
      REQUIRE(found.back().size() == 2);
    }
    return found;
  };
  const auto plain = accuracy({{"strategy", "finetune"}});
  CHECK(plain[0][0] > 0.9);
  CHECK(plain[1][1] > 0.9);
  CHECK(plain[0][1] < 0.8);
  CHECK(plain[1][0] < plain[0][0] - 0.2);
  const auto replayed = accuracy({{"strategy", "er"}, {"buffer", "500"}, {"replay_batch", "16"}});
  CHECK(replayed[1][1] > 0.9);
  CHECK(replayed[1][0] > plain[1][0] + 0.1);
}

TEST_CASE("a transformer learns to answer from what is asked alone", "[numeric]") {
  // The value stands second, before the last token, which asks for it amid other tokens.
  Trainer trainer({Config::resolve(small_transformer({{"data", "recall"},
                                                      {"context", "6"},
                                                      {"vocabulary", "8"},
                                                      {"pairs", "1"},
                                                      {"train_sequences", "5000"},
                                                      {"validation_sequences", "200"},
                                                      {"layers", "1"},
                                                      {"block_size", "2"},
                                                      {"batch", "16"},
                                                      {"lr", "0.01"},
                                                      {"steps", "150"}}))},
                  {});
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 150;) s += trainer.advance(0, s, 150 - s).steps;
  const auto rows = evaluate(trainer, {1, "validation", false, {1}});
  REQUIRE_FALSE(rows[0].empty());
  const EvalRow& row = rows[0].front();
  CHECK(row.n_total == 200);
  CHECK(static_cast<double>(row.n_correct) > 0.9 * 200);  // of 4 values: a guess has a quarter
}

}  // namespace tandem::test::eval_recall_numeric
