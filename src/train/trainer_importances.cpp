// Importances of weights for a strategy: means over examples of powers of their gradients.
#include <algorithm>

#include "core/error.h"
#include "data/example.h"
#include "data/tensor.h"
#include "topology/connections.h"
#include "topology/segments.h"
#include "train/importances.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// Rows that importances are taken over at once: always so many, so that how products round does not
// depend on how many examples the others of a group have.
constexpr std::int64_t kImportanceRows = 128;

// All of its parameters are weights and biases of linear layers.
bool only_linear(Model& model) {
  std::vector<const Parameter*> known;
  for (const Linear* layer : model.linears()) {
    known.push_back(&layer->weight);
    known.push_back(&layer->bias);
  }
  const std::vector<Parameter*> all = model.parameters();
  return std::all_of(all.begin(), all.end(), [&known](const Parameter* each) {
    return std::find(known.begin(), known.end(), each) != known.end();
  });
}

double weights_of_replica(Model& model, std::int64_t replicas) {
  double weights = 0;
  for (const Parameter* parameter : model.parameters()) {
    const Connections* connections = parameter->connections;
    weights += connections != nullptr ? static_cast<double>(connections->positions())
                                      : static_cast<double>(parameter->value.numel() / replicas);
  }
  return weights;
}

// log p over the outputs that take part, 0 for the others.
at::Tensor log_outputs(const at::Tensor& logits, const at::Tensor& allowed) {
  if (!allowed.defined()) return torch::log_softmax(logits, -1);
  const at::Tensor log_p = torch::log_softmax(
      logits.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity()), -1);
  return torch::where(allowed, log_p, torch::zeros({}, log_p.options()));
}

// What one layer made of its input.
struct Product {
  const Linear* layer;
  at::Tensor x, y;  // [R,N,in], [R,N,out]
};

// The sum over rows of |x|^p |dy|^p at each weight of the layer, as its backward pass has it: in
// the same form, and at the same positions, as a gradient of the weight.
at::Tensor powers_at_weights(const Linear& layer, const at::Tensor& x, const at::Tensor& dy,
                             const LevelPlan& stream) {
  const at::AutoGradMode with_gradient(true);
  const at::Tensor& weight = layer.weight.value;
  at::Tensor y;
  if (layer.connections == nullptr) {
    y = torch::bmm(x, weight);
  } else {
    ProductPlan plan;
    plan.full = stream.wanted == StreamsWanted::kFull;
    plan.sparse = !plan.full;
    plan.superset = stream.superset;
    plan.mask_gradient = true;
    const TwoStreams streams = layer.connections->product(x, {}, plan);
    y = plan.full ? streams.full : streams.sparse;
  }
  return torch::autograd::grad({y}, {weight}, {dy}).front();
}

}  // namespace

