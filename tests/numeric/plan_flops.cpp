// The ledger against closed forms (Evci et al. 2020, appendix H).
#include <catch2/catch.hpp>

#include "core/error.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::plan_flops_numeric {

using namespace tandem::test;

namespace {

struct Trained {
  double total, dense, sparse;  // training; forward of one batch in either stream
};

Trained train(const Settings& said, std::int64_t steps) {
  Settings settings = {{"steps", std::to_string(steps)}, {"batch", "10"}};
  for (const auto& [name, value] : said) settings[name] = value;
  const Config config = small_run(settings);
  Trainer trainer({config}, {});
  trainer.begin_stage(0);
  const double dense = 10 * trainer.flops().forward(0, true, true);
  const double sparse = 10 * trainer.flops().forward(0, true, false);
  for (std::int64_t s = 0; s < steps; ++s) trainer.advance(0, s, 1);
  return {trainer.flops().training(0), dense, sparse};
}

}  // namespace

TEST_CASE("the forward pass counts two operations a connection", "[numeric]") {
  const Trained dense = train({{"weights", "dense"}}, 1);
  REQUIRE(dense.dense == 10 * 2.0 * (784 * 37 + 37 * 23 + 23 * 10));
  const Trained sparse = train({{"weights", "static"}, {"density", "0.1"}}, 1);
  const double positions = 784 * 37 + 37 * 23 + 23 * 10;
  REQUIRE(sparse.sparse / (10 * 2 * positions) == Approx(0.1).epsilon(0.002));
}

TEST_CASE("dense and static nets train at three times their forward pass", "[numeric]") {
  const Trained dense = train({{"weights", "dense"}}, 7);
  REQUIRE(dense.total == Approx(7 * 3 * dense.dense));
  const Trained fixed = train({{"weights", "static"}}, 7);
  REQUIRE(fixed.total == Approx(7 * 3 * fixed.sparse));
  const Trained set = train({{"weights", "set"}}, 7);
  REQUIRE(set.total == Approx(7 * 3 * set.sparse));
}

TEST_CASE("RigL pays the dense gradient on update steps", "[numeric]") {
  // Of 20 steps, 5 10 15 are updates (75% of 20 is 15): 17 at 3 f_S, 3 at 2 f_S + f_D.
  const Trained rigl = train({{"weights", "rigl"}, {"update_interval", "5"}}, 20);
  REQUIRE(rigl.total == Approx(17 * 3 * rigl.sparse + 3 * (2 * rigl.sparse + rigl.dense)));
}

TEST_CASE("streams are charged as they run", "[numeric]") {
  const Config config = small_run({{"weights", "alternate"}, {"steps", "30"}, {"batch", "10"}});
  const RunSchedule run{config, policies_of(config), make_timeline(config, {300})};
  int full = 0;
  for (int s = 0; s < 30; ++s) full += plan_replica(run, 0, s).levels.weights.full;
  const Trained alternate = train({{"weights", "alternate"}}, 30);
  REQUIRE(alternate.total == Approx(3 * (full * alternate.dense + (30 - full) * alternate.sparse)));
  const Trained ssa = train({{"weights", "ssa"}}, 6);
  REQUIRE(ssa.total == Approx(6 * 3 * (ssa.dense + ssa.sparse)));
  const Trained sandwich = train({{"weights", "sandwich"}}, 6);
  REQUIRE(sandwich.total == Approx(6 * 3 * (sandwich.dense + sandwich.sparse)));
}

TEST_CASE("what a method needs beyond its mask is charged", "[numeric]") {
  const Trained ste = train({{"weights", "ste"}}, 7);
  REQUIRE(ste.total == Approx(7 * (2 * ste.sparse + ste.dense)));
  const Trained snfs = train({{"weights", "snfs"}}, 7);  // its average sees every step's gradient
  REQUIRE(snfs.total == Approx(7 * (2 * snfs.sparse + snfs.dense)));
  const Trained topkast = train({{"weights", "topkast"}, {"superset_density", "0.5"}}, 7);
  const double superset = topkast.total / 7 - 2 * topkast.sparse;
  REQUIRE(superset / topkast.dense == Approx(0.5).epsilon(0.002));
  const Trained sam = train({{"weights", "sam"}}, 7);
  REQUIRE(sam.total == Approx(7 * 2 * 3 * sam.dense));
  const Trained taught = train({{"weights", "rigl_teacher"}, {"update_interval", "1000"}}, 7);
  REQUIRE(taught.total == Approx(7 * 3 * (taught.sparse + taught.dense)));
  const Trained phased = train({{"weights", "acdc"}, {"phases", "0.5"}}, 10);
  REQUIRE(phased.total == Approx(5 * 3 * (phased.dense + phased.sparse)));
}

TEST_CASE("a transformer's tied output and gates are counted beside its linear layers",
          "[numeric]") {
  const Config config = Config::resolve({{"data", "bytes"},
                                         {"model", "transformer"},
                                         {"context", "32"},
                                         {"layers", "2"},
                                         {"width", "16"},
                                         {"heads", "4"},
                                         {"block_size", "4"},
                                         {"evaluation_windows", "4"}});
  Trainer trainer({config}, {});
  double weights = 16 * 256 + 2 * 16 * 4;  // output, gates
  for (const Linear* layer : trainer.model().linears()) {
    weights += static_cast<double>(layer->inputs() * layer->outputs());
  }
  REQUIRE(trainer.flops().forward(0, true, true) ==
          Approx(2 * 32 * weights + trainer.model().attention_flops(true, 2)));
}

TEST_CASE("what no network can do is refused", "[numeric]") {
  REQUIRE_THROWS_AS(Trainer({Config::resolve({{"model", "transformer"}})}, {}), ConfigError);
  REQUIRE_THROWS_AS(Trainer({Config::resolve({{"data", "bytes"}, {"model", "mlp"}})}, {}),
                    ConfigError);
  REQUIRE_THROWS_AS(Trainer({small_run({{"attention", "ssa"}})}, {}), ConfigError);
}

}  // namespace tandem::test::plan_flops_numeric
