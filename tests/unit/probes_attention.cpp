// Concentration of attention: weights that are written down (4 tokens in blocks of 1, 2 blocks
// chosen, so that queries 2 and 3 count), and drawn ones by plain loops.
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "nn/attention/view.h"
#include "probes/attention.h"
#include "probes_fixture.h"

namespace tandem::test::probes_attention_unit {

namespace {

// Offers what attention would and computes nothing.
class AttentionOffer : public Model {
 public:
  at::Tensor forward(const at::Tensor& x, Context& context) override {
    wanted = context.plans.attention.wanted;
    if (context.observe_tensor) {
      context.observe_tensor("a", kObserveGate, gate);
      context.observe_tensor("a", "activation", gate);
    }
    if (context.observe_attention) {
      const at::Tensor q = torch::zeros(
          {values.size(0), values.size(1), values.size(2), weights.size(2), values.size(4)});
      AttentionView view{.q = q, .v = values};
      view.block_size = block_size;
      view.blocks = blocks;
      view.weights = [this](const at::Tensor& queries) {
        most_rows = std::max(most_rows, queries.size(0));
        return weights.index_select(3, queries);
      };
      view.chosen = [this](const at::Tensor& queries) { return chosen.index_select(3, queries); };
      context.observe_attention("a", view);
    }
    return x;
  }
  std::vector<Linear*> linears() override { return {}; }
  std::vector<Parameter*> parameters() override { return {}; }
  std::int64_t sites(Level level) const override { return level == Level::kAttention ? 1 : 0; }

  at::Tensor weights, chosen, values, gate;  // [R,B,H,T,T], [R,B,L,T,NB], ...
  std::int64_t block_size = 1, blocks = 2;
  StreamsWanted wanted = StreamsWanted::kBoth;
  std::int64_t most_rows = 0;  // that were asked for at once
};

AttentionOffer by_hand() {
  AttentionOffer offer;
  offer.weights = doubles({1, 0, 0, 0,          //
                           0.5, 0.5, 0, 0,      //
                           0.5, 0.25, 0.25, 0,  //
                           0.4, 0.3, 0.2, 0.1},
                          {1, 1, 1, 4, 4});
  offer.chosen = torch::tensor({1, 0, 0, 0,  //
                                1, 1, 0, 0,  //
                                0, 1, 1, 0,  //
                                0, 0, 1, 1})
                     .to(torch::kBool)
                     .view({1, 1, 1, 4, 4});
  offer.values = torch::zeros({1, 1, 4, 1, 2}, torch::kDouble);
  offer.gate = doubles({0, 0, 0.25, 0.75}, {1, 1, 4, 1});
  return offer;
}

ReadoutRun attention_run(const std::string& blocks, const std::string& block_size = "1") {
  ReadoutRun run = zero_dormant_run(1);
  run.policies.attention.schedule.kind = Schedule::Kind::kSparse;
  run.config = Config::resolve({{"data", "bytes"},
                                {"model", "transformer"},
                                {"block_size", block_size},
                                {"blocks", blocks}});
  return run;
}

const at::Tensor kInput = torch::zeros({1, 1, 4, 2}, torch::kDouble);

constexpr std::int64_t kRuns = 2, kBatch = 2, kHeads = 4, kKeyHeads = 2, kTokens = 46, kWidth = 3,
                       kBlockSize = 4, kBudget = 3, kBlocks = 12;

// Softmax weights over earlier keys, choices of kBudget blocks with the query's own, and values.
AttentionOffer drawn() {
  torch::manual_seed(11);
  AttentionOffer offer;
  offer.block_size = kBlockSize;
  offer.blocks = kBudget;
  const at::Tensor later = torch::ones({kTokens, kTokens}, torch::kBool).triu(1);
  offer.weights =
      torch::softmax((2 * torch::randn({kRuns, kBatch, kHeads, kTokens, kTokens}, torch::kDouble))
                         .masked_fill(later, -std::numeric_limits<double>::infinity()),
                     -1);
  const at::Tensor own = torch::arange(kTokens).div(kBlockSize, "floor").unsqueeze(1);
  const at::Tensor block = torch::arange(kBlocks);
  at::Tensor rank = torch::rand({kRuns, kBatch, kKeyHeads, kTokens, kBlocks}, torch::kDouble);
  rank = rank.masked_fill(block > own, -1).masked_fill(block == own, 2);
  offer.chosen = torch::zeros(rank.sizes(), torch::kBool)
                     .scatter_(-1, std::get<1>(rank.topk(kBudget, -1)), true)
                     .logical_and(block <= own);
  offer.values = torch::randn({kRuns, kBatch, kTokens, kKeyHeads, kWidth}, torch::kDouble);
  offer.gate = torch::rand({kRuns, kBatch, kTokens, kHeads}, torch::kDouble);
  return offer;
}

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double each : x) sum += each * each;
  return std::sqrt(sum);
}

