// Files of nets that runs begin with: what fits, and what is refused, by tensor and in words.
#include <catch2/catch.hpp>

#include "config/initial_file.h"
#include "core/error.h"
#include "data/dataset.h"
#include "methods/method.h"
#include "nn/initial_net.h"
#include "plan/stages.h"
#include "support/initial_net_support.h"

namespace tandem::test::nn_initial_net_unit {

using Catch::Matchers::Contains;

namespace {

std::unique_ptr<Model> model_of(const Config& run) {
  ModelShape shape{.features = 5, .outputs = 3, .weights_later = true};
  if (run.text("model") == "transformer") shape.features = shape.outputs = 0;
  return models().at("model", run.text("model"))({run}, shape);
}

Settings small_net(Settings said = {}) {
  said.insert({{"widths", "4"}});
  return said;
}

TensorsByName net_of_sizes(std::int64_t hidden = 4, std::int64_t outputs = 3) {
  const auto counted = [](std::vector<std::int64_t> shape) {
    std::int64_t n = 1;
    for (const std::int64_t size : shape) n *= size;
    return torch::arange(1, n + 1).to(torch::kFloat).view(shape);
  };
  return {{"layer0.weight", counted({5, hidden})},
          {"layer0.bias", counted({hidden})},
          {"layer1.weight", counted({hidden, outputs})},
          {"layer1.bias", counted({outputs})}};
}

std::shared_ptr<const InitialNet> net(const TensorsByName& tensors,
                                      const TensorMetadata& metadata = {}) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(view_of(name, tensor));
  const std::string bytes = safetensors_bytes(views, metadata);
  const at::Tensor all = torch::empty({static_cast<std::int64_t>(bytes.size())}, torch::kByte);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(all.data_ptr()));
  return InitialNet::of_bytes(all, "some/net.safetensors");
}