// Where each example has one row and all weights are of linear layers, dL/dW = x dy, so that the
// sum over examples of powers of its entries is a product of powers. Elsewhere each example has a
// copy of the net.
std::vector<at::Tensor> Trainer::importances(const std::vector<std::vector<std::int64_t>>& examples,
                                             Importance kind) {
  topology_->expect_gradient(false);
  std::size_t longest = 0;
  for (const auto& own : examples) longest = std::max(longest, own.size());
  // Of a sequence it is a sum over tokens and symbols, each with a backward pass of its own.
  TORCH_INTERNAL_ASSERT(!data().sequences() || kind != Importance::kFisher,
                        "the exact Fisher information of sequences");
  const bool by_rows = !data().sequences() && only_linear(*model_);
  const auto chunk =
      by_rows ? kImportanceRows : importance_copies(weights_of_replica(*model_, replicas()));
  std::unique_ptr<Model> copies;
  if (!by_rows) {
    copies = make_copy(chunk);
    fill_copy(*copies, chunk);
    for (Parameter* parameter : copies->parameters()) parameter->value.requires_grad_(true);
  }
  std::vector<at::Tensor> sums;
  for (const Parameter* parameter : (by_rows ? *model_ : *copies).parameters()) {
    const at::Tensor flat = parameter->value.detach().view({-1});
    sums.push_back(
        torch::zeros_like(by_rows ? parameter->flat() : flat.narrow(0, 0, flat.numel() / chunk)));
  }
  for (std::size_t begin = 0; begin < longest; begin += static_cast<std::size_t>(chunk)) {
    const Batch batch = batches_.make(part_of(examples, begin, static_cast<std::size_t>(chunk)),
                                      chunk, batches_.trained_outputs());
    by_rows ? add_importances_by_rows(batch, kind, sums)
            : add_importances(batch, kind, *copies, sums);
  }
  const at::NoGradGuard no_grad;
  if (!by_rows) sums = as_stored(sums);
  std::vector<double> counts;
  for (std::size_t r = 0; r < examples.size(); ++r) {
    const auto count = static_cast<double>(examples[r].size());
    counts.push_back(1 / std::max(1.0, count));
    if (examples[r].empty()) continue;
    const auto replica = static_cast<std::int64_t>(r);
    // One for each output that its examples, all of one task, have.
    const std::int64_t passes =
        kind == Importance::kFisher
            ? batches_.trained_outputs_of(replica, task_of(examples[r].front()))
            : 1;
    // Forward once, and for each pass back dy of all layers and the products of powers.
    flops().add(replica,
                count * flops_->trained_forward(replica) * (1 + 2 * static_cast<double>(passes)));
  }
  const at::Tensor share = torch::tensor(counts, torch::kFloat64).to(options_.device);
  const std::vector<Parameter*> parameters = model_->parameters();
  for (std::size_t p = 0; p < sums.size(); ++p) {
    sums[p].mul_(broadcast_to_segments(share.to(sums[p].scalar_type()), parameters[p]->segments()));
  }
  return sums;
}

// Sums over dense weights, by parameter, beside Parameter::flat(), and 0 where the stream that the
// method trains has no weight.
std::vector<at::Tensor> Trainer::as_stored(const std::vector<at::Tensor>& dense) const {
  const bool sparse = trains_sparse();
  std::vector<at::Tensor> all;
  std::size_t p = 0;
  for (const Parameter* parameter : model_->parameters()) {
    at::Tensor own = dense[p++];
    const Connections* connections = parameter->connections;
    if (connections != nullptr) {
      own = own.view({replicas(), -1});
      const at::Tensor flags = trained_flags(*connections, sparse);
      if (flags.defined()) own = own * flags.view(own.sizes());
      const at::Tensor stored = connections->stored_positions();
      std::vector<at::Tensor> parts;
      for (std::int64_t r = 0; stored.defined() && r < replicas(); ++r) {
        parts.push_back(own[r].index_select(0, parameter->segment(stored, r).to(own.device())));
      }
      own = stored.defined() ? torch::cat(parts) : own.reshape({-1});
    }
    all.push_back(own);
  }
  return all;
}

// The functions of the outputs whose gradients count, [R,N] each, with the weight of each row: log
// p of each output by its probability, log p of the label, or the squares of the outputs.
std::vector<std::pair<at::Tensor, at::Tensor>> Trainer::functions_of(const Batch& batch,
                                                                     const at::Tensor& logits,
                                                                     Importance kind) const {
  const at::Tensor counts = batch.weight.defined()
                                ? batch.weight
                                : torch::ones(batch.target.sizes(), logits.options()).detach();
  if (kind == Importance::kOutputNorm) {
    const at::Tensor squares = logits.square();
    return {{(batch.allowed.defined() ? squares * batch.allowed.to(squares.scalar_type()) : squares)
                 .sum(-1),
             counts}};
  }
  const at::Tensor log_p = log_outputs(logits, batch.allowed);
  if (kind == Importance::kEmpiricalFisher) {
    const at::Tensor own = log_p.gather(-1, batch.target.unsqueeze(-1)).squeeze(-1);
    return {{batch.counted.defined() ? own * batch.counted.to(own.scalar_type()) : own, counts}};
  }
  at::Tensor p = log_p.detach().exp();
  if (batch.allowed.defined()) p = p * batch.allowed.to(p.scalar_type());
  std::vector<std::pair<at::Tensor, at::Tensor>> all;
  // Of heads that no example has there is nothing to add.
  const at::Tensor any =
      batch.allowed.defined() ? batch.allowed.flatten(0, 1).any(0).to(torch::kCPU) : at::Tensor();
  for (std::int64_t c = 0; c < log_p.size(-1); ++c) {
    if (any.defined() && !any[c].item<bool>()) continue;
    all.emplace_back(log_p.select(-1, c), p.select(-1, c) * counts);
  }
  return all;
}

