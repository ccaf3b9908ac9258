// Rotary positions beyond the trained length, against the formulas by plain loops.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "data/tensor.h"
#include "nn/model.h"
#include "nn/transformer_ops.h"
#include "support/train_support.h"

namespace tandem::test::nn_rope_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kTokens = 7, kSize = 6;
constexpr double kTheta = 50;

at::Tensor like_double() { return torch::empty({0}, torch::kFloat64); }

// The angle of pair i at position t.
double angle(double t, std::int64_t i, double theta) {
  return t * std::pow(theta, -2.0 * static_cast<double>(i) / kSize);
}

std::unique_ptr<Model> net(const Settings& more) {
  Settings said = small_transformer({{"layers", "1"}});
  for (const auto& [name, value] : more) said[name] = value;
  ModelShape shape;
  shape.outputs = 256;
  shape.dtype = torch::kFloat64;
  return models().at("model", "transformer")({Config::resolve(said)}, shape);
}

at::Tensor logits(Model& model, const at::Tensor& x, const RopeFactors& rope) {
  const at::NoGradGuard no_grad;
  Context context;
  context.rope = rope;
  return model.forward(x, context);
}

}  // namespace

TEST_CASE("scaled rotary positions turn by what their formulas say", "[numeric]") {
  const double s = 3;
  struct Case {
    std::string scaling;
    double position, theta;  // that stand for t and theta
  };
  for (const Case& each : std::vector<Case>{
           {"none", 1, kTheta}, {"linear", 1 / s, kTheta}, {"ntk", 1, kTheta * std::pow(s, 1.5)}}) {
    CAPTURE(each.scaling);
    const RotaryTables tables(kTokens, kSize, kTheta, like_double(), rope_factors(each.scaling, s));
    for (std::int64_t t = 0; t < kTokens; ++t) {
      for (std::int64_t i = 0; i < kSize / 2; ++i) {
        const double turned = angle(static_cast<double>(t) * each.position, i, each.theta);
        CHECK(tables.cosine[t][0][i].item<double>() == Approx(std::cos(turned)).margin(1e-12));
        CHECK(tables.sine[t][0][i].item<double>() == Approx(std::sin(turned)).margin(1e-12));
      }
    }
  }
}

TEST_CASE("a larger base interpolates the slowest pair and leaves the fastest", "[numeric]") {
  const double s = 4;
  const RotaryTables plain(kTokens, kSize, kTheta, like_double());
  const RotaryTables linear(kTokens, kSize, kTheta, like_double(), rope_factors("linear", s));
  const RotaryTables ntk(kTokens, kSize, kTheta, like_double(), rope_factors("ntk", s));
  const std::int64_t slowest = kSize / 2 - 1;
  CHECK(torch::allclose(ntk.sine.select(2, slowest), linear.sine.select(2, slowest), 1e-12, 1e-14));
  CHECK(torch::equal(ntk.sine.select(2, 0), plain.sine.select(2, 0)));
  CHECK_FALSE(torch::allclose(ntk.sine.select(2, 1), linear.sine.select(2, 1)));
  CHECK_FALSE(torch::allclose(ntk.sine.select(2, 1), plain.sine.select(2, 1)));
}

TEST_CASE("factors of training and of a read-out multiply", "[numeric]") {
  torch::manual_seed(5);
  const at::Tensor x = torch::randint(0, 256, {1, 2, 32}, torch::kInt64);
  for (const std::string scaling : {"linear", "ntk"}) {
    CAPTURE(scaling);
    const auto plain = net({}), trained = net({{"rope_scaling", scaling}, {"rope_factor", "2"}});
    const at::Tensor at_six = logits(*plain, x, rope_factors(scaling, 6));
    CHECK(torch::allclose(logits(*trained, x, rope_factors(scaling, 3)), at_six, 1e-10, 1e-12));
    CHECK_FALSE(torch::allclose(logits(*plain, x, {}), at_six, 1e-6, 1e-8));
    CHECK(torch::equal(logits(*trained, x, {}), logits(*plain, x, rope_factors(scaling, 2))));
  }
}

TEST_CASE("a base is not scaled where heads have two numbers", "[numeric]") {
  const Settings narrow = {{"width", "8"}, {"heads", "4"}};
  const auto with = [&](Settings more) {
    more.insert(narrow.begin(), narrow.end());
    return more;
  };
  CHECK_NOTHROW(net(with({{"rope_scaling", "linear"}, {"rope_factor", "2"}})));
  CHECK_THROWS_AS(net(with({{"rope_scaling", "ntk"}, {"rope_factor", "2"}})), ConfigError);
  CHECK_THROWS_AS(net(with({{"eval_contexts", "1,2"}, {"eval_scalings", "none,ntk"}})),
                  ConfigError);
  CHECK_THROWS_WITH(net({{"eval_contexts", "2"}, {"eval_scalings", "yarn"}}),
                    Catch::Matchers::Contains("'yarn'"));
  CHECK_THROWS_WITH(net({{"eval_contexts", "2"}, {"eval_scalings", "ntk, ntk"}}),
                    Catch::Matchers::Contains("twice"));
}

}  // namespace tandem::test::nn_rope_numeric
