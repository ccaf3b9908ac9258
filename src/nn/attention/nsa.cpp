// Native sparse attention (Yuan et al. 2025, arXiv 2502.11089): three branches, each with a gate
// for every token and head,
//   o_t = sum over c in {cmp, slc, win} of g_t^c attention(q_t, K^c, V^c),  g = sigmoid(x W_g)
//   cmp  keys and values of l tokens, one every d tokens, compressed to one each by phi: a layer of
//        hidden units over the l tokens with a position code of each, or their mean
//   slc  the keys of chosen blocks of l' tokens. A block is as important as the probability that
//        branch cmp gives to the compressed keys that overlap it, each counted once for every d of
//        the tokens that they share (equation 9 there), summed over the heads of a group
//   win  the last w tokens, a query's own among them
// Queries that no compressed key precedes get nothing from cmp; where documents are packed, a key
// that reaches back beyond a query's document does not precede it. With nsa_separate_kv each branch
// has keys and values of its own, as in the paper; else all share those of the model, as in
// flash-linear-attention. The sparse stream is all this; the full one reads full attention in the
// place of the branches that nsa_full names (SSA's tables A6 and A7, arXiv 2511.20102).
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "nn/attention/view.h"
#include "nn/elementwise.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

constexpr double kNsaDeviation = 0.02;  // of the initial gates and position codes
constexpr std::int64_t kBranches = 3;
constexpr std::int64_t kHidden = 4;  // hidden units of phi, times D

enum Branch : std::int64_t { kCompressed, kSelected, kWindow };

struct NsaSizes {
  std::int64_t length, stride, window;  // l, d, w
  bool learned, separate;
  bool full[kBranches];  // what the full stream reads full attention for
};

NsaSizes nsa_sizes(const Config& config, std::int64_t block_size) {
  const auto said = [&config](const char* option, std::int64_t otherwise) {
    const std::int64_t value = config.integer(option);
    return value == 0 ? otherwise : value;
  };
  NsaSizes s{.length = said("nsa_length", std::max<std::int64_t>(1, block_size / 2)),
             .stride = said("nsa_stride", std::max<std::int64_t>(1, block_size / 4)),
             .window = said("nsa_window", 8 * block_size),
             .learned = config.text("nsa_compression") == "mlp",
             .separate = config.flag("nsa_separate_kv"),
             .full = {}};
  if (block_size % s.stride != 0 || s.length % s.stride != 0) {
    throw ConfigError("nsa_stride = " + std::to_string(s.stride) + " must divide block_size = " +
                      std::to_string(block_size) + " and nsa_length = " + std::to_string(s.length) +
                      ": a block's importance is a sum over strides");
  }
  const char* const names[] = {"compressed", "selected", "window"};
  for (const std::string& each : split(config.text("nsa_full"), ',')) {
    const auto* const found = std::find(std::begin(names), std::end(names), each);
    if (found == std::end(names)) {
      throw ConfigError("nsa_full = " + config.text("nsa_full") + " names '" + each +
                        "'; give some of compressed, selected and window, joined by ','");
    }
    s.full[found - std::begin(names)] = true;
  }
  return s;
}

