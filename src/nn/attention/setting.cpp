#include "nn/attention/setting.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/shape.h"
#include "data/tensor.h"

namespace tandem {
namespace {

constexpr double kNotRead = -std::numeric_limits<double>::infinity();

}  // namespace

at::Tensor additive_mask(const at::Tensor& allowed, const at::Tensor& like) {
  const auto options = like.options().requires_grad(false);
  return torch::where(allowed, torch::zeros({}, options), torch::full({}, kNotRead, options));
}

NumbersOfRuns::NumbersOfRuns(at::Tensor on_host)
    : copies_(std::make_shared<std::vector<at::Tensor>>(1, std::move(on_host))) {}

const at::Tensor& NumbersOfRuns::on(const at::Device& device) const {
  for (const at::Tensor& copy : *copies_) {
    if (copy.device() == device) return copy;
  }
  return copies_->emplace_back(copies_->front().to(device));
}

AttentionTables::AttentionTables(std::int64_t tokens, std::int64_t block_size,
                                 const at::Tensor& like, const at::Tensor& documents,
                                 std::int64_t kv_heads)
    : tokens_(tokens),
      block_size_(block_size),
      kv_heads_(kv_heads),
      like_(torch::empty({0}, like.options())),
      documents_(documents) {
  if (documents_.defined()) expect_shape(documents_, {-1, -1, tokens_}, "documents");
}

at::Tensor AttentionTables::index(std::int64_t count) const {
  return torch::arange(count, like_.options().dtype(torch::kInt64).requires_grad(false));
}

at::Tensor AttentionTables::query_blocks() const {
  return index(tokens_).unsqueeze(1).div(block_size_, "floor");
}

const at::Tensor& AttentionTables::starts() const {
  if (!starts_.defined() && has_documents()) {
    const std::int64_t items = documents_.size(0) * documents_.size(1);
    starts_ = documents_.view({items, 1, tokens_})
                  .expand({items, kv_heads_, tokens_})
                  .reshape({items * kv_heads_, 1, tokens_, 1});
  }
  return starts_;
}

at::Tensor AttentionTables::ended() const {
  const at::Tensor last = (index(complete_blocks()) + 1) * block_size_ - 1;
  const at::Tensor read = last <= index(tokens_).unsqueeze(1);
  return has_documents() ? read.logical_and(last >= starts()) : read;
}

const at::Tensor& AttentionTables::causal() const {
  if (!causal_.defined()) {
    at::Tensor read = index(tokens_) <= index(tokens_).unsqueeze(1);
    if (has_documents()) read = read.logical_and(index(tokens_) >= starts());
    causal_ = additive_mask(read, like_);
  }
  return causal_;
}

const at::Tensor& AttentionTables::complete() const {
  if (!complete_.defined()) complete_ = additive_mask(ended(), like_);
  return complete_;
}

const at::Tensor& AttentionTables::past() const {
  if (!past_.defined()) {
    past_ = ended().logical_and(index(complete_blocks()) != query_blocks());
  }
  return past_;
}

const at::Tensor& AttentionTables::pooled() const {
  if (!pooled_.defined() && has_documents()) {
    const std::int64_t complete = complete_blocks();
    const at::Tensor key = index(complete * block_size_).view({complete, block_size_});
    const at::Tensor start = starts().view({-1, tokens_});  // [N,T]
    pooled_ = key >= start.index_select(1, key.select(1, block_size_ - 1)).unsqueeze(-1);
  }
  return pooled_;
}

const at::Tensor& AttentionTables::own() const {
  if (!own_.defined()) own_ = index(blocks()) == query_blocks();
  return own_;
}

at::Tensor Folded::unfold(const at::Tensor& out) const {
  return out.view({replicas, batch, heads, tokens, head_dim}).transpose(2, 3);
}

at::Tensor Folded::of_products(const at::Tensor& by_replica) const {
  return by_replica.view({replicas, 1})
      .expand({replicas, products() / replicas})
      .reshape({-1, 1, 1, 1});
}

Folded fold(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  Folded f{.replicas = q.size(0),
           .batch = q.size(1),
           .tokens = q.size(2),
           .heads = q.size(3),
           .kv_heads = k.size(3),
           .head_dim = q.size(4),
           .q = {},
           .k = {},
           .v = {}};
  const double scale = 1.0 / std::sqrt(static_cast<double>(f.head_dim));
  const auto keys = [&f](const at::Tensor& x) {
    return x.transpose(2, 3).reshape({f.products(), f.tokens, f.head_dim});
  };
  f.q = (q * scale).transpose(2, 3).reshape({f.products(), f.group() * f.tokens, f.head_dim});
  f.k = keys(k);
  if (v.defined()) f.v = keys(v);
  return f;
}

void expect_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  expect_shape(q, {-1, -1, -1, -1, -1}, "q");
  expect_shape(k, {q.size(0), q.size(1), q.size(2), -1, q.size(4)}, "k");
  if (v.defined()) expect_shape(v, {k.size(0), k.size(1), k.size(2), k.size(3), k.size(4)}, "v");
  TORCH_INTERNAL_ASSERT(q.size(3) % k.size(3) == 0);
}

at::Tensor masked_softmax(const Folded& f, const at::Tensor& scores, const at::Tensor& mask) {
  const at::Tensor masked =
      scores.view({f.products(), f.group(), f.tokens, scores.size(-1)}) + mask;
  return torch::softmax(masked, -1).view(scores.sizes());
}

at::Tensor spread_over_keys(const at::Tensor& by_block, std::int64_t block_size,
                            std::int64_t tokens) {
  std::vector<std::int64_t> shape = by_block.sizes().vec();
  shape.push_back(block_size);
  std::vector<std::int64_t> flat(shape.begin(), shape.end() - 1);
  flat.back() *= block_size;
  return by_block.unsqueeze(-1).expand(shape).reshape(flat).slice(-1, 0, tokens);
}

AttentionSetting at_budget(const AttentionSetting& setting, const std::optional<double>& blocks) {
  AttentionSetting result = setting;
  if (blocks.has_value()) result.blocks = std::llround(*blocks);
  if (result.blocks < 1) {
    throw ConfigError("attention at a budget of " + std::to_string(result.blocks) +
                      " blocks; a query reads its own block at least, so give 1 or more");
  }
  return result;
}

}  // namespace tandem
