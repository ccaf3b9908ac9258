// Ids of configs, pinned: a run that is stored must be found again by every later build. An id here
// may change only on purpose: with a changed default, a raised revision or an option that was taken
// away. A new option must leave all of them as they are.
#include <catch2/catch.hpp>

#include "config/config.h"
#include "support/config_fixture.h"

namespace tandem::test::config_ids_golden {

TEST_CASE("ids of configs stay", "[golden]") {
  const std::vector<std::pair<Settings, std::string>> pinned = {
      {{}, "0d8dc0712b01ea91cb6437950fd57e93cde44e3628bdbdde3e362185f10ed998"},
      {{{"seed", "2"}}, "e8acc38b1b6dafd2c2e97e6f548ab9fe2a30840b1f07d007b1ca2188c1156323"},
      {{{"seed_init", "7"}, {"seed_topology", "8"}},
       "883e805d7e420c3df2ec08b2591ce2e31190642a31e41d7a0d982a8233beb22d"},
      {{{"lr", "0.05"}, {"momentum", "0"}, {"weight_decay", "0"}},
       "18fe4cbf965abb8102f5b2553c788a53f2fe030e088931dc49afce20ec1feeb5"},
      {{{"nesterov", "true"}, {"clip", "1.0"}, {"decay_mode", "decoupled"}},
       "b62c604fe58202529c6d61b43c013011e7fc8994052be02dc05135193c0de0c8"},
      {{{"optimizer", "adam"}}, "f17a75321e6eae78e687ed5bf779e9f5e6f11ed5cdbb9cce4f3c94f23841b6ac"},
      {{{"optimizer", "adam"}, {"beta2", "0.95"}, {"adam_epsilon", "1e-6"}},
       "a921f9985f1116be26e47e0ffb99a4308358abf2b992c75163fb513a9e6d2840"},
      {{{"steps", "1000"}, {"batch", "64"}},
       "43f99f110a5cc8bd71166ca98bcb83bb6dea25a589f1986d2bb7e190aebaa514"},
      {{{"lr_schedule", "step"}, {"lr_step_at", "0.3,0.6,0.9"}, {"warmup_steps", "50"}},
       "0a9759e7e54ad82f08c1fa53996604f257c13a6573176d713ab6028c60287380"},
      {{{"widths", "256,256,256"}, {"activation", "gelu"}, {"layer_norm", "true"}},
       "1122d3e67754ede4c9d446fc0a0aa47b8261c84832b716fce035d89be646ad23"},
      {{{"widths", ""}}, "b6fec1de056d081b25209e6f56a7fe04ddf7156a2d3117c7a6258d8be1f604ef"},
      {{{"init", "xavier_uniform"}, {"init_scale", "fan_in"}},
       "13e74ccc0be54269fdbfd21d9ffda0f51fa21c2e11b49658a32090bf328c7b14"},
      {{{"density", "1"}}, "1a8bdd75754fb8fc21d18c0c6d562134292602c1dda29a63ee0b5d8487c8d268"},
      {{{"weights", "static"}, {"density", "0.05"}, {"budget", "uniform"}, {"exempt", "head"}},
       "d0ff81a95b7eb023ee34c108c98ec04adeaeb825daf96978af0a970272472542"},
      {{{"weights", "set"}}, "47b7f133562cb595059d8d846eaf73b807da5728ca7e342c92e93a2c92e588a4"},
      {{{"weights", "set"}, {"drop_rule", "magnitude"}, {"grow_init", "normal"}},
       "5a39d5cec394d6be631a00e9fdddf659fba52797c078a7d32ede4f8c83eecb6d"},
      {{{"weights", "rigl"}, {"drop_fraction", "0.5"}, {"update_interval", "200"}},
       "c737a3999734f855c4b91bc5aabcdb1781111da8e892ea048b41e5af21df7eed"},
      {{{"weights", "ssa"}}, "2046613d5c4b426d49b70f2046245895aa18a188355a715f7d44da8e33e9c149"},
      {{{"weights", "ssa"}, {"weights_lambda_sparse", "0"}, {"weights_p", "0.25"}},
       "92ebff5f06aa8207574baa7298c61a4876245922e7f2828deaa3d49e5c91652f"},
      {{{"data", "bytes"}}, "958ab2c1f94537390b0549e5620b3401d50401f61cfdaa26cb86bbaa367e56dc"},
      {{{"data", "bytes"}, {"attention", "ssa"}, {"layers", "4"}, {"blocks", "3"}},
       "def7a4a43e6d0b6ab73305faf851671ad7ecb988210751ac50662a77a802a612"},
      {{{"data", "bytes"}, {"attention", "ssa"}, {"weights", "ssa"}, {"head_gate", "false"}},
       "266804a42b1759a1af443751cc39740a0dc09730121fe8c8a18cd8d7bc5eef63"},
      {{{"scenario", "split"}, {"class_order", "random"}},
       "fc83c987a775d7c8738aff161e2ed2540316d7fc9089f999c2a5e342384ab2e0"},
      {{{"scenario", "split"}, {"strategy", "replay"}, {"buffer", "200"}, {"online", "true"}},
       "095ad88a3d75d84d096930d3614d80f63d62be707667ef9e175b001eb287e145"},
      {{{"final", "true"}, {"validation", "0"}, {"train_examples", "1000"}},
       "e45951abe52d5d74e133a6796576b11c6c4830be99cc83f1654aebbc42a80da3"},
      {{{"dtype", "float64"}, {"curve", "false"}},
       "f57a212eca3a8640ea38b00d771f15e503043c41a80483b6f685ce93621837b3"},
      {{{"weights", "static"}, {"storage", "sparse"}},
       "92c144b85745c16ad404c42f17c87c2be7251021a46ec397592221e91915f5ab"},
  };
  const test::ConfigFixture fixture;
  for (const auto& [said, id] : pinned) {
    const Config config = fixture.resolve(said);
    INFO(config.canonical());
    CHECK(config.id() == id);
  }
}

TEST_CASE("the canonical form of the defaults stays", "[golden]") {
  CHECK(test::ConfigFixture().resolve({}).canonical() ==
        "tandem-config v1\n"
        "attention=full\n"
        "batch=128\n"
        "data=fashion_mnist\n"
        "density=0.1\n"
        "epochs=10\n"
        "lr=0.1\n"
        "model=mlp\n"
        "momentum=0.9\n"
        "optimizer=sgd\n"
        "scenario=single\n"
        "seed=1\n"
        "strategy=finetune\n"
        "validation=0.1\n"
        "weight_decay=5e-04\n"
        "weights=dense\n"
        "widths=400,400\n");
}

}  // namespace tandem::test::config_ids_golden
