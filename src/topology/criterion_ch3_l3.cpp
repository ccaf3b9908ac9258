// CH3-L3 (Muscoloni et al. 2020) scores how well paths of length three predict a link of a layer's
// bipartite graph, from the topology alone. For an input u and an output v without a link
//   s(u,v) = sum over paths u - z1 - z2 - v of 1 / sqrt((1 + e(z1)) (1 + e(z2))),
// z1 an output, z2 an input, and e(z) the links of z that lead neither to u, v nor to a node on
// such a path. Nodes on the paths are exactly the neighbours with a link among N(u) x N(v), so that
//   1 + e(z1) = degree(z1) - |N(z1) & N(v)|,   1 + e(z2) = degree(z2) - |N(z2) & N(u)|.
// The first does not depend on u, nor the second on v: with f and g their inverse roots
//   s(u,v) = sum over z1 of N(u) of f(z1,v) times the sum over z2 of N(z1) & N(v) of g(z2,u),
// one addition per path. The score is symmetric in both sides; z1 and v are nodes of the smaller
// one, so that f is no larger than the scores.
// Under ch3_l3 equal scores (in a very sparse layer nearly all are 0) are ordered at random, keyed
// by the run, the layer, the update and the position: without that growth would pile up on the
// first inputs. ch3_l3_plain is s itself, for what draws in proportion to it.
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

// This holds the nodes of one side with their neighbours, ascending, one node after the other.
class Side {
 public:
  // own[e] and other[e] are the ends of link e; the links of one node are in ascending order.
  Side(std::int64_t nodes, const std::vector<std::int32_t>& own,
       const std::vector<std::int32_t>& other)
      : begins_(static_cast<std::size_t>(nodes) + 1, 0), neighbours_(own.size()) {
    for (const std::int32_t node : own) ++begins_[static_cast<std::size_t>(node) + 1];
    for (std::size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    std::vector<std::size_t> next(begins_.begin(), begins_.end() - 1);
    for (std::size_t e = 0; e < own.size(); ++e) {
      neighbours_[next[static_cast<std::size_t>(own[e])]++] = other[e];
    }
  }

  std::size_t nodes() const { return begins_.size() - 1; }
  std::size_t degree(std::size_t node) const { return begins_[node + 1] - begins_[node]; }
  const std::int32_t* begin(std::size_t node) const { return neighbours_.data() + begins_[node]; }
  const std::int32_t* end(std::size_t node) const { return neighbours_.data() + begins_[node + 1]; }

 private:
  std::vector<std::size_t> begins_;
  std::vector<std::int32_t> neighbours_;
};

// Adds to sums[v] for every path node - z - v with z in [begin, end).
template <class T, class WeightOf>
void add_paths(const Side& side, const std::int32_t* begin, const std::int32_t* end,
               const WeightOf& weight_of, T* sums) {
  for (const std::int32_t* z = begin; z != end; ++z) {
    const T weight = weight_of(static_cast<std::size_t>(*z));
    const auto node = static_cast<std::size_t>(*z);
    const std::int32_t* last = side.end(node);
    for (const std::int32_t* v = side.begin(node); v != last; ++v) sums[*v] += weight;
  }
}

// Computes the scores of one node u of the near side with every node of the far side.
class PathScores {
 public:
  PathScores(const Side& near, const Side& far)
      : near_(near),
        far_(far),
        shared_(near.nodes()),
        near_weight_(near.nodes()),
        paths_(far.nodes()),
        far_weight_(far.nodes() * far.nodes(), 0) {
    std::size_t most = 0;
    for (std::size_t z = 0; z < near.nodes(); ++z) most = std::max(most, near.degree(z));
    for (std::size_t z = 0; z < far.nodes(); ++z) most = std::max(most, far.degree(z));
    inverse_root_.push_back(0);  // no link leads outside: these ends have a link
    for (std::size_t i = 1; i <= most; ++i) {
      inverse_root_.push_back(1 / std::sqrt(static_cast<double>(i)));
    }
    std::vector<std::int32_t> common(far.nodes());
    for (std::size_t z1 = 0; z1 < far.nodes(); ++z1) {
      std::fill(common.begin(), common.end(), 0);
      add_paths(
          near, far.begin(z1), far.end(z1), [](std::size_t) { return 1; }, common.data());
      for (std::size_t v = 0; v < far.nodes(); ++v) {
        far_weight_[z1 * far.nodes() + v] =
            inverse_root_[far.degree(z1) - static_cast<std::size_t>(common[v])];
      }
    }
  }

