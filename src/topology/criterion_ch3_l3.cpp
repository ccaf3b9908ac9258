// CH3-L3 (Muscoloni et al. 2020): how well paths of length three predict a link of a layer's
// bipartite graph, from the topology alone. For an input u and an output v without a link
//   s(u,v) = sum over paths u - z1 - z2 - v of 1 / sqrt((1 + e(z1)) (1 + e(z2))),
// z1 an output, z2 an input, and e(z) the links of z that lead neither to u, v nor to a node on
// such a path. Nodes on the paths are exactly the neighbours with a link among N(u) x N(v), so that
//   1 + e(z1) = degree(z1) - |N(z1) & N(v)|,   1 + e(z2) = degree(z2) - |N(z2) & N(u)|.
// Equal scores (in a very sparse layer nearly all are 0) are ordered at random, keyed by the run,
// the layer, the update and the position: without that growth would pile up on the first inputs.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/philox.h"
#include "data/tensor.h"
#include "topology/criteria.h"
#include "topology/random_ranks.h"

namespace tandem {
namespace {

// A path of length three weighs 1 / 65,536 or more; what has none stays below all that have one.
constexpr double kNoPath = 1e-6, kTie = 1e-5;

using Neighbours = std::vector<std::vector<std::int64_t>>;  // ascending

struct Graph {
  Neighbours of_input, of_output;
};

Graph graph_of(const LayerTopology& layer) {
  Graph graph;
  graph.of_input.resize(static_cast<std::size_t>(layer.inputs));
  graph.of_output.resize(static_cast<std::size_t>(layer.outputs));
  for (const std::int64_t position : layer.active.positions()) {
    const std::int64_t input = position / layer.outputs, output = position % layer.outputs;
    graph.of_input[static_cast<std::size_t>(input)].push_back(output);
    graph.of_output[static_cast<std::size_t>(output)].push_back(input);
  }
  return graph;
}

// Scores of one input u with every output that it has no link to.
class InputScores {
 public:
  explicit InputScores(const Graph& graph)
      : graph_(graph),
        of_u_(graph.of_output.size(), 0),
        shared_(graph.of_input.size(), 0),
        inside_(graph.of_output.size(), 0),
        weight_(graph.of_output.size(), 0) {}

  void write(std::size_t u, double* scores) {
    for (const std::int64_t z1 : graph_.of_input[u]) {
      of_u_[static_cast<std::size_t>(z1)] = 1;
      for (const std::int64_t z2 : graph_.of_output[static_cast<std::size_t>(z1)]) {
        ++shared_[static_cast<std::size_t>(z2)];
      }
    }
    for (std::size_t v = 0; v < graph_.of_output.size(); ++v) {
      if (of_u_[v] == 0) scores[v] = score(v);
    }
    std::fill(shared_.begin(), shared_.end(), 0);
    std::fill(of_u_.begin(), of_u_.end(), char{0});
  }

 private:
  double score(std::size_t v) {
    touched_.clear();
    for (const std::int64_t z2 : graph_.of_output[v]) {
      const auto& of_z2 = graph_.of_input[static_cast<std::size_t>(z2)];
      const std::int64_t common = shared_[static_cast<std::size_t>(z2)];
      if (common == 0) continue;  // it leads to no neighbour of u
      const auto outside = static_cast<std::int64_t>(of_z2.size()) - common;
      const double weight = 1 / std::sqrt(static_cast<double>(outside));
      for (const std::int64_t neighbour : of_z2) {
        const auto z1 = static_cast<std::size_t>(neighbour);
        if (of_u_[z1] == 0) continue;
        if (inside_[z1]++ == 0) touched_.push_back(z1);
        weight_[z1] += weight;
      }
    }
    double sum = 0;
    for (const std::size_t z1 : touched_) {
      const auto outside = static_cast<std::int64_t>(graph_.of_output[z1].size()) - inside_[z1];
      sum += weight_[z1] / std::sqrt(static_cast<double>(outside));
      inside_[z1] = 0;
      weight_[z1] = 0;
    }
    return sum;
  }

  const Graph& graph_;
  std::vector<char> of_u_;            // outputs that u has a link to
  std::vector<std::int64_t> shared_;  // of inputs: |N(z2) & N(u)|
  std::vector<std::int64_t> inside_;  // of outputs: |N(z1) & N(v)|, scratch
  std::vector<double> weight_;        // of outputs: sum over their z2, scratch
  std::vector<std::size_t> touched_;
};

at::Tensor ch3_l3(const LayerTopology& layer) {
  const Graph graph = graph_of(layer);
  const at::Tensor scores = torch::zeros({layer.inputs * layer.outputs}, torch::kFloat64);
  auto* all = scores.data_ptr<double>();
  const RandomStream ties = draw_stream(layer.key, Draw::kTies);
  InputScores of(graph);
  for (std::int64_t u = 0; u < layer.inputs; ++u) {
    of.write(static_cast<std::size_t>(u), all + u * layer.outputs);
  }
  for (std::int64_t i = 0; i < scores.numel(); ++i) {
    const double draw = ties.uniform(static_cast<std::uint64_t>(i));
    all[i] = all[i] == 0 ? kNoPath * draw : all[i] * (1 + kTie * draw);
  }
  return scores;
}

Criterion ch3_l3_criterion() {
  Criterion criterion;
  criterion.name = "ch3_l3";
  criterion.of_topology = ch3_l3;
  return criterion;
}

const bool registered =
    criteria().add({.kind = "criterion",
                    .name = "ch3_l3",
                    .summary = "how well paths of length three predict the link",
                    .cite = "10.20944/preprints202012.0808",
                    .file = __FILE__},
                   ch3_l3_criterion());

}  // namespace
}  // namespace tandem
