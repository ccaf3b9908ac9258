// The gradient of keys and values, apart by who gives it: against difference quotients of plain
// loops, against a product in which what is dropped has keys and values of its own, and on
// networks.
#include "methods/method.h"
#include "nn/attention/blocked.h"
#include "nn/attention/module.h"
#include "nn/attention/two_stream.h"
#include "unit/probes_fixture.h"

namespace tandem::test::probes_attention_gradient_numeric {

namespace {

// Queries choose their own block and the first one.
bool chooses(std::int64_t query, std::int64_t key, std::int64_t block_size) {
  const std::int64_t block = key / block_size;
  return block == query / block_size || block == 0;
}

// One layer of attention whose q, k and v are numbers of its own.
class KeysAndValues : public Model {
 public:
  KeysAndValues(std::int64_t replicas, std::int64_t tokens, std::int64_t heads,
                std::int64_t kv_heads, std::int64_t width, std::int64_t block_size) {
    torch::manual_seed(4);
    const auto leaf = [&](std::int64_t count) {
      return torch::randn({replicas, 2, tokens, count, width}, torch::kDouble).requires_grad_(true);
    };
    q = leaf(heads);
    k = leaf(kv_heads);
    v = leaf(kv_heads);
    pull = torch::randn(q.sizes(), torch::kDouble);
    setting.block_size = block_size;
    setting.blocks = 2;
    setting.selector.score = "window";
    setting.selector.force_first = true;
    tables = AttentionTables(tokens, block_size, q.detach());
  }

  at::Tensor forward(const at::Tensor&, Context& context) override {
    return attention({Level::kAttention, "a"}, q, k, v, setting, tables, context);
  }
  // sum of pull x + x^2 / 2
  at::Tensor loss(const at::Tensor& x) const {
    return (pull * x + x.square() / 2).flatten(1).sum(1);
  }
  std::vector<Linear*> linears() override { return {}; }
  std::vector<Parameter*> parameters() override { return {}; }
  std::int64_t sites(Level level) const override { return level == Level::kAttention ? 1 : 0; }

  at::Tensor q, k, v, pull;
  AttentionSetting setting;
  AttentionTables tables;
};

ReadoutRun run_with(Schedule::Kind kind) {
  ReadoutRun run = zero_dormant_run(1);
  run.policies.attention.schedule.kind = kind;
  return run;
}

Measurements measure_gradient(Model& model, const std::vector<ReadoutRun>& runs,
                              const RankingBatch& batch) {
  const at::NoGradGuard no_grad;  // as probes are measured
  const auto probe = probes().at("probe", "attention_gradient")(runs);
  ProbeInput input = input_of(model, runs, batch.x);
  input.ranking = batch;
  return probe->measure(input);
}

Measurements measure_gradient(KeysAndValues& model, Schedule::Kind kind) {
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(model.q.size(0)), run_with(kind));
  return measure_gradient(model, runs,
                          {model.q.detach().flatten(3),
                           [&model](const at::Tensor& logits) { return model.loss(logits); }});
}

// A key or value that is moved, for all queries or for those alone that don't choose it.
struct Move {
  bool value = false, dropped_only = false;
  std::int64_t batch = 0, token = 0, head = 0, component = 0;
  double by = 0;
};

double loss_by_loops(const KeysAndValues& model, std::int64_t r, bool sparse, const Move& move) {
  const auto q = model.q.accessor<double, 5>(), k = model.k.accessor<double, 5>(),
             v = model.v.accessor<double, 5>(), pull = model.pull.accessor<double, 5>();
  const std::int64_t tokens = model.q.size(2), heads = model.q.size(3), width = model.q.size(4),
                     group = heads / model.k.size(3), size = model.setting.block_size;
  double loss = 0;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::vector<double> out(static_cast<std::size_t>(width));
        double whole = 0;
        for (std::int64_t j = 0; j <= t; ++j) {
          const bool chosen = chooses(t, j, size);
          if (sparse && !chosen) continue;
          const bool moves = b == move.batch && j == move.token && h / group == move.head &&
                             !(move.dropped_only && chosen);
          double score = 0;
          for (std::int64_t d = 0; d < width; ++d) {
            const bool here = moves && !move.value && d == move.component;
            score += q[r][b][t][h][d] * (k[r][b][j][h / group][d] + (here ? move.by : 0));
          }
          const double a = std::exp(score / std::sqrt(static_cast<double>(width)));
          whole += a;
          for (std::int64_t d = 0; d < width; ++d) {
            const bool here = moves && move.value && d == move.component;
            out[static_cast<std::size_t>(d)] +=
                a * (v[r][b][j][h / group][d] + (here ? move.by : 0));
          }
        }
        for (std::int64_t d = 0; d < width; ++d) {
          const double x = out[static_cast<std::size_t>(d)] / whole;
          loss += pull[r][b][t][h][d] * x + x * x / 2;
        }
      }
    }
  }
  return loss;
}

