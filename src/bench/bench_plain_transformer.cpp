// A yardstick: the byte model's training step written as a plain LibTorch loop, without any of the
// engine. One model of src/nn/transformer.cpp in ordinary operations, attention fused:
//   x <- x + o(gate * attention(n)),  x <- x + down(silu(gate(m)) * up(m)),  n, m = rms_norm(x)
// with rotary positions in halves, key heads shared by groups of query heads, tied embeddings,
// AdamW 0.9/0.95 with decay of the matrices only, gradients clipped to norm 1. ssa (arXiv
// 2511.20102) computes both streams from the same q, k, v each step and aligns them before the
// gate; the running one alternates.
#include <torch/optim.h>

#include <cmath>
#include <limits>

#include "bench/bench.h"
#include "data/tensor.h"

namespace tandem {
namespace {

constexpr std::int64_t kPlainCorpusBytes = 1000000;
constexpr std::int64_t kVocabulary = 256;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain) {
  return torch::rms_norm(x, {x.size(-1)}, gain, 1e-5);
}

at::Tensor additive(const at::Tensor& allowed) {
  return torch::zeros(allowed.sizes(), allowed.options().dtype(torch::kFloat32))
      .masked_fill_(allowed.logical_not(), -kInfinity);
}

}  // namespace

struct PlainTransformer::Impl {
  struct Layer {
    at::Tensor attention_norm, head_gate, ff_norm;
    at::Tensor q, k, v, o, ff_gate, ff_up, ff_down;
  };

  PlainTransformerShape shape;
  std::string method;
  at::Device device = at::kCPU;
  NamedTensors named;
  at::Tensor embedding, final_norm;
  std::vector<Layer> layers;
  at::Tensor cosine, sine;         // [T,D/2]
  at::Tensor allowed;              // bool [T,T]
  at::Tensor complete, past, own;  // [T,T/BS]: additive, bool, bool
  at::Tensor corpus;               // uint8 [N]
  std::int64_t steps = 0;
  std::unique_ptr<torch::optim::AdamW> optimizer;

  void build(const NamedTensors& initial);
  void build_tables();
  void build_optimizer();

  at::Tensor rotate(const at::Tensor& x) const {  // [...,T,D]
    const std::vector<at::Tensor> half = x.chunk(2, -1);
    return torch::cat({half[0] * cosine - half[1] * sine, half[1] * cosine + half[0] * sine}, -1);
  }

  at::Tensor select(const at::Tensor& q, const at::Tensor& k) const;
  at::Tensor attend(const PlainTransformer::Impl::Layer& layer, const at::Tensor& n, bool full,
                    at::Tensor& alignment) const;
};

// The keys that a query reads, bool [B,H,T,T]: its own block, and of the past ones those with the
// largest sum over the group's heads of softmax(q . mean key) over complete blocks. k [B,Hkv,T,D].
at::Tensor PlainTransformer::Impl::select(const at::Tensor& q, const at::Tensor& k) const {
  torch::NoGradGuard no_grad;
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
  const at::Tensor pooled = k.unflatten(2, {-1, shape.block_size}).mean(3).unsqueeze(2);
  const at::Tensor grouped = q.unflatten(1, {shape.kv_heads, -1});  // [B,Hkv,G,T,D]
  const at::Tensor score = torch::matmul(grouped * scale, pooled.transpose(-2, -1)) + complete;
  const at::Tensor importance =
      torch::softmax(score, -1).sum(2).masked_fill_(past.logical_not(), -kInfinity);
  const at::Tensor best = std::get<1>(importance.topk(shape.blocks - 1, -1));
  const at::Tensor chosen =
      torch::zeros(importance.sizes(), past.options()).scatter_(-1, best, true);
  return chosen.logical_and_(past)
      .logical_or_(own)
      .repeat_interleave(shape.block_size, -1)
      .logical_and_(allowed)
      .repeat_interleave(shape.heads / shape.kv_heads, 1);
}