class Nsa : public AttentionModule {
 public:
  explicit Nsa(const AttentionPlace& place)
      : site_{Level::kAttention, place.site(), place.index},
        setting_(place.setting),
        sizes_(nsa_sizes(place.configs.front(), place.setting.block_size)),
        width_(place.width),
        heads_(place.heads),
        kv_heads_(place.kv_heads),
        head_dim_(place.head_dim) {
    const auto drawn = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                           double deviation) {
      return normal_parameter(place.site() + "." + name, place.configs, shape, deviation,
                              place.shape.dtype);
    };
    gate_ = drawn("gate", {width_, kBranches * heads_}, kNsaDeviation);
    const std::int64_t length = sizes_.length, hidden = kHidden * head_dim_;
    if (sizes_.learned) {
      for (std::size_t i = 0; i < 2; ++i) {
        const std::string of = i == 0 ? "key" : "value";
        phi_[i].position = drawn(of + "_position", {length, head_dim_}, kNsaDeviation);
        phi_[i].in = drawn(of + "_in", {length * head_dim_, hidden},
                           1 / std::sqrt(static_cast<double>(length * head_dim_)));
        phi_[i].out =
            drawn(of + "_out", {hidden, head_dim_}, 1 / std::sqrt(static_cast<double>(hidden)));
      }
    }
    if (!sizes_.separate) return;
    const double scale = 1 / std::sqrt(static_cast<double>(width_));
    for (const Branch branch : {kCompressed, kWindow}) {
      const std::string of = branch == kCompressed ? "compressed_" : "window_";
      const std::vector<std::int64_t> shape = {width_, kv_heads_ * head_dim_};
      own_[branch].k = drawn(of + "k", shape, scale);
      own_[branch].v = drawn(of + "v", shape, scale);
    }
  }

  // The full stream has other branches, whatever the budget.
  AttentionClaims claims() const override {
    return {.causal = true,
            .covers_is_full =
                sizes_.full[kSelected] && !sizes_.full[kCompressed] && !sizes_.full[kWindow],
            .gap_is_dropped = false};
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {&gate_};
    for (Phi& phi : phi_) {
      if (sizes_.learned) all.insert(all.end(), {&phi.position, &phi.in, &phi.out});
    }
    for (KeysValues& each : own_) {
      if (each.k.value.defined()) all.insert(all.end(), {&each.k, &each.v});
    }
    return all;
  }

  at::Tensor forward(const AttentionInput& input, Context& context) override {
    expect_heads(input.q, input.k, input.v);
    const LevelPlan& plan = context.plans.attention;
    const AttentionSetting setting = at_budget(setting_, plan.blocks);
    const Folded f = fold(input.q, input.k, input.v);
    const SelectorInput selection{f, setting, input.tables};
    const at::Tensor scores = batched_product(f.q, f.k.transpose(1, 2));
    const auto read = [&](const at::Tensor& mask) {
      return f.unfold(batched_product(masked_softmax(f, scores, mask), f.v));
    };
    const Compressed compressed = compress(input);
    at::Tensor mask = input.tables.causal(), blocks;
    if (!covers_everything(setting, input.tables)) {
      const at::NoGradGuard no_grad;
      blocks = chosen(selection, compressed.share);
      mask = mask_of_blocks(selection, blocks, {});
    }
    const at::Tensor native[] = {compressed.out, read(mask), window(input)};
    const at::Tensor gates = sigmoid_reproducible(batched_product(input.x, gate_.value))
                                 .view({f.replicas, f.batch, f.tokens, kBranches, heads_});
    at::Tensor everything;
    if (plan.wanted != StreamsWanted::kSparse) everything = read(input.tables.causal());
    const auto stream = [&](bool full) {
      at::Tensor sum;
      for (std::int64_t b = 0; b < kBranches; ++b) {
        const at::Tensor& out = full && sizes_.full[b] ? everything : native[b];
        const at::Tensor term = out * gates.select(3, b).unsqueeze(-1);
        sum = sum.defined() ? sum + term : term;
      }
      return sum;
    };
    at::Tensor full, sparse;
    if (plan.wanted != StreamsWanted::kSparse) full = stream(true);
    if (plan.wanted != StreamsWanted::kFull) sparse = stream(false);
    if (plan.wanted == StreamsWanted::kSelected) {
      sparse = torch::where(full_runs_at(plan, site_.index).view({f.replicas, 1, 1, 1, 1}), full,
                            sparse);
      full = at::Tensor();
    }
    if (context.observe_attention) offer(input, setting, blocks, context);
    return context.align_and_select(site_, full, sparse, input.epilogue);
  }

  double dense_products() const override {
    const std::int64_t gates = width_ * kBranches * heads_;
    const std::int64_t own = sizes_.separate ? 4 * width_ * kv_heads_ * head_dim_ : 0;
    return static_cast<double>(gates + own);
  }

  double flops(std::int64_t tokens, bool full, double blocks) const override {
    const auto of_pairs = [&](std::int64_t pairs) {
      return 4.0 * static_cast<double>(pairs) * static_cast<double>(heads_ * head_dim_);
    };
    const std::int64_t slots = std::max<std::int64_t>(1, std::llround(blocks));
    const std::int64_t compressed = keys_of(tokens);
    double sum = 0;
    // Branch by branch; what is read in full is read once.
    if (!full || !sizes_.full[kCompressed] || !sizes_.full[kSelected]) {
      std::int64_t pairs = 0;
      for (std::int64_t t = 0; t < tokens; ++t) pairs += keys_of(t + 1);
      const auto units = static_cast<double>(compressed * kv_heads_);
      const auto width = static_cast<double>(head_dim_),
                 length = static_cast<double>(sizes_.length);
      sum += of_pairs(pairs) +
             2 * units *
                 (sizes_.learned ? 2 * kHidden * width * width * (length + 1) : width * length);
    }
    if (!full || !sizes_.full[kSelected]) {
      sum += of_pairs(kernels::attended_pairs(tokens, setting_.block_size, slots));
    }
    if (!full || !sizes_.full[kWindow]) {
      const std::int64_t w = std::min(sizes_.window, tokens);
      sum += of_pairs(w * (w + 1) / 2 + (tokens - w) * w);
    }
    const bool any = sizes_.full[0] || sizes_.full[1] || sizes_.full[2];
    if (full && any) sum += of_pairs(tokens * (tokens + 1) / 2);
    return sum;
  }

 private:
  struct Phi {
    Parameter position, in, out;  // [R,l,D], [R,l D,hidden], [R,hidden,D]
  };
  struct KeysValues {
    Parameter k, v;  // [R,W,Hkv D]
  };
  struct Compressed {
    at::Tensor out;    // [R,B,T,H,D]
    at::Tensor share;  // [N,G,T,C] of each compressed key, 0 where it doesn't precede the query
  };

  // Of its branches the one over chosen blocks [N,L',T,NB] is offered (undefined: everything is
  // chosen).
  void offer(const AttentionInput& input, const AttentionSetting& setting, const at::Tensor& blocks,
             Context& context) const {
    AttentionView view{.q = input.q, .k = input.k, .v = input.v};
    view.block_size = setting.block_size;
    view.documents = input.tables.documents();
    view.blocks = setting.blocks;
    view.weights = causal_weights(input.q, input.k, input.tables);
    const std::int64_t lists = setting.selector.per_head ? heads_ : kv_heads_;
    if (blocks.defined()) {
      const at::Tensor all = blocks.reshape(
          {input.q.size(0), input.q.size(1), lists, input.q.size(2), blocks.size(-1)});
      view.chosen = [all](const at::Tensor& queries) { return all.index_select(3, queries); };
    } else {
      view.chosen = everything_chosen(input.q, lists, setting.block_size, input.tables);
    }
    context.observe_attention(site_.layer, view);
  }

  // Compressed keys of so many tokens.
  std::int64_t keys_of(std::int64_t tokens) const {
    return tokens < sizes_.length ? 0 : (tokens - sizes_.length) / sizes_.stride + 1;
  }

  // The heads with a branch's own keys and values, where it has them.
  Folded with_own(Branch branch, const AttentionInput& input) const {
    if (!sizes_.separate) return fold(input.q, input.k, input.v);
    const auto made = [&](const Parameter& weight) {
      return batched_product(input.x, weight.value).view(input.k.sizes());
    };
    const KeysValues& own = own_[branch];
    return fold(input.q, input.rotate(made(own.k)), made(own.v));
  }

  // [N,T,D] of l tokens every d, to [N,C,D].
  at::Tensor phi(std::size_t which, const at::Tensor& x, std::int64_t replicas) const {
    const at::Tensor parts =
        x.unfold(1, sizes_.length, sizes_.stride).transpose(2, 3);  // [N,C,l,D]
    if (!sizes_.learned) return parts.mean(2);
    const Phi& own = phi_[which];
    const std::int64_t width = sizes_.length * head_dim_;
    const at::Tensor rows =
        parts.reshape({replicas, -1, width}) + own.position.value.view({replicas, 1, width});
    const at::Tensor hidden = torch::relu(batched_product(rows, own.in.value));
    return batched_product(hidden, own.out.value).view({x.size(0), -1, head_dim_});
  }

  Compressed compress(const AttentionInput& input) const {
    const Folded f = with_own(kCompressed, input);
    const std::int64_t count = keys_of(f.tokens);
    if (count == 0) {
      return {torch::zeros_like(input.q), f.q.new_zeros({f.products(), f.group(), f.tokens, 0})};
    }
    const at::Tensor keys = phi(0, f.k, f.replicas), values = phi(1, f.v, f.replicas);
    const auto index = f.q.options().dtype(torch::kInt64).requires_grad(false);
    const at::Tensor first = torch::arange(count, index) * sizes_.stride;  // token of each
    at::Tensor there = first + (sizes_.length - 1) <= torch::arange(f.tokens, index).unsqueeze(1);
    if (input.tables.has_documents()) there = there.logical_and(first >= input.tables.starts());
    const at::Tensor any = there.any(-1, /*keepdim=*/true);  // of there, [T,C] or [N,1,T,C]
    // A query without a compressed key reads all of them, and then none counts.
    const at::Tensor mask = additive_mask(there.logical_or(any.logical_not()), f.q);
    const at::Tensor share =
        torch::softmax(batched_product(f.q, keys.transpose(1, 2))
                               .view({f.products(), f.group(), f.tokens, count}) +
                           mask,
                       -1) *
        any.to(f.q.scalar_type());
    const at::Tensor out =
        batched_product(share.reshape({f.products(), f.group() * f.tokens, count}), values);
    return {f.unfold(out), share};
  }

  // Blocks by how much of branch cmp's probability overlaps them.
  at::Tensor chosen(const SelectorInput& input, const at::Tensor& share) const {
    const std::int64_t complete = input.complete(), count = share.size(-1);
    if (complete == 0 || count == 0) {
      return most_important_blocks(input, share.new_zeros({1, 1, input.heads.tokens, complete}));
    }
    const auto index = share.options().dtype(torch::kInt64);
    const std::int64_t in_block = setting_.block_size / sizes_.stride;
    const std::int64_t in_key = sizes_.length / sizes_.stride;
    const at::Tensor first = torch::arange(count, index).unsqueeze(1);  // in strides
    const at::Tensor start = (torch::arange(complete, index) * in_block).unsqueeze(0);
    const at::Tensor shared =
        torch::minimum(first + in_key, start + in_block) - torch::maximum(first, start);
    const at::Tensor overlap = shared.clamp_min(0).to(share.scalar_type());  // [C,NC]
    const at::Tensor rows = share.detach().reshape({share.size(0), -1, count});
    const at::Tensor importance =
        batched_product(rows, overlap.expand({share.size(0), count, complete}));
    return most_important_blocks(
        input, importance.view({share.size(0), share.size(1), share.size(2), complete}));
  }

  at::Tensor window(const AttentionInput& input) const {
    const Folded f = with_own(kWindow, input);
    const auto index = f.q.options().dtype(torch::kInt64).requires_grad(false);
    const at::Tensor t = torch::arange(f.tokens, index).unsqueeze(1);
    const at::Tensor near = t - torch::arange(f.tokens, index) < sizes_.window;
    const at::Tensor mask = input.tables.causal() + additive_mask(near, f.q);
    const at::Tensor scores = batched_product(f.q, f.k.transpose(1, 2));
    return f.unfold(batched_product(masked_softmax(f, scores, mask), f.v));
  }

  Site site_;
  AttentionSetting setting_;
  NsaSizes sizes_;
  std::int64_t width_, heads_, kv_heads_, head_dim_;
  Parameter gate_;  // [R,W,3 H]
  Phi phi_[2];      // of keys and of values
  KeysValues own_[kBranches];
};

std::unique_ptr<AttentionModule> make_nsa(const AttentionPlace& place) {
  return std::make_unique<Nsa>(place);
}

TANDEM_REGISTERED = attention_modules().add(
    {.kind = "attention_module",
     .name = "nsa",
     .summary = "compressed, selected and window branches with learned gates",
     .cite = "arXiv:2502.11089",
     .file = __FILE__},
    {make_nsa, [](const Config& config, const AttentionSetting& setting) {
       nsa_sizes(config, setting.block_size);
     }});

}  // namespace
}  // namespace tandem
