// The context says what a forward pass of a model computes, and it is where the two streams of a
// block are compared.
//
// A block computes the outputs that its level's plan asks for and hands them to align_and_select(),
// which adds the alignment term and returns the output that goes on to the next layer. Nothing
// outside of align_and_select() and the products knows the level, and nothing here knows a method.
//
// Shapes: R replicas (runs of the group), L linear layers, N rows of a layer's output (examples, or
// examples times tokens).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nn/buffer.h"
#include "nn/rope.h"
#include "policy/policy.h"

namespace tandem {

enum class StreamsWanted {
  kFull,      // the full stream's product only
  kSparse,    // the sparse stream's product only
  kSelected,  // one product per replica: the running stream's (no counterpart is needed)
  kBoth,      // both products from the same input; the running one goes on
};

// This says which stream runs in the replicas of a group. It is known on the host, so that a step
// of one kind always launches the same work.
enum class RunningStream { kFull, kSparse, kMixed };

struct LevelPlan {
  StreamsWanted wanted = StreamsWanted::kFull;
  RunningStream running = RunningStream::kFull;  // where wanted is kBoth
  at::Tensor full_runs;        // bool [R], where wanted is kSelected, or kBoth and kMixed
  at::Tensor layer_full_runs;  // bool [R,L]: each layer's own; undefined: full_runs for all
  bool mask_gradient = false;  // kSparse, kBoth: the sparse product's weight gradient is masked
  bool superset = false;       // the full stream computes with the superset B
  at::Tensor nested;           // int64 [R]: the nested mask of the sparse stream; undefined: M
  bool detached = false;       // alignment does not reach a layer's input
  // These are the coefficients of this level's alignment, alpha x lambda / number of sites, [R].
  // They are undefined where the level is not aligned.
  at::Tensor full_coefficient, sparse_coefficient;
  Alignment::Distance distance = Alignment::Distance::kSmoothL1;
  Alignment::Site site = Alignment::Site::kPre;
  bool shuffled = false;         // targets are another example's: each the next one's in the batch
  bool measures_gap = false;     // Context::gap() is wanted
  std::optional<double> blocks;  // attention read-out at another budget than the config's
};

struct Site {
  Level level;
  std::string layer;
  std::int64_t index = 0;  // among the model's linear layers, or among those with attention
};

// An Epilogue is what follows a site in its block: a norm, which may be missing, and the rest
// (activation or gate). A plain ReLU is known as such, because a product can apply it where it
// stores its result.
class Epilogue {
 public:
  using Function = std::function<at::Tensor(const at::Tensor&)>;

  Epilogue() = default;
  template <class Callable>
  Epilogue(Callable callable) : rest_(std::move(callable)) {}
  static Epilogue relu();
  static Epilogue after_norm(Function norm, Function rest);

  explicit operator bool() const { return static_cast<bool>(rest_); }
  at::Tensor operator()(const at::Tensor& x) const { return rest(norm(x)); }
  at::Tensor norm(const at::Tensor& x) const { return norm_ ? norm_(x) : x; }
  at::Tensor rest(const at::Tensor& x) const { return rest_ ? rest_(x) : x; }
  bool is_relu() const { return is_relu_; }

 private:
  Function norm_, rest_;
  bool is_relu_ = false;
};

// An observer of this kind sees both streams' outputs at each site (for the probes of gap and
// feature norms).
using SiteObserver =
    std::function<void(const Site&, const at::Tensor& full, const at::Tensor& sparse)>;
// An observer of this kind sees a named tensor that a layer offers for inspection (activations,
// head gates).
using TensorObserver =
    std::function<void(const std::string& layer, const std::string& what, const at::Tensor& value)>;

// An observer of this kind sees the attention of each layer, as far as it asks for it
// (nn/attention/view.h).
struct AttentionView;
using AttentionObserver = std::function<void(const std::string& layer, const AttentionView&)>;

// An observer of this kind sees what each linear layer made of its input: x [R,N,in] and y
// [R,N,out] before the epilogue, part of the pass's graph.
class Linear;
using ProductObserver =
    std::function<void(const Linear& layer, const at::Tensor& x, const at::Tensor& y)>;

class Context {
 public:
  PerLevel<LevelPlan> plans;
  RopeFactors rope;  // beside those that the net is trained with, of windows longer than its own
  SiteObserver observe_site;
  TensorObserver observe_tensor;
  AttentionObserver observe_attention;
  ProductObserver observe_product;
  std::int64_t rows_per_example = 1;  // rows of an example in outputs [R,N,...] and logits
  at::Tensor outputs_allowed;  // bool [R,N,C], each row's logits that take part; undefined: all
  // The examples of a training step's pass that count for the model's buffers, bool [R,B];
  // undefined: the pass does not train, and adds nothing.
  at::Tensor counted_examples;
  std::vector<BufferAddition> additions;  // to the model's buffers, once the step is over