// All measures of one run, by loops, over these queries.
std::map<std::string, double> by_loops(const AttentionOffer& offer, std::int64_t r,
                                       const std::vector<std::int64_t>& queries) {
  const auto weights = offer.weights.accessor<double, 5>();
  const auto chosen = offer.chosen.accessor<bool, 5>();
  const auto values = offer.values.accessor<double, 5>();
  const std::int64_t group = kHeads / kKeyHeads;
  std::map<std::string, double> sum;
  double apart_sum = 0;  // each query by what it drops
  for (std::int64_t b = 0; b < kBatch; ++b) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const std::int64_t list = h / group;
      for (const std::int64_t t : queries) {
        double kept = 0, entropy = 0, largest = 0;
        std::vector<double> full(kWidth), sparse(kWidth), dropped(kWidth), value(kWidth);
        for (std::int64_t j = 0; j <= t; ++j) {
          const double a = weights[r][b][h][t][j];
          const bool reads = chosen[r][b][list][t][j / kBlockSize];
          if (reads) kept += a;
          entropy -= a * std::log2(a);
          for (std::size_t d = 0; d < kWidth; ++d) {
            value[d] = values[r][b][j][list][static_cast<std::int64_t>(d)];
            full[d] += a * value[d];
            (reads ? sparse : dropped)[d] += a * value[d];
          }
          if (!reads) largest = std::max(largest, norm(value));
        }
        std::vector<double> gap(kWidth), apart(kWidth);
        for (std::size_t d = 0; d < kWidth; ++d) {
          sparse[d] /= kept;
          gap[d] = full[d] - sparse[d];
          apart[d] = dropped[d] / (1 - kept) - sparse[d];
        }
        // The best two blocks beside the query's own for the heads of the group together.
        const auto mass = [&](std::int64_t head, std::int64_t block) {
          double all = 0;
          for (std::int64_t j = block * kBlockSize; j < std::min(kTokens, (block + 1) * kBlockSize);
               ++j) {
            all += weights[r][b][head][t][j];
          }
          return all;
        };
        double best = -1, oracle = 0;
        for (std::int64_t i = 0; i < t / kBlockSize; ++i) {
          for (std::int64_t j = 0; j < i; ++j) {
            double together = 0;
            for (std::int64_t head = list * group; head < (list + 1) * group; ++head) {
              together += mass(head, i) + mass(head, j);
            }
            if (together <= best) continue;
            best = together;
            oracle = mass(h, i) + mass(h, j) + mass(h, t / kBlockSize);
          }
        }
        sum["kept_mass"] += kept;
        sum["dropped_mass"] += 1 - kept;
        sum["oracle_mass"] += oracle;
        sum["selector_error"] += oracle - kept;
        sum["entropy"] += entropy;
        sum["kl_sparse_full"] += -std::log2(kept);
        sum["stream_distance"] += norm(gap);
        apart_sum += (1 - kept) * norm(apart);
        sum["sparse_norm"] += norm(sparse);
        sum["distance_bound"] += (1 - kept) * (largest + norm(sparse));
        sum["sink_mass"] += weights[r][b][h][t][0];
      }
    }
  }
  const double tightness = sum["stream_distance"] / sum["distance_bound"];
  const double drop_distance = apart_sum / sum["dropped_mass"];
  for (auto& [name, value] : sum) {
    value /= static_cast<double>(kBatch * kHeads) * static_cast<double>(queries.size());
  }
  sum["bound_ratio"] = tightness;
  sum["drop_distance"] = drop_distance;
  for (const std::size_t together : {2, 4, 8}) {
    double ratios = 0, groups = 0;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      for (std::int64_t list = 0; list < kKeyHeads; ++list) {
        for (std::size_t i = 0; i + together <= queries.size(); i += together) {
          double read = 0, each = 0;
          for (std::int64_t block = 0; block < kBlocks; ++block) {
            bool any = false;
            for (std::size_t j = i; j < i + together; ++j) {
              const bool reads = chosen[r][b][list][queries[j]][block];
              any = any || reads;
              each += reads;
            }
            read += any;
          }
          ratios += read / (each / static_cast<double>(together));
          ++groups;
        }
      }
    }
    sum["union_" + std::to_string(together)] = ratios / groups;
  }
  return sum;
}

