#include "nn/model.h"

#include <cmath>

#include "config/seeds.h"
#include "core/philox.h"
#include "data/tensor.h"
#include "topology/storage.h"

namespace tandem {

Registry<ModelFactory>& models() {
  static Registry<ModelFactory> registry;
  return registry;
}

namespace {

std::int64_t count(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t s : shape) n *= s;
  return n;
}

using Law = InitialWeights::Law;

InitialWeights draws(const std::string& name, const std::vector<Config>& configs,
                     std::int64_t inputs, std::int64_t outputs, Law law, double scale) {
  InitialWeights initial{law, scale, inputs, outputs};
  for (const Config& config : configs) {
    initial.streams.push_back({stream_key(run_seed(config, "init"), "init/" + name)});
  }
  return initial;
}

Parameter drawn(const std::string& name, const std::vector<Config>& configs,
                const std::vector<std::int64_t>& shape, at::ScalarType dtype, Law law,
                double scale) {
  std::vector<std::int64_t> full_shape = {static_cast<std::int64_t>(configs.size())};
  full_shape.insert(full_shape.end(), shape.begin(), shape.end());
  Parameter parameter;
  parameter.name = name;
  parameter.value = draw_dense(draws(name, configs, 1, count(shape), law, scale), dtype)
                        .view(full_shape)
                        .requires_grad_(true);
  return parameter;
}

}  // namespace

void initialize_linear(Linear& linear, const std::vector<Config>& configs,
                       const ModelShape& shape) {
  const double fan_in = static_cast<double>(linear.inputs());
  const double fan_out = static_cast<double>(linear.outputs());
  const std::string& kind = configs.front().text("init");
  const bool normal = kind == "kaiming_normal";
  const double scale = normal                     ? std::sqrt(2 / fan_in)
                       : kind == "xavier_uniform" ? std::sqrt(6 / (fan_in + fan_out))
                                                  : 1 / std::sqrt(fan_in);
  linear.initial_weights = draws(linear.weight.name, configs, linear.inputs(), linear.outputs(),
                                 normal ? Law::kNormal : Law::kUniform, scale);
  if (!shape.weights_later) {
    linear.weight.value = draw_dense(linear.initial_weights, shape.dtype).requires_grad_(true);
  }
  if (!linear.has_bias()) return;
  const double bias_bound = kind == "kaiming_uniform" ? 1 / std::sqrt(fan_in) : 0.0;
  linear.bias =
      drawn(linear.bias.name, configs, {linear.outputs()}, shape.dtype, Law::kUniform, bias_bound);
  linear.bias.decays = false;
}

Parameter constant_parameter(const std::string& name, std::int64_t replicas,
                             const std::vector<std::int64_t>& shape, double value,
                             at::ScalarType dtype) {
  std::vector<std::int64_t> full_shape = {replicas};
  full_shape.insert(full_shape.end(), shape.begin(), shape.end());
  Parameter parameter;
  parameter.name = name;
  parameter.decays = false;
  parameter.value = torch::full(full_shape, value, dtype).requires_grad_(true);
  return parameter;
}

Parameter normal_parameter(const std::string& name, const std::vector<Config>& configs,
                           const std::vector<std::int64_t>& shape, double deviation,
                           at::ScalarType dtype) {
  return drawn(name, configs, shape, dtype, Law::kNormal, deviation);
}

}  // namespace tandem
