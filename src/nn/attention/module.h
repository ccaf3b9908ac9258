// An attention module is the mathematics of one layer's attention, between the projections of its
// queries, keys and values and the outputs of its heads. Modules are registered by name, one file
// each, and an attention method names the one that it trains (Policies::module). A module may have
// parameters of its own; selectors (nn/attention/selector.h) are an axis of their own.
//
// Shapes: those of nn/attention/setting.h; W width of the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "nn/attention/selector.h"
#include "nn/attention/setting.h"
#include "nn/context.h"
#include "nn/model.h"

namespace tandem {

// Where a module stands: the layer whose attention it is.
struct AttentionPlace {
  std::string layer;                   // "layer0"
  const std::vector<Config>& configs;  // [R]
  const ModelShape& shape;
  std::int64_t width, heads, kv_heads, head_dim;
  AttentionSetting setting;
  std::int64_t index = 0;  // among the layers with attention
  std::string site() const { return layer + ".attention"; }
  // A number that an option gives to each run, in the type of the model.
  NumbersOfRuns numbers(const std::string& option) const;
};

// The parameter of this name is a module's own: "layer0.attention.gate", its site's and its own.
inline bool is_modules(const std::string& parameter) {
  return parameter.find(".attention.") != std::string::npos;
}

struct AttentionInput {
  at::Tensor x;        // [R,B T,W], what q, k and v are projections of
  at::Tensor q, k, v;  // [R,B,T,H,D] and [R,B,T,Hkv,D], q and k rotated
  const AttentionTables& tables;
  std::function<at::Tensor(const at::Tensor&)> rotate = {};  // of keys that the module makes itself
  Epilogue epilogue = {};                                    // of the model: its head gate
};

// What is true of a module, which conformance tests hold it to.
struct AttentionClaims {
  bool causal = true;
  // With a budget that covers every block its sparse stream is its full one, bit for bit.
  bool covers_is_full = true;
  // What the streams differ by is what the sparse one drops: h_full - h_sparse = delta (h_drop -
  // h_sparse), with nn/attention/metrics.h. It offers AttentionView::out then.
  bool gap_is_dropped = true;
};

class AttentionModule {
 public:
  virtual ~AttentionModule() = default;

  virtual AttentionClaims claims() const { return {}; }
  virtual std::vector<Parameter*> parameters() { return {}; }
  // The outputs of the heads, [R,B,T,H,D], after the epilogue, in the streams that
  // context.plans.attention wants.
  virtual at::Tensor forward(const AttentionInput& input, Context& context) = 0;
  // Weights of its own that every token is multiplied with.
  virtual double dense_products() const { return 0; }
  // Floating-point operations of a sequence of so many tokens, for the full stream or for a budget
  // of blocks, without projections and dense_products().
  virtual double flops(std::int64_t tokens, bool full, double blocks) const = 0;
};

// The model offers the head gate, [R,B,T,H], to Context::observe_tensor under this name, with the
// site. Modules offer what they attend to by Context::observe_attention (nn/attention/view.h).
inline constexpr const char* kObserveGate = "attention_gate";

struct AttentionModuleKind {
  std::unique_ptr<AttentionModule> (*make)(const AttentionPlace&) = nullptr;
  // Throws ConfigError where a run's own options do not fit; null: there are none. Asked before
  // anything runs.
  void (*check)(const Config&, const AttentionSetting&) = nullptr;
};
Registry<AttentionModuleKind>& attention_modules();

}  // namespace tandem