std::vector<std::int64_t> as_list(const at::Tensor& queries) {
  const auto* begin = queries.const_data_ptr<std::int64_t>();
  return {begin, begin + queries.numel()};
}

void require_measured(std::int64_t most, const std::vector<std::int64_t>& queries) {
  AttentionOffer offer = drawn();
  const auto budget = std::to_string(kBudget), size = std::to_string(kBlockSize);
  const std::vector<ReadoutRun> runs = {attention_run(budget, size), attention_run(budget, size)};
  const auto probe = attention_probe(most);
  const auto rows =
      measure(*probe, offer, runs, torch::zeros({kRuns, kBatch, kTokens, 2}, torch::kDouble));
  for (std::size_t r = 0; r < kRuns; ++r) {
    const auto expected = by_loops(offer, static_cast<std::int64_t>(r), queries);
    CHECK(expected.size() == 15);
    for (const auto& [name, said] : expected) {
      CAPTURE(r, name);
      CHECK(value(rows, r, "attention/a", name) == Approx(said).epsilon(1e-9));
    }
  }
}

}  // namespace

TEST_CASE("kept and oracle mass, entropy and gate by hand", "[unit]") {
  AttentionOffer offer = by_hand();
  const auto rows = measure("attention", offer, {attention_run("2")}, kInput);
  CHECK(offer.wanted == StreamsWanted::kFull);
  for (const char* layer : {"attention", "attention/a"}) {
    CHECK(value(rows, 0, layer, "kept_mass") == Approx(0.4));  // .5 and .3
    CHECK(value(rows, 0, layer, "dropped_mass") == Approx(0.6));
    CHECK(value(rows, 0, layer, "oracle_mass") == Approx(0.625));  // .75 and .5
    CHECK(value(rows, 0, layer, "selector_error") == Approx(0.225));
    CHECK(value(rows, 0, layer, "entropy") == Approx((1.5 + 1.8464393447) / 2));  // bits
    CHECK(value(rows, 0, layer, "kl_sparse_full") == Approx((1 + std::log2(1 / 0.3)) / 2));
    CHECK(value(rows, 0, layer, "gate") == Approx(0.5));
    CHECK(value(rows, 0, layer, "stream_distance") == 0);
    CHECK(value(rows, 0, layer, "drop_distance") == 0);
    CHECK(value(rows, 0, layer, "sparse_norm") == 0);
    CHECK(value(rows, 0, layer, "distance_bound") == 0);
    CHECK(value(rows, 0, layer, "sink_mass") == Approx(0.45));
    CHECK(value(rows, 0, layer, "union_2") == 1.5);  // tokens 1 and 2, and 2 and 3
    CHECK(values_of(rows, 0, layer, "union_4").empty());
    CHECK(values_of(rows, 0, layer, "bound_ratio").empty());  // nothing to be bounded
  }
}

