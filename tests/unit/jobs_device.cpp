// The choice of a device, and what a run on a CPU refuses.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "jobs/device.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::jobs_device_unit {

using namespace tandem::test;

TEST_CASE("a GPU is taken where there is one, and refused by name where there is none", "[unit]") {
  const PluginStatus& plugin = load_cuda_plugin();
  const int found = plugin.loaded ? plugin.api->device_count() : 0;
  CHECK(resolve_device("cpu") == "cpu");
  CHECK(resolve_device("auto") == (found > 0 ? "cuda:0" : "cpu"));
  CHECK_THROWS_AS(resolve_device("cuda:" + std::to_string(found)), DeviceError);
  CHECK_THROWS_WITH(resolve_device("cuda:" + std::to_string(found)),
                    Catch::Contains("--device cpu") && Catch::Contains(plugin.message));
  CHECK_FALSE(is_gpu("cpu"));
  CHECK(is_gpu("cuda:3"));
  CHECK(describe_device("cpu") == "cpu");
  CHECK(devices_of("cpu") == std::vector<std::string>{"cpu"});
  CHECK(devices_of("cuda:1") == std::vector<std::string>{"cuda:1"});
  if (found == 0) {
    CHECK_THROWS_AS(resolve_device("cuda:all"), DeviceError);
    return;
  }
  const std::string all = resolve_device("cuda:all");
  CHECK(all == (found == 1 ? "cuda:0" : "cuda:all"));
  CHECK(devices_of(all).size() == static_cast<std::size_t>(found));
  CHECK(devices_of(all).back() == "cuda:" + std::to_string(found - 1));
}

TEST_CASE("TF32 products are refused on a CPU", "[unit]") {
  CHECK_THROWS_AS(Trainer({small_run({{"tf32", "true"}})}, {}), ConfigError);
}

}  // namespace tandem::test::jobs_device_unit
