// Masks against the largest weights of a dense twin's file.
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "probes_fixture.h"

namespace tandem::test::probes_twin_unit {

namespace {

void write_twin(const std::string& path, const std::string& name,
                const std::vector<float>& values) {
  write_safetensors(path, {{name, DType::kF32, {2, 3}, values.data()}});
}

ReadoutRun run_with(const std::string& twin, const std::string& seed) {
  ReadoutRun run = zero_dormant_run(0.5);
  run.config = Config::resolve({{"twin", twin}, {"seed", seed}});
  return run;
}

ChainNet net_of(const std::vector<std::uint8_t>& first, const std::vector<std::uint8_t>& second) {
  const at::Tensor mask =
      torch::stack({torch::tensor(first, torch::kByte), torch::tensor(second, torch::kByte)});
  ChainNet net({mask.to(torch::kDouble).view({2, 2, 3})}, {mask});
  return net;
}

}  // namespace

TEST_CASE("the overlap with a twin's largest weights, each seed with its own file", "[unit]") {
  const TemporaryFolder folder;
  write_twin(folder / "dense-1.safetensors", "layer0.weight", {5, -4, 3, 0, 1, 2});
  write_twin(folder / "dense-2.safetensors", "abc/parameter/layer0.weight", {0, 0, 0, 7, 8, 9});
  const std::string path = folder / "dense-{seed}.safetensors";
  const std::vector<ReadoutRun> runs = {run_with(path, "1"), run_with(path, "2")};
  // The largest three are 0, 1, 2; the largest two 4, 5.
  ChainNet net = net_of({1, 1, 0, 0, 0, 1}, {0, 0, 0, 0, 1, 1});
  CHECK(probes().at("probe", "twin")(runs)->by_default());
  const auto rows = measure("twin", net, runs, torch::zeros({2, 1, 2}, torch::kDouble));
  CHECK(value(rows, 0, "weights/layer0", "twin_overlap") == Approx(2.0 / 3));
  CHECK(value(rows, 1, "weights/layer0", "twin_overlap") == 1);
  CHECK(value(rows, 1, "weights", "twin_overlap") == 1);
}

TEST_CASE("a twin's file is read by the layout that it says", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "dense.safetensors";
  const std::vector<float> turned = {5, 0, -4, 1, 3, 2};  // 5, -4, 3, 0, 1, 2 the other way round
  write_safetensors(path, {{"layer0.weight", DType::kF32, {3, 2}, turned.data()}},
                    {{"layout", kTorchLayout}});
  ChainNet net = net_of({1, 1, 0, 0, 0, 1}, {0, 0, 0, 0, 1, 1});
  const auto rows = measure("twin", net, {run_with(path, "1"), run_with(path, "2")},
                            torch::zeros({2, 1, 2}, torch::kDouble));
  CHECK(value(rows, 0, "weights/layer0", "twin_overlap") == Approx(2.0 / 3));
  CHECK(value(rows, 1, "weights/layer0", "twin_overlap") == 0);
}

TEST_CASE("without a twin there are no rows, and nothing is asked of a file", "[unit]") {
  ChainNet net = net_of({1, 1, 0, 0, 0, 1}, {0, 0, 0, 0, 1, 1});
  const std::vector<ReadoutRun> runs(2, run_with("", "1"));
  CHECK_FALSE(probes().at("probe", "twin")(runs)->by_default());
  CHECK(measure("twin", net, runs, torch::zeros({2, 1, 2}, torch::kDouble))[0].empty());
}

TEST_CASE("a twin that is missing or another network's is refused with the way to make it",
          "[unit]") {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& path) -> std::string {
    ChainNet net = net_of({1, 1, 0, 0, 0, 1}, {0, 0, 0, 0, 1, 1});
    try {
      measure("twin", net, {run_with(path, "3"), run_with(path, "3")},
              torch::zeros({2, 1, 2}, torch::kDouble));
    } catch (const DataError& error) {
      return error.what();
    }
    return {};
  };
  const std::string path = folder / "dense.safetensors";
  CHECK(message(path).find("no such file") != std::string::npos);
  CHECK(message(path).find("tandem export RUN --out " + path) != std::string::npos);
  write_twin(path, "other.weight", {1, 2, 3, 4, 5, 6});
  CHECK(message(path).find("no tensor 'layer0.weight'") != std::string::npos);
  const std::vector<float> few = {1, 2};
  write_safetensors(path, {{"layer0.weight", DType::kF32, {2, 1}, few.data()}});
  CHECK(message(path).find("2 x 3") != std::string::npos);
  // As many elements the other way round are no twin, and a layout that is not known neither.
  const std::vector<float> six = {1, 2, 3, 4, 5, 6};
  write_safetensors(path, {{"layer0.weight", DType::kF32, {3, 2}, six.data()}});
  CHECK(message(path).find("2 x 3") != std::string::npos);
  write_safetensors(path, {{"layer0.weight", DType::kF32, {2, 3}, six.data()}},
                    {{"layout", kTorchLayout}});
  CHECK(message(path).find("3 x 2") != std::string::npos);
  write_safetensors(path, {{"layer0.weight", DType::kF32, {2, 3}, six.data()}},
                    {{"layout", "diagonal"}});
  CHECK(message(path).find("'diagonal'") != std::string::npos);
}

}  // namespace tandem::test::probes_twin_unit
