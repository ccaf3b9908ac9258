// A model over the replica axis. Models are registered by name and built from the group's configs;
// what the group key holds (widths, heads, ...) is read from the first.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "nn/context.h"
#include "nn/linear.h"

namespace tandem {

struct ModelShape {
  std::int64_t replicas = 1;
  std::int64_t features = 0;  // inputs of an image model
  std::int64_t outputs = 0;
  at::ScalarType dtype = at::kFloat;  // tests build models in double
  bool weights_later = false;  // linear layers get their weights from whoever starts connections
};

class Model {
 public:
  virtual ~Model() = default;
  // x: float [R,B,F] for images, int64 [R,B,T] for bytes. Logits [R,B,C] or [R,B,T,V].
  virtual at::Tensor forward(const at::Tensor& x, Context& context) = 0;

  // In the order of the network. Linears that a weights method may sparsify, and all parameters.
  virtual std::vector<Linear*> linears() = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  // Sites of a level that meet() is called with, for the mean over layers.
  virtual std::int64_t sites(Level level) const = 0;
  // Weights that every row of a forward pass multiplies besides the linear layers' (a tied output,
  // a gate); no method sparsifies them.
  virtual double dense_products() const { return 0; }
  // Floating-point operations of one example's forward pass outside of the linear layers' products,
  // at this level's full and sparse budget (attention scores, values and selection); 0 for an MLP.
  virtual double attention_flops(bool /*full*/, double /*blocks*/) const { return 0; }
};

using ModelFactory = std::unique_ptr<Model> (*)(const std::vector<Config>&, const ModelShape&);
Registry<ModelFactory>& models();

// Makes parameter values on the CPU in `dtype`: each replica's from its own stream "init", keyed by
// (parameter name, position), so that neither company nor architecture order shifts a draw.
// std or bound follow the config's `init`; matrices get 1/sqrt(fan_in)-type scales, biases too.
void initialize_linear(Linear& linear, const std::vector<Config>& configs, const ModelShape& shape);
// A parameter filled with one value (norm gains), or normal draws of the given deviation
// (embeddings).
Parameter constant_parameter(const std::string& name, std::int64_t replicas,
                             const std::vector<std::int64_t>& shape, double value,
                             at::ScalarType dtype);
Parameter normal_parameter(const std::string& name, const std::vector<Config>& configs,
                           const std::vector<std::int64_t>& shape, double deviation,
                           at::ScalarType dtype);

}  // namespace tandem