TEST_CASE("the distance of what is dropped, apart from how much it is", "[unit]") {
  AttentionOffer offer = by_hand();
  // Query 2: dropped v = (3,0), kept (0,0). Query 3: dropped mean (1.2/.7,0), kept (0,.4/.3).
  offer.values = doubles({3, 0, 0, 0, 0, 0, 0, 4}, {1, 1, 4, 1, 2});
  const auto rows = measure("attention", offer, {attention_run("2")}, kInput);
  const double apart = std::hypot(1.2 / 0.7, 0.4 / 0.3);
  CHECK(value(rows, 0, "attention/a", "drop_distance") ==
        Approx((0.5 * 3 + 0.7 * apart) / (0.5 + 0.7)));
  CHECK(value(rows, 0, "attention/a", "stream_distance") == Approx((1.5 + 0.7 * apart) / 2));
  CHECK(value(rows, 0, "attention/a", "sparse_norm") == Approx(0.4 / 0.3 / 2));
  // Bounds: .5 (3 + 0) and .7 (3 + 4/3).
  const double bounds = 1.5 + 0.7 * (3 + 0.4 / 0.3);
  CHECK(value(rows, 0, "attention/a", "distance_bound") == Approx(bounds / 2));
  CHECK(value(rows, 0, "attention/a", "bound_ratio") == Approx((1.5 + 0.7 * apart) / bounds));
}

TEST_CASE("the divergence of the sparse weights from the full ones is -log2 kept mass", "[unit]") {
  const at::Tensor weights = drawn().weights[0], chosen = drawn().chosen[0];
  const auto a = weights.accessor<double, 4>();
  const auto reads = chosen.accessor<bool, 4>();
  for (const std::int64_t t : {3, 20, 45}) {
    double kept = 0, divergence = 0;
    for (std::int64_t j = 0; j <= t; ++j) kept += reads[1][0][t][j / 4] ? a[1][1][t][j] : 0;
    for (std::int64_t j = 0; j <= t; ++j) {
      const double p = reads[1][0][t][j / 4] ? a[1][1][t][j] / kept : 0;
      if (p > 0) divergence += p * std::log2(p / a[1][1][t][j]);
    }
    const auto measured = kl_sparse_full(doubles({kept}, {1}), doubles({1 - kept}, {1}));
    CHECK(measured.item<double>() == Approx(divergence).margin(1e-12));
  }
  // Either form has its digits where the other has none.
  const at::Tensor ends = kl_sparse_full(doubles({1, 1e-20}, {2}), doubles({1e-20, 1}, {2}));
  CHECK(ends[0].item<double>() == Approx(1e-20 / std::log(2.0)));
  CHECK(ends[1].item<double>() == Approx(20 * std::log2(10.0)));
}

TEST_CASE("all measures by plain loops, of all queries and of some", "[unit]") {
  std::vector<std::int64_t> all;
  for (std::int64_t t = kBudget * kBlockSize; t < kTokens; ++t) all.push_back(t);
  require_measured(kObservedQueries, all);
  require_measured(40, all);  // 34 there are
  const std::vector<std::int64_t> some = as_list(observed_queries(kTokens, 12, 16));
  REQUIRE(some.size() == 16);
  require_measured(16, some);
}

