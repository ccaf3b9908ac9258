// A model is a network over the replica axis. Models are registered by name and built from the
// group's configs; what the group key holds (widths, heads, ...) is read from the first.
//
// Shapes: R replicas (runs of the group), B examples, F inputs of an image, T tokens of a sequence,
// C classes, V symbols of a byte model.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "nn/buffer.h"
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
  // Returns logits [R,B,C] for images x, float [R,B,F], and [R,B,T,V] for bytes x, int64 [R,B,T].
  virtual at::Tensor forward(const at::Tensor& x, Context& context) = 0;

  // These are the linear layers that a weights method may sparsify, and all parameters, both in the
  // order of the network.
  virtual std::vector<Linear*> linears() = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  virtual std::vector<Buffer*> buffers() { return {}; }
  // Returns the number of a level's sites that align_and_select() is called with, for the mean over
  // layers.
  virtual std::int64_t sites(Level level) const = 0;
  // Returns the number of weights that every row of a forward pass is multiplied with besides those
  // of the linear layers (a tied output, a gate); no method sparsifies them.
  virtual double dense_products() const { return 0; }
  // Returns the floating-point operations of one example's forward pass outside of the linear
  // layers' products (attention scores, values and selection), for the full stream or for a budget
  // of blocks; it is 0 for an MLP.
  virtual double attention_flops(bool /*full*/, double /*blocks*/) const { return 0; }
};

using ModelFactory = std::unique_ptr<Model> (*)(const std::vector<Config>&, const ModelShape&);
Registry<ModelFactory>& models();

// Makes parameter values on the CPU in `dtype`: each replica's from its own stream "init", keyed by
// (parameter name, position), so that neither company nor architecture order shifts a draw.
// std or bound follow the config's `init`; matrices get 1/sqrt(fan_in)-type scales, biases too.
void initialize_linear(Linear& linear, const std::vector<Config>& configs, const ModelShape& shape);
// These make a parameter that is filled with one value (gains of norms), or with normal draws of
// the given deviation (embeddings).
Parameter constant_parameter(const std::string& name, std::int64_t replicas,
                             const std::vector<std::int64_t>& shape, double value,
                             at::ScalarType dtype);
Parameter normal_parameter(const std::string& name, const std::vector<Config>& configs,
                           const std::vector<std::int64_t>& shape, double deviation,
                           at::ScalarType dtype);

}  // namespace tandem
