#include "jobs/working_set.h"

#include <algorithm>

#include "methods/method.h"
#include "plan/group.h"

namespace tandem {
namespace {

// Weights with gradients, slots, masks, masked copies and scores; activations of both streams with
// their gradients, in the captured steps' memory and in that of evaluation. An estimate on the safe
// side.
constexpr double kCopiesOfWeights = 14, kCopiesOfActivations = 3.5;
constexpr double kReadOutShare = 0.4;  // of a training step's activations
// A teacher has values, gradients and up to three slots, no masks and scores; its activations are
// of one stream and of training alone.
constexpr double kTeacherCopiesOfWeights = 6, kTeacherCopiesOfActivations = 2;
// A gradient at other weights: what the weights were, their own gradient, and what moves them there
// (in double precision while it is summed).
constexpr double kPerturbedCopiesOfWeights = 4, kPerturbedPasses = 2;
constexpr double kBytes = 4;

}  // namespace

WorkingSet working_set(const Config& config, double read_out_share) {
  WorkingSet set;
  const bool transformer = config.text("model") == "transformer";
  const double batch =
      std::max(static_cast<double>(config.integer("batch")),
               static_cast<double>(transformer ? kWindowChunk : kImageChunk) * read_out_share);
  if (transformer) {
    const auto width = static_cast<double>(config.integer("width"));
    const auto layers = static_cast<double>(config.integer("layers"));
    const auto context = static_cast<double>(config.integer("context"));
    const auto heads = static_cast<double>(config.integer("heads"));
    set.weights = layers * 12 * width * width + 256 * width;
    set.activations = batch * context * (layers * (16 * width + 3 * heads * context) + 256);
    return set;
  }
  double inputs = 784;
  for (const std::int64_t units : config.integers("widths")) {
    set.weights += inputs * static_cast<double>(units);
    set.activations += batch * (inputs + 2 * static_cast<double>(units));
    inputs = static_cast<double>(units);
  }
  return set;
}

double gpu_bytes_of(const Config& config) {
  const Policies weights = policies_of(config, Level::kWeights);
  const WorkingSet set = working_set(config, kReadOutShare);
  double copies = kCopiesOfWeights, activations = kCopiesOfActivations;
  if (weights.perturbation.kind != Perturbation::Kind::kNone) {
    copies += kPerturbedCopiesOfWeights;
    activations *= kPerturbedPasses;
  }
  if (weights.teacher.alpha > 0) {
    copies += kTeacherCopiesOfWeights;
    activations += kTeacherCopiesOfActivations;
  }
  return kBytes * (copies * set.weights + activations * set.activations);
}

}  // namespace tandem