// Squared derivatives of all keys and values, of those from block `first` to `last`, and of what
// reaches them from queries that don't choose them.
struct Energies {
  double all = 0, within = 0, dropped = 0;
};

Energies energies_by_loops(const KeysAndValues& model, std::int64_t r, bool sparse,
                           std::int64_t first, std::int64_t last) {
  constexpr double kStep = 1e-5;
  Energies energies;
  Move move;
  const auto derivative = [&] {
    move.by = kStep;
    const double above = loss_by_loops(model, r, sparse, move);
    move.by = -kStep;
    return (above - loss_by_loops(model, r, sparse, move)) / (2 * kStep);
  };
  for (const bool value : {false, true}) {
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t j = 0; j < model.k.size(2); ++j) {
        for (std::int64_t h = 0; h < model.k.size(3); ++h) {
          for (std::int64_t d = 0; d < model.k.size(4); ++d) {
            move = {value, false, b, j, h, d, 0};
            const double whole = std::pow(derivative(), 2);
            move.dropped_only = true;
            energies.dropped += std::pow(derivative(), 2);
            energies.all += whole;
            const std::int64_t block = j / model.setting.block_size;
            if (block >= first && block <= last) energies.within += whole;
          }
        }
      }
    }
  }
  return energies;
}

}  // namespace

TEST_CASE("shares of the gradient are those of difference quotients", "[numeric]") {
  KeysAndValues model(2, 11, 4, 2, 2, 2);  // six blocks, of which queries choose the first
  for (const bool sparse : {false, true}) {
    const auto rows =
        measure_gradient(model, sparse ? Schedule::Kind::kSparse : Schedule::Kind::kBernoulli);
    for (std::int64_t r = 0; r < 2; ++r) {
      CAPTURE(sparse, r);
      const auto replica = static_cast<std::size_t>(r);
      const Energies expected = energies_by_loops(model, r, sparse, 1, 4);
      CHECK(value(rows, replica, "attention/a", "never_selected") == Approx(4.0 / 5));
      CHECK(value(rows, replica, "attention/a", "never_selected_gradient") ==
            Approx(expected.within / expected.all).epsilon(1e-6));
      const double dropped = value(rows, replica, "attention/a", "dropped_gradient");
      CHECK(dropped == Approx(expected.dropped / expected.all).epsilon(1e-6));
      if (sparse) CHECK(dropped == 0);
      if (!sparse) CHECK(dropped > 0.01);
    }
  }
}

