// This family measures what gradient reaches keys that the sparse stream leaves out: what a sparse
// pass denies them (gradient update deficiency, arXiv 2511.20102, Proposition 4.1). The loss is the
// task loss on the fixed batch, through the stream that the method trains: the sparse one of moba,
// the full one of full, and of methods that train both the full one, since their sparse steps are
// those of moba. Per layer and key head, with g_j the gradient of the loss in the key and the value
// of token j, as they enter attention (k after its rotation):
//   never_selected           share of the blocks that no query of a later block chooses, among
//                            those that a later query could choose; a block's own queries always
//                            read it
//   never_selected_gradient  sum of |g_j|^2 over the tokens of these blocks, over the sum of all.
//                            In a sparse stream it is what their own block's queries give them,
//                            and with branches beside the chosen blocks (nsa) what these give
//   dropped_gradient         sum of |g'_j|^2 over the sum of |g_j|^2, with g'_j what the queries
//                            that don't choose the block of token j give it. It is 0 in a sparse
//                            stream, and may be above 1 where queries pull against each other.
//                            There is none of modules with other branches
// A layer's gradient is written out for some queries at a time, so that no matrix of all queries
// and keys is there; since a key's gradient is a sum over all queries, none is left out.
#include <cmath>

#include "data/tensor.h"
#include "nn/attention/metrics.h"
#include "nn/attention/view.h"
#include "probes/recorder.h"
#include "readout/readout.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

// The layer's attention and the gradients of the loss in its keys, values and outputs.
struct LayerGradient {
  std::string layer;
  AttentionView view;
  at::Tensor k, v, out;  // `out` is undefined where the view's is

  template <class Visit>
  void visit_queries(const Visit& visit) const {
    const std::int64_t tokens = k.size(2), together = queries_together(view);
    const at::Tensor all = torch::arange(tokens, k.options().dtype(torch::kInt64));
    for (std::int64_t t = 0; t < tokens; t += together) {
      visit(all.slice(0, t, std::min(t + together, tokens)));
    }
  }
  at::Tensor energies() const {  // |g_j|^2, double [R,B,Hkv,T]
    const at::Tensor keys = k.to(torch::kDouble), values = v.to(torch::kDouble);
    return (keys.square().sum(-1) + values.square().sum(-1)).transpose(2, 3);
  }
};

std::vector<LayerGradient> gradients_of_layers(const ProbeInput& input, Context& context) {
  at::AutoGradMode with_gradient(true);
  std::vector<LayerGradient> layers;
  context.observe_attention = [&layers](const std::string& layer, const AttentionView& view) {
    layers.push_back({layer, view, {}, {}, {}});
  };
  const at::Tensor loss = input.ranking.loss(input.model.forward(input.ranking.x, context)).sum();
  std::vector<at::Tensor> inner;
  for (const LayerGradient& each : layers) {
    inner.insert(inner.end(), {each.view.k, each.view.v});
    if (each.view.out.defined()) inner.push_back(each.view.out);
  }
  const auto found = torch::autograd::grad({loss}, inner);
  auto next = found.begin();
  for (LayerGradient& each : layers) {
    each.k = *next++;
    each.v = *next++;
    if (each.view.out.defined()) each.out = *next++;
  }
  return layers;
}

// Blocks that no query of a later block chooses, bool [R,B,Hkv,NB - 1]: no query is later than the
// last one.
at::Tensor never_selected(const LayerGradient& of) {
  const std::int64_t kv_heads = of.k.size(3);
  at::Tensor by_others;  // [R,B,L,NB]
  of.visit_queries([&](const at::Tensor& queries) {
    const at::Tensor chosen = of.view.chosen(queries);
    const at::Tensor own = torch::arange(chosen.size(-1), queries.options()) ==
                           queries.unsqueeze(1).div(of.view.block_size, "floor");
    const at::Tensor some = chosen.logical_and(own.logical_not()).any(3);
    by_others = by_others.defined() ? by_others.logical_or(some) : some;
  });
  const std::int64_t lists = by_others.size(2), blocks = by_others.size(3);
  return by_others.view({by_others.size(0), by_others.size(1), kv_heads, lists / kv_heads, blocks})
      .any(3)
      .slice(-1, 0, blocks - 1)
      .logical_not();
}

