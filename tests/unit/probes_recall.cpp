// Recall by distance of answers that are written down.
#include <limits>

#include "nn/model.h"
#include "probes_fixture.h"

namespace tandem::test::probes_recall_unit {
namespace {

// Answers with what is said, by the stream of attention.
class ToldAnswers : public Model {
 public:
  at::Tensor forward(const at::Tensor& x, Context& context) override {
    ++passes;
    const bool full = context.plans.attention.wanted == StreamsWanted::kFull;
    REQUIRE((full || context.plans.attention.wanted == StreamsWanted::kSparse));
    // The token says which row of the table.
    return (full ? full_logits : sparse_logits)
        .index_select(0, x.reshape({-1}))
        .view({x.size(0), x.size(1), x.size(2), full_logits.size(1)});
  }
  std::vector<Linear*> linears() override { return {}; }
  std::vector<Parameter*> parameters() override { return {}; }
  std::int64_t sites(Level level) const override {
    return level == Level::kAttention ? attention_sites : 0;
  }

  at::Tensor full_logits, sparse_logits;  // [V,C]
  std::int64_t attention_sites = 1;
  int passes = 0;
};

at::Tensor whole(const std::vector<std::int64_t>& values, at::IntArrayRef shape) {
  return torch::tensor(values, torch::kLong).view(shape);
}

// Two sequences of 16 tokens that ask twice, of two runs. Token 1 leads to output 1 in both streams
// (with probability 3/4 of two outputs), token 2 in the full one alone.
struct Told {
  ToldAnswers model;
  AskedPart part;
  std::vector<ReadoutRun> runs;

  Told() : runs(2, zero_dormant_run(1)) {
    const double likely = std::log(3.0);
    model.full_logits = doubles({0, 0, 0, likely, 0, likely}, {3, 2});
    model.sparse_logits = doubles({0, 0, 0, likely, likely, 0}, {3, 2});
    at::Tensor x = torch::zeros({2, 2, 16}, torch::kLong);
    // The first run's queries are tokens 1 and 2, and 1 and 1; all of the second run's are 2.
    const std::int64_t places[2][2] = {{9, 15}, {10, 12}};
    const std::int64_t first[2][2] = {{1, 2}, {1, 1}};
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t q = 0; q < 2; ++q) {
        x[0][b][places[b][q]] = first[b][q];
        x[1][b][places[b][q]] = 2;
      }
    }
    part.x = x;
    part.place = whole({9, 15, 10, 12}, {2, 2});
    part.asked = whole({9, 15, 26, 28, 9, 15, 26, 28}, {2, 4});
    part.target = torch::ones({2, 4}, torch::kLong);
    // Distances 1, 8, 7 and 12; on the way 8/9, 7/15, 3/10 and 0.
    part.sources = whole({8, 7, 3, 0}, {2, 2});
  }

  Measurements rows(std::int64_t parts = 1) {
    ProbeInput input = input_of(model, runs, torch::zeros({2, 1, 4}, torch::kDouble));
    input.asked_parts = parts;
    input.asked_part = [this](std::int64_t) { return part; };
    return probes().at("probe", "recall")(runs)->measure(input);
  }
};

}  // namespace

TEST_CASE("answers are counted by the distance of what they recall", "[unit]") {
  Told told;
  const auto rows = told.rows();
  const double right = -std::log(0.75), wrong = -std::log(0.25);
  const auto at = [&](std::size_t r, const std::string& name) {
    return value(rows, r, "attention", name);
  };
  CHECK(at(0, "recall_queries_1") == 1);
  CHECK(at(0, "recall_queries_4") == 1);
  CHECK(at(0, "recall_queries_8") == 2);
  CHECK_FALSE(has(rows, 0, "attention", "recall_queries_2"));
  CHECK_FALSE(has(rows, 0, "attention", "recall_full_2"));
  for (const char* bin : {"1", "4", "8"}) {
    CHECK(at(0, std::string("recall_full_") + bin) == 1);
    CHECK(at(0, std::string("recall_loss_full_") + bin) == Approx(right));
    CHECK(at(1, std::string("recall_full_") + bin) == 1);
    CHECK(at(1, std::string("recall_sparse_") + bin) == 0);
    CHECK(at(1, std::string("recall_loss_sparse_") + bin) == Approx(wrong));
  }
  CHECK(at(0, "recall_sparse_1") == 1);
  CHECK(at(0, "recall_sparse_4") == 1);
  CHECK(at(0, "recall_sparse_8") == 0.5);
  CHECK(at(0, "recall_loss_sparse_8") == Approx((right + wrong) / 2));
  // 7/15 of the way is between four and five tenths, and 3/10 is just three.
  CHECK(at(0, "recall_depth_sparse_80") == 1);
  CHECK(at(0, "recall_depth_sparse_40") == 0);
  CHECK(at(0, "recall_depth_sparse_30") == 1);
  CHECK(at(0, "recall_depth_sparse_0") == 1);
  CHECK(at(0, "recall_depth_full_40") == 1);
  CHECK_FALSE(has(rows, 0, "attention", "recall_depth_full_10"));
  CHECK(at(0, "recall_whole_full") == 1);
  CHECK(at(0, "recall_whole_sparse") == 0.5);
  CHECK(at(1, "recall_whole_sparse") == 0);
}

TEST_CASE("parts add up, and nets of tasks are read each for its own", "[unit]") {
  Told told;
  const auto twice = told.rows(3);
  CHECK(value(twice, 0, "attention", "recall_queries_8") == 6);
  CHECK(value(twice, 0, "attention", "recall_sparse_8") == 0.5);
  CHECK(told.model.passes == 6);
  std::vector<std::int64_t> asked;
  ProbeInput input = input_of(told.model, told.runs, torch::zeros({2, 1, 4}, torch::kDouble));
  input.asked_parts = 2;
  input.asked_part = [&told](std::int64_t part) {
    told.part.task = part + 1;
    return told.part;
  };
  input.read_as = [&asked](std::int64_t task) {
    asked.push_back(task);
    return std::make_shared<int>(0);
  };
  probes().at("probe", "recall")(told.runs)->measure(input);
  CHECK(asked == std::vector<std::int64_t>{1, 2});
}

TEST_CASE("where nothing is asked, or there is no attention, nothing is said of recall", "[unit]") {
  Told told;
  CHECK(told.rows(0)[0].empty());
  told.model.attention_sites = 0;
  CHECK(told.rows()[0].empty());
  CHECK_FALSE(probes().at("probe", "recall")(told.runs)->by_default());
  CHECK(probes().at("probe", "recall")(told.runs)->at_task_ends());
}

}  // namespace tandem::test::probes_recall_unit