at::Tensor PlainTransformer::Impl::attend(const PlainTransformer::Impl::Layer& layer,
                                          const at::Tensor& n, bool full,
                                          at::Tensor& alignment) const {
  const auto heads = [&](const at::Tensor& x, std::int64_t count) {  // [B,count,T,D]
    return x.unflatten(-1, {count, -1}).transpose(1, 2);
  };
  const std::int64_t group = shape.heads / shape.kv_heads;
  const at::Tensor q = rotate(heads(torch::matmul(n, layer.q), shape.heads));
  const at::Tensor own_k = rotate(heads(torch::matmul(n, layer.k), shape.kv_heads));
  const at::Tensor k = own_k.repeat_interleave(group, 1);
  const at::Tensor v = heads(torch::matmul(n, layer.v), shape.kv_heads).repeat_interleave(group, 1);
  at::Tensor out = at::scaled_dot_product_attention(q, k, v, {}, 0, /*is_causal=*/true);
  if (method == "ssa") {
    const at::Tensor sparse = at::scaled_dot_product_attention(q, k, v, select(q, own_k));
    const at::Tensor term =
        torch::smooth_l1_loss(out, sparse.detach()) + torch::smooth_l1_loss(sparse, out.detach());
    alignment = alignment.defined() ? alignment + term : term;
    if (!full) out = sparse;
  }
  const at::Tensor gate = torch::sigmoid(torch::matmul(n, layer.head_gate));
  out = (out * heads(gate, shape.heads)).transpose(1, 2).flatten(2);
  return torch::matmul(out, layer.o);
}

at::Tensor PlainTransformer::loss(const at::Tensor& windows, bool full) const {
  const Impl& m = *impl_;
  const at::Tensor tokens = windows.narrow(1, 0, m.shape.context);
  const at::Tensor target = windows.narrow(1, 1, m.shape.context);
  at::Tensor alignment;
  at::Tensor x = torch::embedding(m.embedding, tokens);
  for (const PlainTransformer::Impl::Layer& layer : m.layers) {
    x = x + m.attend(layer, rms_norm(x, layer.attention_norm), full, alignment);
    const at::Tensor y = rms_norm(x, layer.ff_norm);
    const at::Tensor u =
        torch::silu(torch::matmul(y, layer.ff_gate)) * torch::matmul(y, layer.ff_up);
    x = x + torch::matmul(u, layer.ff_down);
  }
  const at::Tensor logits = torch::matmul(rms_norm(x, m.final_norm), m.embedding.t());
  const at::Tensor task =
      torch::cross_entropy_loss(logits.view({-1, kVocabulary}), target.reshape({-1}));
  if (!alignment.defined()) return task;
  return task + 10.0 / static_cast<double>(m.layers.size()) * alignment;
}

// Leaves in the order of the network: those of `initial` by name, or drawn.
void PlainTransformer::Impl::build(const NamedTensors& initial) {
  const auto leaf = [&](const std::string& name, const at::Tensor& drawn) {
    at::Tensor value = drawn;
    for (const auto& [given, tensor] : initial) {
      if (given == name) value = tensor.detach().clone();
    }
    TORCH_CHECK_VALUE(value.sizes() == drawn.sizes(), name, " of ", value.sizes(), ", not ",
                      drawn.sizes());
    named.emplace_back(name, value.to(device).requires_grad_(true));
    return named.back().second;
  };
  const auto matrix = [&](const std::string& name, std::int64_t inputs, std::int64_t outputs) {
    const double bound = 1 / std::sqrt(static_cast<double>(inputs));
    return leaf(name + ".weight", torch::empty({inputs, outputs}).uniform_(-bound, bound));
  };
  const std::int64_t width = shape.width, kv_width = width / shape.heads * shape.kv_heads;
  embedding = leaf("embedding", torch::randn({kVocabulary, width}).mul_(0.02));
  for (std::int64_t l = 0; l < shape.layers; ++l) {
    const std::string name = "layer" + std::to_string(l) + ".";
    PlainTransformer::Impl::Layer layer;
    layer.attention_norm = leaf(name + "attention_norm", torch::ones({width}));
    layer.head_gate = leaf(name + "head_gate", torch::randn({width, shape.heads}).mul_(0.02));
    layer.ff_norm = leaf(name + "ff_norm", torch::ones({width}));
    layer.q = matrix(name + "q", width, width);
    layer.k = matrix(name + "k", width, kv_width);
    layer.v = matrix(name + "v", width, kv_width);
    layer.o = matrix(name + "o", width, width);
    layer.ff_gate = matrix(name + "ff_gate", width, shape.ff_width);
    layer.ff_up = matrix(name + "ff_up", width, shape.ff_width);
    layer.ff_down = matrix(name + "ff_down", shape.ff_width, width);
    layers.push_back(layer);
  }
  final_norm = leaf("final_norm", torch::ones({width}));
}