std::string refusal(const TensorsByName& tensors, const Settings& said = {},
                    const TensorMetadata& metadata = {}) {
  const Config run = Config::resolve(small_net(said));
  try {
    net(tensors, metadata)->fit(*model_of(run), run);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const std::string kLayoutOfTorch = "[out,in]";

}  // namespace

TEST_CASE("a net that fits gives every tensor, whatever its layout and type", "[unit]") {
  const Config run = Config::resolve(small_net());
  const TensorsByName all = net_of_sizes();
  TensorsByName turned = all, half = all, listed = all;
  turned["layer0.weight"] = all.at("layer0.weight").t().contiguous();
  turned["layer1.weight"] = all.at("layer1.weight").t().contiguous();
  half["layer0.weight"] = all.at("layer0.weight").to(torch::kHalf);
  half["layer0.bias"] = all.at("layer0.bias").to(torch::kBFloat16);
  half["layer1.weight"] = all.at("layer1.weight").to(torch::kDouble);
  // Out of order, as another layout would have it.
  listed.erase("layer0.weight");
  listed["layer0.weight.values"] = torch::tensor({7.0F, 20.0F, 2.0F});
  listed["layer0.weight.indices"] = torch::tensor({{1, 4, 0}, {2, 3, 1}});
  const auto begin_of = [&](const std::shared_ptr<const InitialNet>& file) {
    const auto model = model_of(run);
    const InitialNet::Fit fit = file->fit(*model, run);
    CHECK(fit.taken.size() == 4);
    CHECK(fit.drawn.empty());
    CHECK(fit.left.empty());
    file->begin(*model, 0);
    std::vector<double> weights;
    for (std::int64_t p = 0; p < 20; ++p) {
      weights.push_back(model->linears()[0]->initial_weights.at(0, p));
    }
    const at::Tensor bias = model->linears()[0]->bias.value.detach()[0];
    CHECK(bias.equal(all.at("layer0.bias")));
    return weights;
  };
  std::vector<double> expected;
  for (int p = 0; p < 20; ++p) expected.push_back(p + 1);
  CHECK(begin_of(net(all)) == expected);
  CHECK(begin_of(net(turned, {{"layout", kLayoutOfTorch}})) == expected);
  CHECK(begin_of(net(half)) == expected);
  std::vector<double> few(20, 0.0);
  few[1] = 2, few[6] = 7, few[19] = 20;
  CHECK(begin_of(net(listed)) == few);
  const LayerShape layer{"layer0", 5, 4};
  const std::vector<std::int64_t> stored = {1, 6, 19};
  CHECK(net(listed)->mask("layer0.weight", layer) == stored);
  const auto doubles = net(half)->fit(*model_of(run), run).rounded;
  CHECK(doubles == std::vector<std::string>{"layer1.weight"});
}

TEST_CASE("a net that does not fit is refused by file, tensor, found and expected", "[unit]") {
  TensorsByName fewer = net_of_sizes(), more = net_of_sizes(), whole = net_of_sizes();
  fewer.erase("layer1.weight");
  more["layer2.weight"] = torch::zeros({3, 3});
  whole["layer0.bias"] = torch::zeros({4}, torch::kLong);
  CHECK(refusal(net_of_sizes()).empty());
  CHECK_THAT(refusal(fewer), Contains("some/net.safetensors") && Contains("layer1.weight") &&
                                 Contains("[4, 3]") && Contains("--init-strict=false"));
  CHECK_THAT(refusal(more), Contains("layer2.weight") && Contains("[3, 3]"));
  CHECK_THAT(refusal(whole), Contains("layer0.bias") && Contains("I64"));
  CHECK_THAT(refusal(net_of_sizes(6)), Contains("[5, 6]") && Contains("[5, 4]"));
  CHECK_THAT(refusal(net_of_sizes(4, 10)), Contains("[4, 10]") && Contains("[4, 3]"));
  const std::string source = Config::resolve(small_net({{"widths", "6"}})).canonical();
  CHECK_THAT(refusal(net_of_sizes(6), {}, {{"config", source}}),
             Contains("widths = 4 (the file's net has 6)"));
  TensorsByName turned = net_of_sizes();
  turned["layer0.weight"] = torch::zeros({4, 5});
  CHECK_THAT(refusal(turned), Contains("[4, 5]") && Contains("layout [out,in]"));
  CHECK_THAT(refusal(net_of_sizes(), {}, {{"layout", "upside down"}}), Contains("upside down"));
  CHECK_THAT(refusal({{"ab12/parameter/layer0.weight", torch::zeros({5, 4})}}),
             Contains("is a checkpoint") && Contains("tandem export"));
  // What may be missing or left out may still not have another shape.
  CHECK(refusal(fewer, {{"init_strict", "false"}}).empty());
  CHECK(refusal(more, {{"init_strict", "false"}}).empty());
  CHECK_THAT(refusal(net_of_sizes(6), {{"init_strict", "false"}}), Contains("[5, 6]"));
  const Config lenient = Config::resolve(small_net({{"init_strict", "false"}}));
  CHECK(net(fewer)->fit(*model_of(lenient), lenient).drawn ==
        std::vector<std::string>{"layer1.weight"});
  CHECK(net(more)->fit(*model_of(lenient), lenient).left ==
        std::vector<std::string>{"layer2.weight"});
}

TEST_CASE("buffers are taken where they are there", "[unit]") {
  const Config run =
      Config::resolve(small_net({{"activation", "k_subtract"}, {"switch_after", "9"}}));
  const auto counts_of = [&](const TensorsByName& tensors) {
    const auto model = model_of(run);
    net(tensors)->fit(*model, run);
    net(tensors)->begin(*model, 0);
    return model->buffers().at(0)->value[0].clone();
  };
  TensorsByName tensors = net_of_sizes();
  CHECK(counts_of(tensors).equal(torch::zeros({4}, torch::kLong)));
  tensors["layer0.active_count"] = torch::arange(4);
  CHECK(counts_of(tensors).equal(torch::arange(4)));
  tensors["layer0.active_count"] = torch::arange(4).to(torch::kFloat);
  CHECK_THROWS_WITH(counts_of(tensors), Contains("layer0.active_count") && Contains("I64"));
}

TEST_CASE("lists and masks that are none are refused", "[unit]") {
  const auto with = [](const std::string& name, const at::Tensor& values) {
    TensorsByName tensors = net_of_sizes();
    tensors[name] = values;
    return tensors;
  };
  CHECK_THAT(refusal(with("layer0.weight.mask", torch::ones({4, 5}, torch::kBool))),
             Contains("layer0.weight.mask") && Contains("[4, 5]"));
  CHECK_THAT(refusal(with("layer0.weight.mask", torch::ones({5, 4}))), Contains("is no mask"));
  CHECK_THAT(refusal(with("layer0.bias.mask", torch::ones({4}, torch::kBool))),
             Contains("is no mask"));
  const auto listed = [](const at::Tensor& indices) {
    TensorsByName tensors = net_of_sizes();
    tensors.erase("layer0.weight");
    tensors["layer0.weight.values"] = torch::ones({2});
    tensors["layer0.weight.indices"] = indices;
    return tensors;
  };
  CHECK(refusal(listed(torch::tensor({{0, 4}, {0, 3}}))).empty());
  CHECK_THAT(refusal(listed(torch::tensor({{0, 5}, {0, 3}}))), Contains("does not have"));
  CHECK_THAT(refusal(listed(torch::tensor({{4, 4}, {3, 3}}))), Contains("stands twice"));
  CHECK_THAT(refusal(listed(torch::zeros({3, 2}, torch::kLong))), Contains("[3, 2]"));
}

TEST_CASE("first masks must have the run's budget and granularity", "[unit]") {
  TensorsByName tensors = net_of_sizes();
  at::Tensor mask = torch::zeros({5, 4}, torch::kBool);
  mask.slice(0, 0, 2).fill_(true);  // two inputs of each unit: 8 of 20
  tensors["layer0.weight.mask"] = mask;
  tensors["layer1.weight.mask"] = torch::ones({4, 3}, torch::kBool);
  const auto refused = [&](Settings said) {
    said.insert({{"weights", "static"}, {"exempt", "layer1"}, {"budget", "uniform"}});
    const Config run = Config::resolve(small_net(said));
    try {
      net(tensors)->expect_masks({{"layer0", 5, 4}, {"layer1", 4, 3, true}},
                                 policies_of(run, Level::kWeights).start, run);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused({{"density", "0.4"}}).empty());
  CHECK(refused({{"density", "0.4"}, {"granularity", "fan_in"}}).empty());
  CHECK_THAT(refused({{"density", "0.5"}}), Contains("layer0.weight") && Contains("8 of 20") &&
                                                Contains("10") && Contains("--init-mask"));
  CHECK(refused({{"density", "0.5"}, {"init_mask", "method"}}).empty());
  CHECK(refused({{"density", "0.5"}, {"init_mask", "magnitude"}}).empty());
  CHECK(refused({{"density", "0.5"}, {"weights", "ssa"}}).empty());  // it ranks its own
  mask.zero_().reshape({-1}).slice(0, 0, 8).fill_(true);
  mask[1][3] = false;
  mask[4][3] = true;
  mask[0][0] = false;
  mask[2][1] = true;
  CHECK(refused({{"density", "0.4"}}).empty());
  CHECK_THAT(refused({{"density", "0.4"}, {"granularity", "fan_in"}}),
             Contains("granularity does not allow"));
}

TEST_CASE("a module's own parameters may be missing or left out", "[unit]") {
  const Config full = Config::resolve(small_transformer({{"attention", "full"}}));
  const Config nsa = Config::resolve(small_transformer({{"attention", "nsa"}}));
  const auto tensors_of = [](const Config& run) {
    TensorsByName all;
    const auto model = model_of(run);
    for (const Linear* layer : model->linears()) {
      all[layer->weight.name] = torch::zeros({layer->inputs(), layer->outputs()});
    }
    for (const Parameter* each : model->parameters()) {
      if (all.count(each->name) == 0) all[each->name] = each->value.detach()[0].clone();
    }
    all["hat.embedding.layer0"] = torch::zeros({2, 3});  // a strategy's
    return all;
  };
  const InitialNet::Fit more = net(tensors_of(full))->fit(*model_of(nsa), nsa);
  CHECK(std::count(more.drawn.begin(), more.drawn.end(), "layer1.attention.gate") == 1);
  CHECK(more.left == std::vector<std::string>{"hat.embedding.layer0"});
  const InitialNet::Fit fewer = net(tensors_of(nsa))->fit(*model_of(full), full);
  CHECK(fewer.drawn.empty());
  CHECK(std::count(fewer.left.begin(), fewer.left.end(), "layer0.attention.gate") == 1);
  const Config gateless =
      Config::resolve(small_transformer({{"attention", "full"}, {"head_gate", "false"}}));
  CHECK_THROWS_WITH(net(tensors_of(gateless))->fit(*model_of(full), full),
                    Contains("layer0.head_gate"));
  // The same shapes, and another net.
  const Config heads = Config::resolve(small_transformer({{"heads", "2"}}));
  const auto source = net(tensors_of(full), {{"config", full.canonical()}});
  CHECK(source->differences(heads) == std::vector<std::string>{"heads = 2 (the file's net has 4)"});
  CHECK(source->differences(Config::resolve(small_transformer({{"context", "64"}}))).empty());
}

TEST_CASE("a net is called by its run's setting, and repetitions are called alike", "[unit]") {
  const auto name = [](const Settings& said, const TensorMetadata& more = {},
                       const std::string& content = "0123456789") {
    TensorMetadata metadata = more;
    metadata["config"] = Config::resolve(said).canonical();
    return net(net_of_sizes(), metadata)->title(content);
  };
  const Settings one = small_transformer({{"attention", "ssa"}, {"weights", "rigl"}});
  Settings seed = one, other = one, hashed = one;
  seed["seed"] = "9";
  hashed["init_hash"] = "77";
  other["lr"] = "0.5";
  CHECK_THAT(name(one), Contains("ssa/rigl-"));
  CHECK(name(one) == name(seed, {}, "another"));
  CHECK(name(one) == name(hashed));
  CHECK(name(one) != name(other));
  CHECK_THAT(name(one, {{"read_out", "sparse"}}), Contains("ssa/rigl-sparse-"));
  CHECK_THAT(name(small_net({{"weights", "set"}}), {{"task", "2"}}), Contains("set-task2-"));
  CHECK(net(net_of_sizes())->title("0123456789") == "file-01234567");
}

TEST_CASE("a file that was changed is not the run's", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  const std::string hash = write_net(path, net_of_sizes());
  CHECK_NOTHROW(InitialNet::read(path, hash));
  CHECK_THROWS_AS(InitialNet::read(path, std::string(64, '0')), DataError);
  std::string bytes = read_file(path);
  atomic_write(path, bytes.substr(0, bytes.size() - 5));
  CHECK_THROWS_WITH(InitialNet::map(path), Contains(path) && Contains("cut off"));
}

}  // namespace tandem::test::nn_initial_net_unit