  // Adds the alignment term of a site and returns the running stream's output. full and sparse are
  // [R,...]; either may be undefined where the view does not compute it, and then the other is
  // returned. `epilogue` (activation, norm, gate) is applied to both where the site lies after it,
  // and to the returned output in any case. Where full_local and sparse_local are defined, they are
  // aligned in place of full and sparse.
  at::Tensor align_and_select(const Site& site, const at::Tensor& full, const at::Tensor& sparse,
                              const Epilogue& epilogue = {}, const at::Tensor& full_local = {},
                              const at::Tensor& sparse_local = {});

  // Takes the network's output, for alignment at the logits and for a propagated counterpart.
  void align_logits(const at::Tensor& logits);

  // Pairs the sites of this pass with those that `other` keeps (a propagated counterpart): `other`
  // ran the full stream, this one runs the sparse stream at `level`.
  void record_sites() { keeps_ = true; }
  void align_with(Context* other, Level level) {
    other_ = other;
    paired_level_ = level;
  }

  bool records_or_aligns_sites() const { return keeps_ || other_ != nullptr; }

  // Returns the sum of the alignment terms so far, [R]; it is undefined where there are none.
  at::Tensor alignment() const { return alignment_; }
  // Returns the mean over a level's sites so far of |full - sparse|^2 / |full|^2, [R], without
  // autograd; it is undefined unless the level's plan asks for it.
  at::Tensor gap(Level level) const;

  // Adds a term of the model's own to the loss, [R]: what a part of it learns by beside the labels.
  void add_model_loss(const at::Tensor& term);
  // Returns the sum of these terms so far, [R]; it is undefined where there are none.
  at::Tensor model_loss() const { return model_loss_; }

 private:
  void align(Level level, const at::Tensor& full, const at::Tensor& sparse,
             const at::Tensor& allowed = {});
  void measure_gap(Level level, const at::Tensor& full, const at::Tensor& sparse);
  struct Gaps {
    at::Tensor sum;  // [R]
    std::int64_t count = 0;
  };
  at::Tensor alignment_, model_loss_;
  PerLevel<Gaps> gaps_;
  bool keeps_ = false;
  Context* other_ = nullptr;
  Level paired_level_ = Level::kWeights;
  std::map<std::string, at::Tensor> kept_;
};

// Returns the distance of two streams' outputs per replica [R], the mean over everything else. It
// is full_coefficient d(full, sg sparse) + sparse_coefficient d(sg full, sparse), where sg stops
// the gradient. `allowed` is a bool of their shape, the outputs that there are (see
// nn/own_outputs.h); undefined: all.
at::Tensor stream_distance(const at::Tensor& full, const at::Tensor& sparse,
                           const at::Tensor& full_coefficient, const at::Tensor& sparse_coefficient,
                           Alignment::Distance distance, const at::Tensor& allowed = {});

// Returns which stream runs in a layer: the layer's column of layer_full_runs, or full_runs.
at::Tensor full_runs_at(const LevelPlan& plan, std::int64_t layer);
// Returns full where the full stream runs and sparse elsewhere, over the replica axis.
at::Tensor select_stream(const LevelPlan& plan, std::int64_t layer, const at::Tensor& full,
                         const at::Tensor& sparse);

}  // namespace tandem