void PlainTransformer::Impl::build_tables() {
  const std::int64_t half = shape.width / shape.heads / 2;
  const at::Tensor t = torch::arange(shape.context).unsqueeze(1);
  const at::Tensor block = torch::arange(shape.context / shape.block_size);
  const at::Tensor frequency =
      torch::pow(10000.0, torch::arange(half, torch::kFloat64) / static_cast<double>(-half));
  const at::Tensor angle = t * frequency;
  cosine = angle.cos().to(device, torch::kFloat32);
  sine = angle.sin().to(device, torch::kFloat32);
  allowed = (t >= torch::arange(shape.context)).to(device);
  complete = additive(block < (t + 1).div(shape.block_size, "floor")).to(device);
  past = (block < t.div(shape.block_size, "floor")).to(device);
  own = (block == t.div(shape.block_size, "floor")).to(device);
  corpus = torch::randint(0, 256, {kPlainCorpusBytes}, torch::kUInt8).to(device);
}

void PlainTransformer::Impl::build_optimizer() {
  std::vector<at::Tensor> gains, matrices;
  for (const auto& [name, tensor] : named) (tensor.dim() == 1 ? gains : matrices).push_back(tensor);
  const auto group = [](const std::vector<at::Tensor>& leaves, double decay) {
    auto options = std::make_unique<torch::optim::AdamWOptions>(0.001);
    options->betas({0.9, 0.95}).weight_decay(decay);
    return torch::optim::OptimizerParamGroup(leaves, std::move(options));
  };
  optimizer = std::make_unique<torch::optim::AdamW>(
      std::vector<torch::optim::OptimizerParamGroup>{group(matrices, 0.1), group(gains, 0)});
}

PlainTransformer::PlainTransformer(const std::string& method, const PlainTransformerShape& shape,
                                   at::Device device, const NamedTensors& initial)
    : impl_(std::make_unique<Impl>()) {
  TORCH_CHECK_VALUE(shape.context % shape.block_size == 0, "context ", shape.context,
                    " is no multiple of block_size ", shape.block_size);
  torch::manual_seed(1);
  impl_->method = method;
  impl_->shape = shape;
  impl_->device = device;
  impl_->build(initial);
  impl_->build_tables();
  impl_->build_optimizer();
}

PlainTransformer::~PlainTransformer() = default;
PlainTransformer::PlainTransformer(PlainTransformer&&) noexcept = default;

const PlainTransformer::NamedTensors& PlainTransformer::parameters() const { return impl_->named; }

void PlainTransformer::step() {
  Impl& m = *impl_;
  const auto index = torch::dtype(torch::kInt64).device(m.device);
  const at::Tensor start =
      torch::randint(0, kPlainCorpusBytes - m.shape.context, {m.shape.batch, 1}, index);
  const at::Tensor position = start + torch::arange(m.shape.context + 1, index);
  const at::Tensor windows =
      m.corpus.index_select(0, position.view(-1)).to(torch::kInt64).view(position.sizes());
  m.optimizer->zero_grad();
  loss(windows, m.steps++ % 2 == 0).backward();
  std::vector<at::Tensor> leaves;
  for (const auto& [name, tensor] : m.named) leaves.push_back(tensor);
  clip_gradients(leaves, 1.0);
  m.optimizer->step();
}

}  // namespace tandem
