#include "nn/model.h"

#include <cmath>
#include <numbers>

#include "config/seeds.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "data/tensor.h"

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

// Draws in double whatever the dtype, so that a float and a double net start from the same numbers.
Parameter drawn(const std::string& name, const std::vector<Config>& configs,
                const std::vector<std::int64_t>& shape, at::ScalarType dtype,
                double (*draw)(const RandomStream&, std::uint64_t),
                const std::vector<double>& scales) {
  const std::int64_t n = count(shape);
  std::vector<std::int64_t> full_shape = {static_cast<std::int64_t>(configs.size())};
  full_shape.insert(full_shape.end(), shape.begin(), shape.end());
  at::Tensor value = torch::empty(full_shape, torch::kFloat64);
  double* out = value.data_ptr<double>();
  for_each_index(configs.size(), at::get_num_threads(), [&](std::size_t r) {
    const RandomStream stream{stream_key(run_seed(configs[r], "init"), "init/" + name)};
    double* own = out + static_cast<std::int64_t>(r) * n;
    for (std::int64_t i = 0; i < n; ++i) {
      own[i] = scales[r] * draw(stream, static_cast<std::uint64_t>(i));
    }
  });
  Parameter parameter;
  parameter.name = name;
  parameter.value = value.to(dtype).requires_grad_(true);
  return parameter;
}

double symmetric_uniform(const RandomStream& stream, std::uint64_t i) {
  return 2 * stream.uniform(i) - 1;
}

double standard_normal(const RandomStream& stream, std::uint64_t i) {
  const double u = 1 - stream.uniform(2 * i), v = stream.uniform(2 * i + 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

}  // namespace

void initialize_linear(Linear& linear, const std::vector<Config>& configs, at::ScalarType dtype) {
  const double fan_in = static_cast<double>(linear.inputs());
  const double fan_out = static_cast<double>(linear.outputs());
  const std::vector<std::int64_t> shape = {linear.inputs(), linear.outputs()};
  const std::string& kind = configs.front().text("init");
  const auto all = [&configs](double scale) { return std::vector<double>(configs.size(), scale); };
  const bool decays = linear.weight.decays;
  if (kind == "kaiming_normal") {
    linear.weight = drawn(linear.weight.name, configs, shape, dtype, standard_normal,
                          all(std::sqrt(2 / fan_in)));
  } else {
    const double bound =
        kind == "xavier_uniform" ? std::sqrt(6 / (fan_in + fan_out)) : 1 / std::sqrt(fan_in);
    linear.weight = drawn(linear.weight.name, configs, shape, dtype, symmetric_uniform, all(bound));
  }
  linear.weight.decays = decays;
  if (!linear.has_bias()) return;
  const double bias_bound = kind == "kaiming_uniform" ? 1 / std::sqrt(fan_in) : 0.0;
  linear.bias = drawn(linear.bias.name, configs, {linear.outputs()}, dtype, symmetric_uniform,
                      all(bias_bound));
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
  return drawn(name, configs, shape, dtype, standard_normal,
               std::vector<double>(configs.size(), deviation));
}

}  // namespace tandem
