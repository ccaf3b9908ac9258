#include "jobs/working_set.h"

#include <algorithm>

#include "config/contexts.h"
#include "data/data_facts.h"
#include "jobs/storage_choice.h"
#include "methods/method.h"
#include "nn/outline.h"
#include "plan/group.h"
#include "policy/demands.h"
#include "train/importances.h"

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
// A copy of the net for each of some examples: values, gradient and power of it.
constexpr double kExampleCopiesOfWeights = 3;
constexpr double kBytes = 4;
// Without a value, its gradient and momentum no weight is trained.
constexpr double kLeastCopiesOfWeights = 3;

}  // namespace

WorkingSet working_set(const Config& config, double read_out_share) {
  const ModelOutline& outline = outline_of(config);
  const SeenData data = seen_data(config);
  ModelShape shape;
  shape.features = data.features;
  shape.outputs = data.classes;
  const ModelNeeds needs = outline.needs(config, shape);
  const double trained = static_cast<double>(config.integer("batch")) * needs.activations;
  const std::int64_t chunk = outline.sequences ? kWindowChunk : kImageChunk;
  double read = static_cast<double>(chunk) * needs.activations;
  if (outline.sequences && read_out_share > 0) {
    for (const std::int64_t multiple : context_multiples(config)) {
      Settings longer = config.values();
      longer["context"] = std::to_string(multiple * config.integer("context"));
      const Config at_length = Config::resolve(longer, /*strict=*/false);
      read = std::max(read, static_cast<double>(window_chunk(multiple)) *
                                outline.needs(at_length, shape).activations);
    }
  }
  return {needs.weights, std::max(trained, read_out_share * read)};
}

double least_bytes_of(const Config& config, const Policies& weights, bool on_gpu) {
  WorkingSet set = working_set(config, 0);
  const auto batch = static_cast<double>(config.integer("batch"));
  const auto replayed =
      static_cast<double>(std::max<std::int64_t>(0, config.integer("replay_batch")));
  set.activations *= 1 + replayed / batch;
  if (config.text("widths_match") == "density") {
    set.weights *= weights.start.density;
    set.activations *= weights.start.density;
  }
  if (may_be_sparse(config, weights, on_gpu)) set.weights *= stored_density(weights);
  const double bytes = config.text("dtype") == "float64" ? 2 * kBytes : kBytes;
  return bytes * (kLeastCopiesOfWeights * set.weights + set.activations);
}

double gpu_bytes_of(const Config& config) {
  const Demands weights = demands_of(policies_of(config, Level::kWeights));
  const WorkingSet set = working_set(config, kReadOutShare);
  double copies = kCopiesOfWeights, activations = kCopiesOfActivations;
  if (weights.perturbed) {
    copies += kPerturbedCopiesOfWeights;
    activations *= kPerturbedPasses;
  }
  if (weights.teacher) {
    copies += kTeacherCopiesOfWeights;
    activations += kTeacherCopiesOfActivations;
  }
  const std::vector<std::string>& read = part("strategy", config.text("strategy")).uses;
  if (std::count(read.begin(), read.end(), "fisher_examples") != 0) {
    copies += kExampleCopiesOfWeights * static_cast<double>(importance_copies(set.weights));
  }
  return kBytes * (copies * set.weights + activations * set.activations);
}

}  // namespace tandem
