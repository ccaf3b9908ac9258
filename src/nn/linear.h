// A linear layer over the replica axis computes y = x W + b with x [R,N,in], W [R,in,out] and
// b [R,out]. Where it has connections it computes the streams that the context's weights level asks
// for.
//
// Shapes: R replicas (runs of the group), N rows (examples, or examples times tokens), in and out
// the layer's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "nn/context.h"
#include "topology/connections.h"
#include "topology/initial_weights.h"
#include "topology/parameter.h"

namespace tandem {

class Linear {
 public:
  Linear(std::string name, std::int64_t inputs, std::int64_t outputs, bool has_bias);

  // `epilogue` is the block's activation, norm or gate, so that the site can lie after it.
  at::Tensor forward(const at::Tensor& x, Context& context, const Epilogue& epilogue = {}) const;

  const std::string& name() const { return name_; }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  bool has_bias() const { return has_bias_; }

  std::int64_t index = 0;                    // among the model's linear layers
  Parameter weight, bias;                    // filled by the model's allocation
  InitialWeights initial_weights;            // how `weight` starts
  std::unique_ptr<Connections> connections;  // null: dense in both streams

 private:
  std::string name_;
  std::int64_t inputs_, outputs_;
  bool has_bias_;
};

}  // namespace tandem