TEST_CASE("the gradient of what is dropped, where sequences take blocked kernels", "[numeric]") {
  KeysAndValues model(1, 300, 4, 2, 4, 16);
  REQUIRE(takes_blocked(model.q));
  const auto rows = measure_gradient(model, Schedule::Kind::kFull);
  at::Tensor reads = torch::zeros({300, 300}, torch::kDouble);
  for (std::int64_t t = 0; t < 300; ++t) {
    for (std::int64_t j = 0; j <= t; ++j) reads[t][j] = chooses(t, j, 16) ? 1 : 0;
  }
  const at::Tensor not_read = 1 - reads;
  const auto heads = [](const at::Tensor& x) { return x.transpose(2, 3).repeat_interleave(2, 2); };
  const at::Tensor other_k = model.k.detach().clone().requires_grad_(true);
  const at::Tensor other_v = model.v.detach().clone().requires_grad_(true);
  const at::Tensor q = model.q.transpose(2, 3);
  const auto scores = [&](const at::Tensor& k) {
    return torch::matmul(q, heads(k).transpose(-1, -2)) / 2.0;
  };
  const at::Tensor a =
      torch::softmax((scores(model.k) * reads + scores(other_k) * not_read)
                         .masked_fill(torch::ones({300, 300}, torch::kBool).triu(1),
                                      -std::numeric_limits<double>::infinity()),
                     -1);
  const at::Tensor out =
      torch::matmul(a * reads, heads(model.v)) + torch::matmul(a * not_read, heads(other_v));
  const auto found = torch::autograd::grad({model.loss(out.transpose(2, 3)).sum()},
                                           {model.k, model.v, other_k, other_v});
  const auto square = [](const at::Tensor& x, const at::Tensor& y) {
    return x.square().sum().item<double>() + y.square().sum().item<double>();
  };
  const double all = square(found[0] + found[2], found[1] + found[3]);
  CHECK(value(rows, 0, "attention/a", "dropped_gradient") ==
        Approx(square(found[2], found[3]) / all).epsilon(1e-9));
  const auto within = [](const at::Tensor& x) { return x.slice(2, 16, 288); };  // blocks 1 to 17
  CHECK(
      value(rows, 0, "attention/a", "never_selected_gradient") ==
      Approx(square(within(found[0] + found[2]), within(found[1] + found[3])) / all).epsilon(1e-9));
}

TEST_CASE("networks: what a sparse pass denies keys, by method", "[numeric]") {
  const at::Tensor x = torch::arange(2 * 24).mul(37).remainder(256).view({1, 2, 24});
  for (const std::string method : {"full", "moba", "ssa", "nsa"}) {
    const Config config = Config::resolve({{"data", "bytes"},
                                           {"model", "transformer"},
                                           {"attention", method},
                                           {"context", "24"},
                                           {"layers", "2"},
                                           {"width", "16"},
                                           {"heads", "4"},
                                           {"kv_heads", "2"},
                                           {"block_size", "4"},
                                           {"blocks", "2"}});
    ModelShape shape;
    shape.dtype = torch::kFloat64;
    const auto model = models().at("model", "transformer")({config}, shape);
    const std::vector<ReadoutRun> runs = {{config, policies_of(config)}};
    const auto rows = measure_gradient(
        *model, runs, {x, [](const at::Tensor& logits) {
                         return torch::log_softmax(logits, -1).select(-1, 7).mean({1, 2}).neg();
                       }});
    CAPTURE(method);
    for (const char* layer : {"attention/layer0.attention", "attention/layer1.attention"}) {
      CHECK(has(rows, 0, layer, "never_selected"));
      CHECK(value(rows, 0, layer, "never_selected_gradient") >= 0);
      CHECK(value(rows, 0, layer, "never_selected_gradient") <= 1);
      CHECK(has(rows, 0, layer, "dropped_gradient") == (method != "nsa"));
      if (method == "moba") CHECK(value(rows, 0, layer, "dropped_gradient") == 0);
      if (method == "full" || method == "ssa") {
        CHECK(value(rows, 0, layer, "dropped_gradient") > 0);
      }
    }
    for (const Parameter* parameter : model->parameters()) {
      CHECK_FALSE(parameter->value.grad().defined());
    }
  }
}

}  // namespace tandem::test::probes_attention_gradient_numeric