  void write(std::size_t u, double* sums) {
    std::fill(shared_.begin(), shared_.end(), 0);
    add_paths(
        far_, near_.begin(u), near_.end(u), [](std::size_t) { return 1; }, shared_.data());
    for (std::size_t z2 = 0; z2 < near_.nodes(); ++z2) {
      near_weight_[z2] = inverse_root_[near_.degree(z2) - static_cast<std::size_t>(shared_[z2])];
    }
    const std::size_t nodes = far_.nodes();
    std::fill(sums, sums + nodes, 0.0);
    for (const std::int32_t* z = near_.begin(u); z != near_.end(u); ++z) {
      const auto z1 = static_cast<std::size_t>(*z);
      std::fill(paths_.begin(), paths_.end(), 0.0);
      add_paths(
          near_, far_.begin(z1), far_.end(z1), [&](std::size_t z2) { return near_weight_[z2]; },
          paths_.data());
      const double* weight = far_weight_.data() + z1 * nodes;
      for (std::size_t v = 0; v < nodes; ++v) sums[v] += paths_[v] * weight[v];
    }
    for (const std::int32_t* v = near_.begin(u); v != near_.end(u); ++v) sums[*v] = 0;
  }

 private:
  const Side& near_;
  const Side& far_;
  std::vector<std::int32_t> shared_;  // near nodes' |N(z2) & N(u)|
  std::vector<double> near_weight_;   // near nodes' g(z2,u)
  std::vector<double> paths_;         // far nodes' sum of g over paths u - z1 - z2 - v
  std::vector<double> far_weight_;    // f(z1,v)
  std::vector<double> inverse_root_;
};

at::Tensor ch3_l3_plain(const LayerTopology& layer) {
  std::vector<std::int32_t> inputs, outputs;  // the ends of each link
  for (const std::int64_t position : layer.active.positions()) {
    inputs.push_back(static_cast<std::int32_t>(position / layer.outputs));
    outputs.push_back(static_cast<std::int32_t>(position % layer.outputs));
  }
  const Side of_inputs(layer.inputs, inputs, outputs), of_outputs(layer.outputs, outputs, inputs);
  const at::Tensor scores = torch::empty({layer.inputs * layer.outputs}, torch::kFloat64);
  auto* all = scores.data_ptr<double>();
  const auto width = static_cast<std::size_t>(layer.outputs);
  if (layer.inputs >= layer.outputs) {
    PathScores of(of_inputs, of_outputs);
    for (std::size_t u = 0; u < of_inputs.nodes(); ++u) of.write(u, all + u * width);
    return scores;
  }
  PathScores of(of_outputs, of_inputs);
  std::vector<double> column(of_inputs.nodes());
  for (std::size_t v = 0; v < width; ++v) {
    of.write(v, column.data());
    for (std::size_t u = 0; u < column.size(); ++u) all[u * width + v] = column[u];
  }
  return scores;
}

at::Tensor ch3_l3(const LayerTopology& layer) {
  const at::Tensor scores = ch3_l3_plain(layer);
  auto* all = scores.data_ptr<double>();
  const RandomStream ties = draw_stream(layer.key, Draw::kTies);
  for (std::int64_t i = 0; i < scores.numel(); ++i) {
    const double draw = ties.uniform(static_cast<std::uint64_t>(i));
    all[i] = all[i] == 0 ? kNoPath * draw : all[i] * (1 + kTie * draw);
  }
  return scores;
}

bool add(const std::string& name, const std::string& summary,
         at::Tensor (*scores)(const LayerTopology&)) {
  Criterion criterion;
  criterion.name = name;
  criterion.of_topology = scores;
  return criteria().add({.kind = "criterion",
                         .name = name,
                         .summary = summary,
                         .cite = "10.20944/preprints202012.0808",
                         .file = __FILE__},
                        criterion);
}

TANDEM_REGISTERED =
    add("ch3_l3", "how well paths of length three predict the link", ch3_l3) &&
    add("ch3_l3_plain", "the same, without an order among equal scores", ch3_l3_plain);

}  // namespace
}  // namespace tandem