TEST_CASE("queries that are looked at: all, or runs of 8 that lie evenly", "[unit]") {
  CHECK(as_list(observed_queries(5, 2, 8)) == std::vector<std::int64_t>{2, 3, 4});
  CHECK(observed_queries(5, 5, 8).numel() == 0);
  CHECK(observed_queries(5, 9, 8).numel() == 0);
  CHECK(observed_queries(1024 + 64, 64).numel() == 1024);
  for (const auto& [tokens, first, most] : std::vector<std::array<std::int64_t, 3>>{
           {50, 12, 16}, {1100, 64, 1024}, {8192, 256, 1024}}) {
    const std::vector<std::int64_t> queries = as_list(observed_queries(tokens, first, most));
    CAPTURE(tokens);
    REQUIRE(static_cast<std::int64_t>(queries.size()) == most);
    const std::int64_t runs = most / 8, places = (tokens - first) / 8;
    std::map<std::int64_t, std::int64_t> within;  // how often each place of a block of 64 is met
    for (std::int64_t i = 0; i < runs; ++i) {
      const std::int64_t start = queries[static_cast<std::size_t>(8 * i)];
      CHECK((start - first) % 8 == 0);
      const std::int64_t place = (start - first) / 8;
      CHECK(place * runs >= i * places - runs / 2);
      CHECK(place * runs <= (i + 1) * places);
      for (std::int64_t j = 0; j < 8; ++j) {
        CHECK(queries[static_cast<std::size_t>(8 * i + j)] == start + j);
      }
      ++within[start % 64];
    }
    // The sample lies neither early nor late.
    double mean = 0;
    for (const std::int64_t t : queries) mean += double(t) / double(queries.size());
    if (most == 1024) CHECK(std::abs(mean - double(first + tokens - 1) / 2) < 3);
    if (tokens != 8192) continue;
    REQUIRE(within.size() == 8);  // 128 runs over 8 places: 16 each
    for (const auto& [place, times] : within) CHECK(std::abs(times - 16) <= 5);
  }
}

TEST_CASE("long sequences: no more rows at once than a few", "[unit]") {
  AttentionOffer offer;
  const std::int64_t tokens = 1400;
  offer.block_size = 100;
  offer.blocks = 1;
  const at::Tensor queries = torch::arange(tokens).unsqueeze(1);
  const at::Tensor there = (torch::arange(tokens) <= queries).to(torch::kDouble);
  offer.weights = (there / there.sum(-1, true)).view({1, 1, 1, tokens, tokens});
  offer.chosen = (torch::arange(14) == queries.div(100, "floor")).view({1, 1, 1, tokens, 14});
  offer.values = torch::zeros({1, 1, tokens, 1, 2}, torch::kDouble);
  offer.gate = torch::ones({1, 1, tokens, 1}, torch::kDouble);
  const auto rows = measure("attention", offer, {attention_run("1", "100")},
                            torch::zeros({1, 1, tokens, 2}, torch::kDouble));
  CHECK(offer.most_rows <= 128);
  double sampled = 0, all = 0;
  for (const std::int64_t t : as_list(observed_queries(tokens, 100))) {
    sampled += std::log2(static_cast<double>(t + 1)) / 1024;
  }
  for (std::int64_t t = 100; t < tokens; ++t) all += std::log2(static_cast<double>(t + 1)) / 1300;
  const double measured = value(rows, 0, "attention/a", "entropy");
  CHECK(measured == Approx(sampled));
  CHECK(measured == Approx(all).epsilon(1e-3));
  CHECK(measured != all);
}

TEST_CASE("sequences that the budget covers have no rows", "[unit]") {
  AttentionOffer offer = by_hand();
  offer.blocks = 4;
  CHECK(measure("attention", offer, {attention_run("4")}, kInput)[0].empty());
}

TEST_CASE("models without attention have no rows", "[unit]") {
  ChainNet net({torch::ones({2, 2, 2}, torch::kDouble)}, {at::Tensor()});
  for (const char* family : {"attention", "attention_gradient"}) {
    const auto rows = measure(family, net, {carrying_run(1), carrying_run(1)},
                              torch::ones({2, 1, 2}, torch::kDouble));
    CHECK(rows.size() == 2);
    CHECK(rows[0].empty());
  }
}

}  // namespace tandem::test::probes_attention_unit