void Trainer::add_importances_by_rows(const Batch& batch, Importance kind,
                                      std::vector<at::Tensor>& sums) {
  const at::AutoGradMode with_gradient(true);
  std::vector<Product> products;
  Context context = trained_stream(trains_sparse());
  context.observe_product = [&products](const Linear& layer, const at::Tensor& x,
                                        const at::Tensor& y) {
    products.push_back({&layer, x, y});
  };
  at::Tensor logits = model_->forward(batch.x, context);
  logits = logits.reshape({replicas(), -1, logits.size(-1)});
  std::vector<at::Tensor> outputs;
  for (const Product& each : products) outputs.push_back(each.y);
  const bool norm = kind == Importance::kOutputNorm;
  const auto functions = functions_of(batch, logits, kind);
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const auto& [value, weight] = functions[i];
    const auto dy = torch::autograd::grad({value.sum()}, outputs, {},
                                          /*retain_graph=*/i + 1 < functions.size());
    for (std::size_t l = 0; l < products.size(); ++l) {
      const Linear& layer = *products[l].layer;
      const at::Tensor x = products[l].x.detach();
      const at::Tensor power = (norm ? dy[l].abs() : dy[l].square()) * weight.unsqueeze(-1);
      const at::Tensor at_weights =
          powers_at_weights(layer, norm ? x.abs() : x.square(), power, context.plans.weights);
      add_to(sums, layer.weight, at_weights);
      if (layer.has_bias()) add_to(sums, layer.bias, power.sum(1));
    }
  }
}

// An example to each copy of its replica's net, so that a copy's gradient is the example's.
void Trainer::add_importances(const Batch& batch, Importance kind, Model& copies,
                              std::vector<at::Tensor>& sums) const {
  const at::AutoGradMode with_gradient(true);
  const std::int64_t each = batch.x.size(1);
  Context context = trained_stream(/*sparse=*/false);
  context.plans.weights = {};
  at::Tensor logits = copies.forward(batch.x.flatten(0, 1).unsqueeze(1), context);
  logits = logits.reshape({replicas(), -1, logits.size(-1)});
  const auto functions = functions_of(batch, logits, kind);
  const bool norm = kind == Importance::kOutputNorm;
  const std::vector<at::Tensor> leaves = leaves_of(copies);
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const auto& [value, weight] = functions[i];
    const auto gradients = torch::autograd::grad({value.sum()}, leaves, {},
                                                 /*retain_graph=*/i + 1 < functions.size(),
                                                 /*create_graph=*/false, /*allow_unused=*/true);
    const at::Tensor of_example = weight.view({replicas(), each, -1}).amax(2);
    for (std::size_t p = 0; p < leaves.size(); ++p) {
      if (!gradients[p].defined()) continue;
      const at::Tensor own = gradients[p].reshape({replicas(), each, -1});
      at::Tensor sum = sums[p].view({replicas(), -1});
      // One after the other: how they add up is no matter of how many there are.
      for (std::int64_t e = 0; e < each; ++e) {
        const at::Tensor gradient = own.select(1, e);
        sum.add_((norm ? gradient.abs() : gradient.square()) *
                 of_example.select(1, e).unsqueeze(1));
      }
    }
  }
}

void Trainer::add_to(std::vector<at::Tensor>& sums, const Parameter& parameter,
                     const at::Tensor& term) const {
  const std::vector<Parameter*> parameters = model_->parameters();
  const auto found = std::find(parameters.begin(), parameters.end(), &parameter);
  sums[static_cast<std::size_t>(found - parameters.begin())].add_(term.reshape({-1}));
}

}  // namespace tandem