// |g'_j|^2, double [R,B,Hkv,T]. With a the weights that the stream gives to keys, zero where it
// reads nothing, dv_j = sum_t a(t,j) do_t and dk_j = sum_t ds(t,j) q_t / sqrt(D), ds(t,j) = a(t,j)
// (do_t v_j - sum_i a(t,i) do_t v_i); sums are over the queries t that don't choose j.
at::Tensor dropped_energies(const LayerGradient& of, bool sparse) {
  const AttentionView& view = of.view;
  const std::int64_t replicas = view.q.size(0), batch = view.q.size(1), tokens = view.q.size(2),
                     heads = view.q.size(3), width = view.q.size(4), kv_heads = view.k.size(3);
  const auto of_heads = [](const at::Tensor& x) {  // [R,B,T,H,D] to [R B H,T,D]
    return x.detach().transpose(2, 3).flatten(0, 2);
  };
  const at::Tensor values =
      of_heads(view.v.detach().repeat_interleave(heads / kv_heads, /*dim=*/3));
  at::Tensor dk = torch::zeros_like(values), dv = torch::zeros_like(values);
  of.visit_queries([&](const at::Tensor& queries) {
    const at::Tensor full = view.weights(queries);
    const at::Tensor selected = selected_keys(view.chosen(queries), queries, heads, view.block_size,
                                              tokens, view.documents);
    const at::Tensor read =
        sparse ? full * selected / (full * selected).sum(-1, /*keepdim=*/true) : full;
    const at::Tensor a = read.flatten(0, 2), dropped = selected.logical_not().flatten(0, 2);
    const at::Tensor d_out = of_heads(of.out.index_select(2, queries));
    const at::Tensor q = of_heads(view.q.index_select(2, queries));
    const at::Tensor d_a = batched_product(d_out, values.transpose(1, 2));
    const at::Tensor d_s = a * (d_a - (a * d_a).sum(-1, /*keepdim=*/true));
    const auto over_queries = [&](const at::Tensor& x, const at::Tensor& y) {
      return batched_product((x * dropped).transpose(1, 2), y);
    };
    dv += over_queries(a, d_out);
    dk += over_queries(d_s, q);
  });
  const auto squares = [&](const at::Tensor& x) {
    return x.view({replicas, batch, kv_heads, heads / kv_heads, tokens, width})
        .to(torch::kDouble)
        .sum(3)
        .square()
        .sum(-1);
  };
  return squares(dv) + squares(dk) / static_cast<double>(width);
}

class AttentionGradientProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool reads_dense_weights() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    if (input.model.sites(Level::kAttention) == 0) return rows.finish();
    const LayerMasks masks = current_masks(input.model);
    const BorrowedMasks borrowed(input.model, masks);
    Context context = trained_context(input.runs);
    const bool sparse = context.plans.attention.wanted == StreamsWanted::kSparse;
    const std::vector<LayerGradient> layers = gradients_of_layers(input, context);
    at::NoGradGuard no_grad;
    for (const LayerGradient& each : layers) {
      const at::Tensor never = never_selected(each);
      if (never.size(-1) == 0) continue;
      const at::Tensor energies = each.energies(), share = never.to(torch::kDouble);
      const at::Tensor by_key = spread_over_keys(share, each.view.block_size, each.k.size(2));
      const at::Tensor on_never = energies.slice(-1, 0, by_key.size(-1)) * by_key;
      const at::Tensor dropped = each.out.defined() ? dropped_energies(each, sparse) : at::Tensor();
      for (std::int64_t r = 0; r < replicas; ++r) {
        const auto record = [&](const char* name, double value) {
          rows.layer(r, kAttentionLevel, each.layer, name, value);
        };
        const auto sum = [r](const at::Tensor& x) { return x[r].sum().item<double>(); };
        const double all = sum(energies);
        record("never_selected", share[r].mean().item<double>());
        record("never_selected_gradient", sum(on_never) / all);
        if (dropped.defined()) record("dropped_gradient", sum(dropped) / all);
      }
    }
    return rows.finish();
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "attention_gradient",
     .summary = "not by default; per attention layer, of the gradient of keys and values: "
                "never_selected, never_selected_gradient, dropped_gradient",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<AttentionGradientProbe>();
    });

}  // namespace
}  // namespace tandem
