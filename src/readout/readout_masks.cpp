// Rankings of a net's weights for a read-out.
#include <algorithm>

#include "config/seeds.h"
#include "data/tensor.h"
#include "readout/readout.h"
#include "topology/granularity.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

constexpr std::int64_t kAtReadout =
    -1;  // in place of an update's number in what random is keyed by

// What ranks the runs' masks; a group agrees in it.
const Criterion& ranking_of(const std::vector<ReadoutRun>& runs) {
  for (const TopologyOperation& operation : runs.front().policies.weights.topology.operations) {
    if (operation.kind == TopologyOperation::Kind::kRank) return criterion(operation.criterion);
  }
  const Settings& values = runs.front().config.values();
  const auto said = values.find("mask_source");
  return criterion(said == values.end() ? "magnitude" : said->second);
}

// What one layer's weights are ranked by.
struct LayerRanking {
  at::Tensor scores;                // [R,n]; undefined: at random
  std::vector<std::uint64_t> keys;  // [R] of what is random
};

at::Tensor all_ones(const Linear& layer) {  // uint8 [R,n]
  const at::Tensor& value = layer.weight.value;
  return torch::ones({value.size(0), layer.inputs() * layer.outputs()},
                     torch::TensorOptions(value.device()).dtype(torch::kByte));
}

// Rows of the replicas that `chosen` says from `a`, the others from `b`.
at::Tensor rows_where(const std::vector<char>& chosen, const at::Tensor& a, const at::Tensor& b) {
  const std::vector<std::int64_t> flags(chosen.begin(), chosen.end());
  return torch::where(torch::tensor(flags).to(a.device()).ne(0).view({-1, 1}), a, b);
}

std::vector<char> of_runs(const std::vector<ReadoutRun>& runs, bool (*holds)(const ReadoutRun&)) {
  std::vector<char> flags;
  for (const ReadoutRun& run : runs) flags.push_back(holds(run));
  return flags;
}

// The masks that the runs train with; everything where there is none.
LayerMasks streams_now(Model& model, const std::vector<ReadoutRun>& runs) {
  LayerMasks masks = current_masks(model);
  const std::vector<char> masked = of_runs(runs, has_mask);
  for (std::size_t l = 0; l < masks.size(); ++l) {
    if (!masks[l].defined()) continue;
    masks[l] = rows_where(masked, masks[l], all_ones(*model.linears()[l]));
  }
  return masks;
}

// A criterion's scores [R,n] of each layer, read from a pass over the batch. The layers' own
// connections, inputs and gradients see nothing of it.
std::vector<at::Tensor> scores_on_batch(Model& model, const std::vector<ReadoutRun>& runs,
                                        const Criterion& chosen, const RankingBatch& batch) {
  TORCH_INTERNAL_ASSERT(batch.x.defined(), "a ranking by ", chosen.name, " needs a batch");
  const std::vector<Linear*> linears = model.linears();
  const BorrowedMasks borrowed(model, streams_now(model, runs));
  std::vector<at::Tensor> leaves;
  for (Linear* layer : linears) {
    if (layer->connections == nullptr) continue;
    layer->connections->expect_inputs(chosen.needs_inputs);
    leaves.push_back(layer->weight.value);
  }
  Context context = trained_context(runs);
  context.plans.weights.wanted = StreamsWanted::kSparse;
  std::vector<at::Tensor> gradients(leaves.size());
  {
    const at::AutoGradMode with_gradient(chosen.needs_gradient);
    const at::Tensor logits = model.forward(batch.x, context);
    if (chosen.needs_gradient) {
      gradients = torch::autograd::grad({batch.loss(logits).sum()}, leaves, {},
                                        /*retain_graph=*/false, /*create_graph=*/false,
                                        /*allow_unused=*/true);
    }
  }
  std::vector<at::Tensor> scores(linears.size());
  std::size_t next = 0;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (linears[l]->connections == nullptr) continue;
    const at::Tensor gradient = gradients[next++];
    at::Tensor& held = linears[l]->weight.value.mutable_grad();
    const at::Tensor kept = held;
    held = gradient;
    std::vector<at::Tensor> rows;
    for (std::int64_t r = 0; r < linears[l]->connections->replicas(); ++r) {
      std::vector<at::Tensor> stretches;
      linears[l]->connections->visit_scores(
          r, chosen, Candidates::kAll,
          [&](const at::Tensor& own, const at::Tensor&) { stretches.push_back(own.clone()); });
      rows.push_back(torch::cat(stretches));
    }
    held = kept;
    scores[l] = torch::stack(rows);
  }
  return scores;
}

std::vector<LayerRanking> layer_rankings(Model& model, const std::vector<ReadoutRun>& runs,
                                         const RankingBatch& batch) {
  const Criterion& chosen = ranking_of(runs);
  const std::vector<Linear*> linears = model.linears();
  std::vector<LayerRanking> rankings(linears.size());
  if (chosen.random) {
    for (std::size_t l = 0; l < linears.size(); ++l) {
      for (const ReadoutRun& run : runs) {
        rankings[l].keys.push_back(topology_key(run_key(run.config, "topology"),
                                                static_cast<std::int64_t>(l), kAtReadout));
      }
    }
    return rankings;
  }
  const bool reads_batch = chosen.needs_gradient || chosen.needs_inputs;
  const std::vector<at::Tensor> scores =
      reads_batch ? scores_on_batch(model, runs, chosen, batch) : std::vector<at::Tensor>();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (linears[l]->connections == nullptr) continue;
    rankings[l].scores = reads_batch ? scores[l] : magnitudes(*linears[l]);
  }
  return rankings;
}

// wanted: counts of items [R,1], or of groups [R,groups]. draw tells the choices of one ranking
// apart.
at::Tensor choose(const Grouping& grouping, const LayerRanking& ranking, const at::Tensor& eligible,
                  const at::Tensor& wanted, Draw draw) {
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : ranking.keys) streams.push_back(draw_stream(key, draw));
  if (grouping.has_quotas()) {
    return ranking.scores.defined()
               ? grouping.choose_in_groups(ranking.scores, eligible, wanted, /*largest=*/true)
               : grouping.random_in_groups(eligible, wanted, streams);
  }
  const auto* begin = wanted.data_ptr<std::int64_t>();
  const std::vector<std::int64_t> counts(begin, begin + wanted.numel());
  return ranking.scores.defined()
             ? grouping.choose(ranking.scores, eligible, counts, /*largest=*/true)
             : grouping.choose_random(eligible, counts, streams);
}

// The wanted items of a layer, those of `first` before all others. uint8 [R,n].
at::Tensor chosen_mask(const Grouping& grouping, const LayerRanking& ranking,
                       const at::Tensor& first, const std::vector<std::int64_t>& positions,
                       const std::vector<std::int64_t>& items) {
  const at::Tensor wanted =
      grouping.has_quotas() ? grouping.quotas(positions) : torch::tensor(items).unsqueeze(1);
  const at::Tensor present = grouping.has_quotas()
                                 ? grouping.held(first).to(torch::kCPU)
                                 : grouping.item_flags(first).sum(1, true).to(torch::kCPU);
  const at::Tensor inside = torch::minimum(wanted, present).contiguous();
  const at::Tensor mask = choose(grouping, ranking, first, inside, Draw::kRank);
  if (inside.equal(wanted)) return mask;
  return mask + choose(grouping, ranking, first.eq(0).to(torch::kByte),
                       (wanted - inside).contiguous(), Draw::kGrow);
}

// What a ranking of the layer begins with, uint8 [R,n].
at::Tensor first_of(const Linear& layer, const std::vector<ReadoutRun>& runs) {
  const at::Tensor superset = layer.connections->superset_flags();
  const bool within = runs.front().policies.weights.sets.outside_zero && superset.defined();
  const at::Tensor others = within ? superset.view({layer.weight.value.size(0), -1})  // [R,n]
                                   : all_ones(layer);
  return rows_where(of_runs(runs, ranks_active_first), current_flags(layer), others);
}

}  // namespace

bool ranks_on_batch(const std::vector<ReadoutRun>& runs) {
  const Criterion& chosen = ranking_of(runs);
  return chosen.needs_gradient || chosen.needs_inputs;
}

at::Tensor ranked_mask(const at::Tensor& scores, const at::Tensor& first,
                       const std::vector<std::int64_t>& counts) {
  at::NoGradGuard no_grad;
  if (!first.defined()) return select_rows(scores, {}, counts, /*largest=*/true);
  const Grouping by_element({}, scores.size(1), 1);
  return chosen_mask(by_element, {scores, {}}, first, counts, counts);
}

namespace {

// Replicas that stay keep the mask that they have.
LayerMasks ranked_or_own(Model& model, const std::vector<ReadoutRun>& runs,
                         const std::vector<double>& density, const std::vector<char>& stays,
                         const RankingBatch& batch) {
  at::NoGradGuard no_grad;
  if (std::find(stays.begin(), stays.end(), 0) == stays.end()) return current_masks(model);
  const bool own = density == trained_density(runs);
  const Granularity granularity =
      own ? runs.front().policies.weights.start.granularity : Granularity{};
  const std::vector<Linear*> linears = model.linears();
  const LayerCounts counts = budget_counts(model, runs, density);
  const std::vector<LayerRanking> rankings = layer_rankings(model, runs, batch);
  LayerMasks masks(linears.size());
  for (std::size_t l = 0; l < linears.size(); ++l) {
    const Linear& layer = *linears[l];
    if (layer.connections == nullptr) continue;
    const LayerShape shape{"", layer.inputs(), layer.outputs(), false};
    std::vector<std::int64_t> items;
    for (const std::int64_t count : counts[l]) {
      items.push_back(budget_items(shape, granularity, count));
    }
    const at::Tensor ranked = chosen_mask(Grouping(granularity, layer.inputs(), layer.outputs()),
                                          rankings[l], first_of(layer, runs), counts[l], items);
    masks[l] = rows_where(stays, current_flags(layer), ranked);
  }
  return masks;
}

}  // namespace

LayerMasks readout_masks(Model& model, const std::vector<ReadoutRun>& runs,
                         const std::vector<double>& density, const RankingBatch& batch) {
  return ranked_or_own(model, runs, density, own_nets(model, runs, density), batch);
}

LayerMasks trained_masks(Model& model, const std::vector<ReadoutRun>& runs,
                         const RankingBatch& batch) {
  const std::vector<double> density = trained_density(runs);
  const std::vector<char> masked = of_runs(runs, has_mask);
  return ranked_or_own(model, runs, density,
                       dormant_carry_values(runs) ? own_nets(model, runs, density) : masked, batch);
}

}  // namespace tandem
