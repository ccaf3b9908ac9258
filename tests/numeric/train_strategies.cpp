// The formula of each strategy, written out once more with plain tensors and autograd in double
// precision: what one step makes of the weights, at every step of a sequence of tasks. The rows
// that a step takes are asked of a second object of the strategy; everything else is this file's
// own.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "config/option.h"
#include "config/seeds.h"
#include "continual/strategy.h"
#include "core/error.h"
#include "data/example.h"
#include "data/sampler.h"
#include "eval/evaluate.h"
#include "jobs/run_check.h"
#include "plan/plan.h"
#include "support/step_support.h"

namespace tandem::test::train_strategies_numeric {

using namespace tandem::test;

namespace {

using Tensors = std::vector<at::Tensor>;

// The net as the method trains it: weights [in,out] and biases [out], leaves of autograd.
struct Net {
  Tensors values, active;  // weight, bias, weight, ...; bool, undefined: all

  at::Tensor outputs(const at::Tensor& x) const {
    at::Tensor h = x;
    for (std::size_t l = 0; l < values.size(); l += 2) {
      h = h.mm(values[l]) + values[l + 1];
      if (l + 2 < values.size()) h = h.clamp_min(0);
    }
    return h;
  }
};

Net net_of(Trainer& trainer) {
  Net net;
  for (const Linear* layer : trainer.model().linears()) {
    at::Tensor values = layer->connections->dense_values()[0].clone();
    const at::Tensor flags = layer->connections->dense_flags()[0].view_as(values).ne(0);
    net.values.push_back((values * flags).detach().requires_grad_(true));
    net.active.push_back(flags);
    net.values.push_back(layer->bias.value.detach()[0].clone().requires_grad_(true));
    net.active.push_back(torch::ones_like(net.values.back()).ne(0));
  }
  return net;
}

struct Rows {
  std::vector<BatchRow> rows;
  at::Tensor x, target, allowed;  // [n,F], [n], bool [n,C]
};

// What a strategy adds to a step; the task loss of rows is its own to take.
class Rule {
 public:
  virtual ~Rule() = default;
  virtual at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays);
  virtual void change(Tensors& /*gradients*/, const Net& /*net*/,
                      const std::vector<Rows>& /*replays*/) {}
  virtual void stepped(const Net& /*before*/, const Tensors& /*gradients*/, const Net& /*after*/) {}
  virtual void task_begins(const Net& /*net*/) {}
  virtual void task_ends(const Net& /*net*/, const Rows& /*all*/) {}
  // Before step `step` of the task's `steps`: what changes between steps.
  virtual void turns(Net& /*net*/, std::int64_t /*step*/, std::int64_t /*steps*/) {}
  virtual void stage_ended(const Net& /*net*/) {}
  // What the host decided for the step that is to be taken, from 0.
  virtual void decided(std::int64_t /*step*/, const std::vector<double>& /*numbers*/) {}
  virtual void rate(double /*lr*/) {}
  // The net that a task is read through, and the outputs that take part.
  virtual Net net_of_task(const Net& net, std::int64_t /*task*/) const { return net; }
  virtual bool masks_reading() const { return false; }
  // What says the class that an example is read as, [n,C].
  virtual at::Tensor reading(const Net& net, const at::Tensor& x) const { return net.outputs(x); }
};

at::Tensor log_p(const at::Tensor& z, const at::Tensor& allowed) {
  return torch::log_softmax(z.masked_fill(allowed.logical_not(), -INFINITY), -1);
}

at::Tensor entropy_of(const at::Tensor& z, const Rows& rows, const at::Tensor& allowed) {
  return -log_p(z, allowed).gather(1, rows.target.unsqueeze(1)).squeeze(1);  // [n]
}

at::Tensor task_loss(const Net& net, const Rows& rows) {
  return entropy_of(net.outputs(rows.x), rows, rows.allowed).mean();
}

at::Tensor Rule::loss(const Net& net, const Rows& current, const std::vector<Rows>&) {
  return task_loss(net, current);
}

struct Er : Rule {
  bool by_tasks = false;
  double task = 0;
  void task_begins(const Net&) override { ++task; }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    at::Tensor sum = entropy_of(net.outputs(current.x), current, current.allowed).sum();
    const Rows& replay = replays[0];
    if (by_tasks) {
      const double n = static_cast<double>(current.rows.size());
      if (replay.rows.empty()) return sum / n / task;
      for (const BatchRow& row : replay.rows) {  // none is of the task that is trained
        REQUIRE(static_cast<double>(row.example / (std::int64_t{1} << 40)) < task);
      }
      return sum / n / task + (1 - 1 / task) * task_loss(net, replay);
    }
    if (!replay.rows.empty()) {
      sum = sum + entropy_of(net.outputs(replay.x), replay, replay.allowed).sum();
    }
    return sum / static_cast<double>(current.rows.size() + replay.rows.size());
  }
};

struct ErAce : Rule {
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    at::Tensor present = torch::zeros_like(current.allowed);
    for (std::int64_t i = 0; i < current.target.size(0); ++i) {
      present.select(1, current.target[i].item<std::int64_t>()).fill_(true);
    }
    at::Tensor sum =
        entropy_of(net.outputs(current.x), current, present.logical_and(current.allowed)).mean();
    if (!replays[0].rows.empty()) sum = sum + task_loss(net, replays[0]);
    return sum;
  }
};

struct Der : Rule {
  double alpha, beta;
  std::map<std::int64_t, at::Tensor> stored;  // by place

  Der(double a, double b) : alpha(a), beta(b) {}
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    at::Tensor sum = task_loss(net, current);
    const Rows& dark = replays[0];
    if (!dark.rows.empty()) {
      const at::Tensor z = net.outputs(dark.x);
      at::Tensor squares = torch::zeros({}, z.options());
      for (std::size_t i = 0; i < dark.rows.size(); ++i) {
        const auto row = static_cast<std::int64_t>(i);
        const at::Tensor away = (z[row] - stored.at(dark.rows[i].place)).square();
        squares = squares + away.masked_select(dark.allowed[row]).mean();
      }
      sum = sum + alpha * squares / static_cast<double>(dark.rows.size());
    }
    if (replays.size() > 1 && !replays[1].rows.empty()) {
      sum = sum + beta * task_loss(net, replays[1]);
    }
    const at::Tensor now = net.outputs(current.x).detach();
    for (std::size_t i = 0; i < current.rows.size(); ++i) {
      if (current.rows[i].enters >= 0) {
        stored[current.rows[i].enters] = now[static_cast<std::int64_t>(i)].clone();
      }
    }
    return sum;
  }
};

Tensors gradients_of(const at::Tensor& loss, const Net& net, bool more = false) {
  Tensors all;
  for (const at::Tensor& each : torch::autograd::grad({loss}, net.values, {}, more)) {
    all.push_back(each);
  }
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = all[i] * net.active[i];
  return all;
}

struct Agem : Rule {
  void change(Tensors& gradients, const Net& net, const std::vector<Rows>& replays) override {
    if (replays[0].rows.empty()) return;
    const Tensors reference = gradients_of(task_loss(net, replays[0]), net);
    double dot = 0, square = 0;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      dot += (gradients[i] * reference[i]).sum().item<double>();
      square += reference[i].square().sum().item<double>();
    }
    if (dot >= 0) return;
    ++projected;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      gradients[i] = gradients[i] - dot / square * reference[i];
    }
  }
  int projected = 0;
};

void add(Tensors& sums, const Tensors& terms, double factor) {
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (sums.size() <= i) sums.push_back(torch::zeros_like(terms[i]));
    sums[i] = sums[i] + factor * terms[i];
  }
}

// The dual by trying every set of coordinates at their bound.
struct Gem : Rule {
  double margin;
  int projected = 0;
  explicit Gem(double m) : margin(m) {}

  static double dot(const Tensors& a, const Tensors& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] * b[i]).sum().item<double>();
    return sum;
  }

  void change(Tensors& gradients, const Net& net, const std::vector<Rows>& replays) override {
    std::vector<Tensors> references;
    for (const Rows& each : replays) {
      if (!each.rows.empty()) references.push_back(gradients_of(task_loss(net, each), net));
    }
    const auto n = static_cast<std::int64_t>(references.size());
    at::Tensor p = torch::eye(n, torch::kFloat64) * 1e-3, q = torch::zeros({n}, torch::kFloat64);
    for (std::int64_t i = 0; i < n; ++i) {
      q[i] = dot(references[static_cast<std::size_t>(i)], gradients);
      for (std::int64_t j = 0; j < n; ++j) {
        p[i][j] +=
            dot(references[static_cast<std::size_t>(i)], references[static_cast<std::size_t>(j)]);
      }
    }
    if (n == 0 || q.min().item<double>() >= 0) return;
    ++projected;
    double least = INFINITY;
    at::Tensor best;
    for (std::int64_t set = 0; set < (std::int64_t{1} << n); ++set) {
      at::Tensor a = p.clone(), b = -q.clone();
      for (std::int64_t i = 0; i < n; ++i) {
        if ((set >> i) % 2 == 0) continue;  // v_i is at its bound
        a[i] = torch::eye(n, torch::kFloat64)[i];
        b[i] = margin;
      }
      const at::Tensor v = torch::linalg_solve(a, b.unsqueeze(1)).squeeze(1);
      const double value = (0.5 * v.dot(p.mv(v)) + q.dot(v)).item<double>();
      if (v.min().item<double>() < margin - 1e-12 || value >= least) continue;
      least = value;
      best = v;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      add(gradients, references[static_cast<std::size_t>(i)], best[i].item<double>());
    }
  }
};

// Rows 0 are placeholders of what is chosen among rows 1.
struct Mir : Rule {
  double lr = 0;
  int chose_others = 0;
  void rate(double said) override { lr = said; }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    const at::Tensor own = entropy_of(net.outputs(current.x), current, current.allowed);
    const Rows& candidates = replays[1];
    if (candidates.rows.empty()) return own.mean();
    const Tensors step = gradients_of(task_loss(net, current), net);
    Net after = net;
    for (std::size_t i = 0; i < step.size(); ++i) {
      after.values[i] = (net.values[i] - lr * step[i]).detach();
    }
    const at::Tensor rise =
        entropy_of(after.outputs(candidates.x), candidates, candidates.allowed) -
        entropy_of(net.outputs(candidates.x), candidates, candidates.allowed);
    std::vector<std::pair<double, std::int64_t>> order;
    for (std::int64_t i = 0; i < rise.size(0); ++i) order.emplace_back(-rise[i].item<double>(), i);
    std::sort(order.begin(), order.end());
    at::Tensor sum = own.sum();
    const std::size_t count = replays[0].rows.size();
    const at::Tensor all = entropy_of(net.outputs(candidates.x), candidates, candidates.allowed);
    for (std::size_t i = 0; i < count; ++i) {
      sum = sum + all[order[i].second];
      chose_others += order[i].second >= static_cast<std::int64_t>(count);
    }
    return sum / static_cast<double>(own.size(0) + static_cast<std::int64_t>(count));
  }
};

struct ClsEr : Rule {
  double lambda, updates[2], decay[2];  // plastic, stable
  Net averages[2];
  double shares[2];
  ClsEr(double l, double pu, double pd, double su, double sd)
      : lambda(l), updates{pu, su}, decay{pd, sd} {}

  void task_begins(const Net& net) override {
    for (Net& each : averages) {
      if (!each.values.empty()) continue;
      each = net;
      for (at::Tensor& value : each.values) value = value.detach().clone();
    }
  }
  void decided(std::int64_t step, const std::vector<double>& numbers) override {
    for (std::size_t i = 0; i < 2; ++i) {
      const double keeps = std::min(1 - 1 / static_cast<double>(step + 2), decay[i]);
      shares[i] = numbers[i];
      CHECK((numbers[i] == 0 || numbers[i] == Approx(1 - keeps).epsilon(1e-12)));
      drawn[i] += numbers[i] != 0;
      ++of[i];
    }
  }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    const at::Tensor own = entropy_of(net.outputs(current.x), current, current.allowed);
    const Rows& replay = replays[0];
    if (replay.rows.empty()) return own.mean();
    const at::Tensor z = net.outputs(replay.x);
    const at::Tensor all = torch::cat({own, entropy_of(z, replay, replay.allowed)});
    at::Tensor pull = torch::zeros({}, z.options());
    for (std::int64_t i = 0; i < z.size(0); ++i) {
      at::Tensor chosen;
      double surest = -1;
      for (const Net& each : averages) {
        const at::Tensor old = each.outputs(replay.x[i].unsqueeze(0)).detach();
        const double p =
            log_p(old, replay.allowed[i].unsqueeze(0))[0][replay.target[i]].exp().item<double>();
        if (p > surest) chosen = old[0];
        surest = std::max(p, surest);
      }
      pull = pull + (z[i] - chosen).square().masked_select(replay.allowed[i]).mean();
    }
    return all.mean() + lambda * pull / static_cast<double>(z.size(0));
  }
  void stepped(const Net&, const Tensors&, const Net& after) override {
    for (std::size_t i = 0; i < 2; ++i) {
      for (std::size_t v = 0; v < after.values.size(); ++v) {
        at::Tensor& value = averages[i].values[v];
        value = ((1 - shares[i]) * value + shares[i] * after.values[v]).detach();
      }
    }
  }
  Net net_of_task(const Net&, std::int64_t) const override {
    for (std::size_t i = 0; i < 2; ++i) {  // as often as is said, within five deviations
      const double n = of[i], p = updates[i];
      CHECK(std::abs(drawn[i] - n * p) < 5 * std::sqrt(n * p * (1 - p)) + 1e-9);
    }
    return averages[1];
  }
  double drawn[2] = {0, 0}, of[2] = {0, 0};
};

struct Icarl : Rule {
  Trainer& trainer;
  double buffer;
  std::vector<std::pair<std::int64_t, std::int64_t>> outputs;
  std::map<std::int64_t, Tensors> exemplars;               // by output: inputs in herding's order
  std::map<std::int64_t, std::vector<std::int64_t>> kept;  // the same as examples
  std::unique_ptr<Net> old;
  std::int64_t task = 0;
  Icarl(Trainer& t, double k) : trainer(t), buffer(k), outputs(t.tasks(0).task_outputs) {}

  void task_begins(const Net&) override { ++task; }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    at::Tensor sum = torch::zeros({}, torch::kFloat64);
    double rows = 0;
    for (const Rows* part : {&current, &replays[0]}) {
      for (std::size_t i = 0; i < part->rows.size(); ++i, ++rows) {
        const auto row = static_cast<std::int64_t>(i);
        const at::Tensor x = part->x[row].unsqueeze(0);
        const at::Tensor g = 1 / (1 + torch::exp(-net.outputs(x)[0]));
        const auto seen =
            static_cast<std::int64_t>(outputs[static_cast<std::size_t>(task - 1)].second);
        const std::int64_t before =
            task > 1 ? outputs[static_cast<std::size_t>(task - 2)].second : 0;
        for (std::int64_t c = 0; c < seen; ++c) {
          if (!part->allowed[row][c].item<bool>()) continue;
          at::Tensor y = part->target[row].eq(c).to(torch::kFloat64);
          if (c < before) y = 1 / (1 + torch::exp(-old->outputs(x)[0][c].detach()));
          sum = sum - y * g[c].log() - (1 - y) * (1 - g[c]).log();
        }
      }
    }
    return sum / rows;
  }

  static at::Tensor feature(const Net& net, const at::Tensor& x) {
    at::Tensor h = x;
    for (std::size_t l = 0; l + 2 < net.values.size(); l += 2) {
      h = (h.matmul(net.values[l]) + net.values[l + 1]).clamp_min(0);
    }
    return h.detach() / h.detach().norm().clamp_min(1e-30);
  }

  void task_ends(const Net& net, const Rows& all) override {
    const auto [first, last] = outputs[static_cast<std::size_t>(task - 1)];
    const auto m = static_cast<std::size_t>(buffer / static_cast<double>(last));
    for (std::int64_t c = 0; c < first; ++c) {
      exemplars[c].resize(std::min(m, exemplars[c].size()));
      kept[c].resize(exemplars[c].size());
    }
    for (std::int64_t c = first; c < last; ++c) {
      std::vector<std::int64_t> own;
      Tensors features;
      at::Tensor mean = torch::zeros({net.values[net.values.size() - 2].size(0)}, torch::kFloat64);
      for (std::int64_t i = 0; i < all.target.size(0); ++i) {
        if (all.target[i].item<std::int64_t>() != c) continue;
        own.push_back(i);
        features.push_back(feature(net, all.x[i]));
        mean = mean + features.back();
      }
      mean = mean / static_cast<double>(own.size());
      at::Tensor sum = torch::zeros_like(mean);
      std::vector<char> taken(own.size(), 0);
      for (std::size_t k = 1; k <= std::min(m, own.size()); ++k) {
        std::size_t best = 0;
        double least = INFINITY;
        for (std::size_t i = 0; i < own.size(); ++i) {
          const double away =
              (mean - (sum + features[i]) / static_cast<double>(k)).norm().item<double>();
          if (taken[i] || away >= least - 1e-12) continue;
          least = away;
          best = i;
        }
        taken[best] = 1;
        sum = sum + features[best];
        exemplars[c].push_back(all.x[own[best]]);
        kept[c].push_back(all.rows[static_cast<std::size_t>(own[best])].example);
      }
    }
    old = std::make_unique<Net>(net);
  }
  void stage_ended(const Net&) override {
    const auto chosen = trainer.exemplars(0);
    for (std::size_t c = 0; c < chosen.size(); ++c) {
      CAPTURE(task, c);
      REQUIRE(chosen[c] == kept[static_cast<std::int64_t>(c)]);
    }
  }
  at::Tensor reading(const Net& net, const at::Tensor& x) const override {
    const std::int64_t classes = outputs.back().second;
    at::Tensor all = torch::full({x.size(0), classes}, -100.0, torch::kFloat64);
    for (const auto& [c, inputs] : exemplars) {
      at::Tensor mean = torch::zeros({net.values[net.values.size() - 2].size(0)}, torch::kFloat64);
      for (const at::Tensor& each : inputs) mean = mean + feature(net, each);
      if (inputs.empty()) continue;
      mean = mean / mean.norm();
      for (std::int64_t i = 0; i < x.size(0); ++i) {
        all[i][c] = -(feature(net, x[i]) - mean).norm();
      }
    }
    return all;
  }
};

// A list of quadratic terms, one for each earlier task.
struct Pulled : Rule {
  double factor;
  std::vector<std::pair<Tensors, Tensors>> terms;  // importance, centre
  explicit Pulled(double f) : factor(f) {}

  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    at::Tensor sum = task_loss(net, current);
    for (const auto& [importance, centre] : terms) {
      for (std::size_t i = 0; i < net.values.size(); ++i) {
        sum = sum + factor * (importance[i] * (net.values[i] - centre[i]).square()).sum();
      }
    }
    return sum;
  }
  static Tensors copies(const Net& net) {
    Tensors all;
    for (const at::Tensor& each : net.values) all.push_back(each.detach().clone());
    return all;
  }
};

Tensors squares_of(Tensors all) {
  for (at::Tensor& each : all) each = each.square();
  return all;
}

struct Ewc : Pulled {
  bool empirical, online;
  double decay;
  Ewc(double lambda, bool e, bool o, double d)
      : Pulled(lambda / 2), empirical(e), online(o), decay(d) {}

  void task_ends(const Net& net, const Rows& all) override {
    const std::int64_t n = all.x.size(0);
    Tensors fisher;
    for (std::int64_t i = 0; i < n; ++i) {
      const at::Tensor q =
          log_p(net.outputs(all.x[i].unsqueeze(0)), all.allowed[i].unsqueeze(0))[0];
      for (std::int64_t c = 0; c < q.size(0); ++c) {
        const bool own = c == all.target[i].item<std::int64_t>();
        if (!all.allowed[i][c].item<bool>() || (empirical && !own)) continue;
        const double p = empirical ? 1 : std::exp(q[c].item<double>());
        add(fisher, squares_of(gradients_of(q[c], net, true)), p / static_cast<double>(n));
      }
    }
    if (online && !terms.empty()) {
      Tensors sum;
      add(sum, terms[0].first, decay);
      add(sum, fisher, 1);
      fisher = sum;
      terms.clear();
    }
    terms.emplace_back(fisher, copies(net));
  }
};

struct Mas : Pulled {
  explicit Mas(double lambda) : Pulled(lambda) {}
  void task_ends(const Net& net, const Rows& all) override {
    const std::int64_t n = all.x.size(0);
    Tensors importance = terms.empty() ? Tensors() : terms[0].first;
    for (std::int64_t i = 0; i < n; ++i) {
      const at::Tensor z = net.outputs(all.x[i].unsqueeze(0))[0];
      Tensors own = gradients_of(z.masked_select(all.allowed[i]).square().sum(), net);
      for (at::Tensor& each : own) each = each.abs();
      add(importance, own, 1 / static_cast<double>(n));
    }
    terms = {{importance, copies(net)}};
  }
};

struct Si : Pulled {
  double damping;
  Tensors path, start, of_task;
  Si(double c, double xi) : Pulled(c), damping(xi) {}

  void task_begins(const Net& net) override {
    path.clear();
    start = copies(net);
  }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& more) override {
    of_task = gradients_of(task_loss(net, current), net);
    return Pulled::loss(net, current, more);
  }
  void stepped(const Net& before, const Tensors&, const Net& after) override {
    Tensors gained;
    for (std::size_t i = 0; i < of_task.size(); ++i) {
      gained.push_back(-of_task[i] * (after.values[i] - before.values[i]).detach());
    }
    add(path, gained, 1);
  }
  void task_ends(const Net& net, const Rows&) override {
    Tensors importance = terms.empty() ? Tensors() : terms[0].first, own;
    for (std::size_t i = 0; i < path.size(); ++i) {
      own.push_back(
          (path[i] / ((net.values[i] - start[i]).square().detach() + damping)).clamp_min(0));
    }
    add(importance, own, 1);
    terms = {{importance, copies(net)}};
  }
};

struct Lwf : Rule {
  double lambda, temperature;
  bool heads, growing, by_tasks, over_mean;
  std::vector<std::pair<std::int64_t, std::int64_t>> outputs;  // of tasks
  bool shared;
  std::unique_ptr<Net> old;
  int tasks = 0;  // that have ended
  Lwf(const Config& config, std::vector<std::pair<std::int64_t, std::int64_t>> o)
      : lambda(config.real("stability")),
        temperature(config.real("distill_temperature")),
        heads(config.text("scenario") == "task_il" || config.text("train_outputs") == "task"),
        growing(config.text("train_outputs") == "seen"),
        by_tasks(config.text("replay_share") == "tasks"),
        over_mean(config.text("distill_over") == "mean"),
        outputs(std::move(o)),
        shared(config.text("scenario") == "domain_il") {}

  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    if (!by_tasks) return of_heads(net, current);
    // With one for each head, and with n - 1 in domain-incremental learning, all of it over n.
    const at::Tensor own = task_loss(net, current);
    const double n = tasks + 1, all = heads || shared || tasks == 0 ? 1 : tasks;
    return own / n + all * (of_heads(net, current) - own) / n;
  }
  at::Tensor of_heads(const Net& net, const Rows& current) {
    at::Tensor sum = task_loss(net, current);
    if (tasks == 0) return sum;
    const at::Tensor was = old->outputs(current.x).detach(), now = net.outputs(current.x);
    const auto distance = [&](std::int64_t first, std::int64_t count) {
      const at::Tensor p = torch::softmax(was.narrow(1, first, count) / temperature, 1);
      const at::Tensor q = torch::log_softmax(now.narrow(1, first, count) / temperature, 1);
      return -(over_mean ? (p * q).mean(1) : (p * q).sum(1)).mean();
    };
    if (growing) {  // outputs that were not trained have a share of 0
      const std::int64_t before = outputs[static_cast<std::size_t>(tasks - 1)].second;
      const std::int64_t seen = outputs[static_cast<std::size_t>(tasks)].second;
      at::Tensor p = torch::zeros({now.size(0), seen}, torch::kFloat64);
      p.narrow(1, 0, before) = torch::softmax(was.narrow(1, 0, before) / temperature, 1);
      const at::Tensor q = torch::log_softmax(now.narrow(1, 0, seen) / temperature, 1);
      return sum - lambda * (over_mean ? (p * q).mean(1) : (p * q).sum(1)).mean();
    }
    if (!heads) return sum + lambda * (shared ? tasks : 1) * distance(0, now.size(1));
    for (std::size_t t = 0; t < static_cast<std::size_t>(tasks); ++t) {
      const auto [first, last] = outputs[t];
      sum = sum + lambda * distance(first, last - first);
    }
    return sum;
  }
  void task_ends(const Net& net, const Rows&) override {
    old = std::make_unique<Net>(net);
    ++tasks;
  }
};

// Weights with owners, written with loops over single weights.
struct Packnet : Rule {
  double keep, again;
  std::vector<std::pair<std::int64_t, std::int64_t>> outputs;  // of tasks
  std::int64_t task = 0;
  bool packed = false;
  std::vector<std::vector<std::int64_t>> owner;  // by value, of its elements
  Tensors at_end;

  Packnet(double k, double a, std::vector<std::pair<std::int64_t, std::int64_t>> o)
      : keep(k), again(a), outputs(std::move(o)) {}
  bool own_outputs() const { return outputs[0] != outputs[1]; }
  bool masks_reading() const override { return true; }

  void task_begins(const Net& net) override {
    ++task;
    packed = false;
    if (!owner.empty()) return;
    for (const at::Tensor& each : net.values) {
      owner.emplace_back(static_cast<std::size_t>(each.numel()), 0);
    }
  }

  bool of_task(const Net& net, std::size_t value, std::size_t element) const {
    if (value + 2 < net.values.size() || !own_outputs()) return true;
    const std::int64_t output = static_cast<std::int64_t>(element) % net.values[value].size(-1);
    const auto [first, last] = outputs[static_cast<std::size_t>(task - 1)];
    return output >= first && output < last;
  }

  void pack(Net& net) {
    packed = true;
    for (std::size_t v = 0; v < net.values.size(); ++v) {
      const bool whole = v % 2 == 1 || (v + 2 >= net.values.size() && own_outputs());
      double* value = net.values[v].data_ptr<double>();
      const at::Tensor active = net.active[v].contiguous();
      std::vector<std::pair<double, std::size_t>> free;  // largest first, then by place
      for (std::size_t e = 0; e < owner[v].size(); ++e) {
        if (owner[v][e] != 0 || !active.data_ptr<bool>()[e] || !of_task(net, v, e)) continue;
        free.emplace_back(-std::abs(value[e]), e);
      }
      std::sort(free.begin(), free.end());
      const double left = static_cast<double>(outputs.size()) - static_cast<double>(task - 1);
      const double share = keep > 0 ? keep : 1 / left;
      const auto kept =
          whole ? free.size()
                : static_cast<std::size_t>(std::llround(share * static_cast<double>(free.size())));
      for (std::size_t i = 0; i < kept; ++i) owner[v][free[i].second] = task;
      for (std::size_t e = 0; !whole && e < owner[v].size(); ++e) {
        if (owner[v][e] == 0) value[e] = 0;
      }
    }
  }

  void turns(Net& net, std::int64_t step, std::int64_t steps) override {
    const at::NoGradGuard no_grad;
    const double trained_again = std::floor(again * static_cast<double>(steps));
    if (step == steps - static_cast<std::int64_t>(trained_again)) pack(net);
  }

  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    Rows own = current;
    own.allowed = current.allowed.clone();
    for (std::int64_t c = 0; own_outputs() && c < own.allowed.size(1); ++c) {
      const auto [first, last] = outputs[static_cast<std::size_t>(task - 1)];
      if (c < first || c >= last) own.allowed.select(1, c).fill_(false);
    }
    return task_loss(net, own);
  }

  void change(Tensors& gradients, const Net&, const std::vector<Rows>&) override {
    for (std::size_t v = 0; v < gradients.size(); ++v) {
      gradients[v] = gradients[v].contiguous();
      for (std::size_t e = 0; e < owner[v].size(); ++e) {
        if (owner[v][e] != (packed ? task : 0)) gradients[v].data_ptr<double>()[e] = 0;
      }
    }
  }

  void task_ends(const Net& net, const Rows&) override {
    Net end = net;
    for (at::Tensor& each : end.values) each = each.detach().clone();
    if (!packed) pack(end);
    at_end = end.values;
  }

  void stage_ended(const Net& net) override {
    for (std::size_t v = 0; v < net.values.size(); ++v) {
      CAPTURE(v);
      REQUIRE(torch::equal(net.values[v], at_end[v]));
    }
  }

  Net net_of_task(const Net& net, std::int64_t read) const override {
    Net own = net;
    for (std::size_t v = 0; v < net.values.size() && read < task; v += 2) {
      own.values[v] = net.values[v].detach().clone();
      for (std::size_t e = 0; e < owner[v].size(); ++e) {
        if (owner[v][e] == 0 || owner[v][e] > read) own.values[v].data_ptr<double>()[e] = 0;
      }
    }
    return own;
  }
};

// Units with owners, written with loops over single weights.
struct Spacenet : Rule {
  Trainer& trainer;
  double share, within, again;
  bool other_outputs_rest;  // count as their biases while a task trains
  std::vector<std::pair<std::int64_t, std::int64_t>> outputs;  // of tasks
  Net beginning;
  std::int64_t task = 0;
  bool packed = false;
  std::vector<std::vector<std::int64_t>>
      units;  // of hidden layers: by which task; 0: free; -1: waits
  std::vector<std::vector<std::int64_t>> owner;  // by value, of its elements
  Tensors earned, at_end;                        // by hidden layer; by value

  Spacenet(double s, double w, double a, Trainer& t)
      : trainer(t),
        share(s),
        within(w),
        again(a),
        other_outputs_rest(trainer.tasks(0).masked_readout),
        outputs(trainer.tasks(0).task_outputs),
        beginning(net_of(trainer)) {
    for (std::size_t v = 0; v < beginning.values.size(); ++v) {
      const at::Tensor& each = beginning.values[v];
      owner.emplace_back(static_cast<std::size_t>(each.numel()), 0);
      if (v % 2 == 1 && !is_last(v)) units.emplace_back(static_cast<std::size_t>(each.numel()), 0);
    }
  }
  bool is_last(std::size_t v) const { return v + 2 >= beginning.values.size(); }
  bool own_outputs() const { return outputs[0] != outputs[1]; }
  // The task of an output of its own.
  std::int64_t task_of(std::int64_t output) const {
    for (std::size_t t = 0; t < outputs.size(); ++t) {
      if (output >= outputs[t].first && output < outputs[t].second) {
        return static_cast<std::int64_t>(t + 1);
      }
    }
    FAIL("no task has output " << output);
    return 0;
  }
  std::int64_t outputs_of(std::size_t v) const { return beginning.values[v].size(-1); }

  // The state of the unit of the layer below that a weight comes from.
  std::int64_t state_from(std::size_t v, std::size_t e) const {
    return units[v / 2 - 1][static_cast<std::size_t>(static_cast<std::int64_t>(e) / outputs_of(v))];
  }

  // Its unit belongs to no finished task, nor to a later one, and reads it.
  bool is_free(std::size_t v, std::size_t e) const {
    const std::int64_t unit = static_cast<std::int64_t>(e) % outputs_of(v);
    if (owner[v][e] != 0) return false;
    if (within > 0 && v > 0 && v % 2 == 0) {
      const std::int64_t from = state_from(v, e);
      if (from != 0 && from != task) return false;
    }
    if (!is_last(v)) return units[v / 2][static_cast<std::size_t>(unit)] == 0;
    return !own_outputs() || task_of(unit) == task;
  }

  // Which units it is are the trainer's own draws, of which so many are due.
  void draw(std::size_t l) {
    const std::vector<std::int64_t> before = units[l];
    double open = 0, free = 0;
    for (const auto& [name, values] : trainer.save(0)) {
      if (name != "strategy/spacenet.units" + std::to_string(l)) continue;
      for (std::size_t u = 0; u < units[l].size(); ++u) {
        units[l][u] = values[static_cast<std::int64_t>(u)].item<std::int64_t>();
        REQUIRE((units[l][u] > 0 ? units[l][u] == before[u] : before[u] <= 0));
        open += units[l][u] == 0;
        free += units[l][u] <= 0;
      }
    }
    const double wanted = std::round(within * static_cast<double>(units[l].size()));
    CHECK(open == (within > 0 ? std::min(std::max(1.0, wanted), free) : free));
    CHECK((before != units[l] || within == 0 || open == free));
  }

  void task_begins(const Net& net) override {
    ++task;
    packed = false;
    earned.clear();
    for (std::size_t l = 0; l < units.size(); ++l) draw(l);
    for (std::size_t v = 0; v < net.values.size(); ++v) {
      if (v % 2 == 0 && !is_last(v)) earned.push_back(torch::zeros_like(net.values[v]));
      const at::Tensor first = beginning.values[v].detach().contiguous();
      at::Tensor expected = (task == 1 ? first : at_end[v]).clone();
      for (std::size_t e = 0; v % 2 == 0 && e < owner[v].size(); ++e) {
        if (owner[v][e] != 0) continue;
        expected.data_ptr<double>()[e] = is_free(v, e) ? first.data_ptr<double>()[e] : 0;
      }
      CAPTURE(v);
      REQUIRE(torch::equal(net.values[v].detach(), expected));
    }
  }

  void pack(Net& net) {
    packed = true;
    for (std::size_t l = 0; l < units.size(); ++l) {
      std::vector<std::pair<double, std::size_t>> free;  // most important first, then by place
      double unreserved = 0;
      for (std::size_t u = 0; u < units[l].size(); ++u) {
        double sum = 0;
        for (std::int64_t i = 0; i < earned[l].size(0); ++i) {
          const auto at = static_cast<std::int64_t>(u);
          if (net.active[2 * l][i][at].item<bool>()) sum += earned[l][i][at].item<double>();
        }
        if (units[l][u] == 0) free.emplace_back(-sum, u);
        unreserved += units[l][u] <= 0;
      }
      std::sort(free.begin(), free.end());
      const double left = static_cast<double>(outputs.size()) - static_cast<double>(task - 1);
      const auto count = static_cast<std::size_t>(std::llround(
          share > 0 ? share * static_cast<double>(units[l].size()) : unreserved / left));
      for (std::size_t i = 0; i < std::min(std::max<std::size_t>(1, count), free.size()); ++i) {
        units[l][free[i].second] = task;
      }
    }
    for (std::size_t v = 0; v < net.values.size(); ++v) {
      const at::Tensor active = net.active[v].contiguous();
      const bool shared = is_last(v) && !own_outputs();
      for (std::size_t e = 0; e < owner[v].size(); ++e) {
        const std::int64_t unit = static_cast<std::int64_t>(e) % outputs_of(v);
        const std::int64_t of = shared       ? task
                                : is_last(v) ? task_of(unit)
                                             : units[v / 2][static_cast<std::size_t>(unit)];
        if (of != task || owner[v][e] != 0) continue;
        const std::int64_t from = v % 2 == 1 || v == 0 ? task : state_from(v, e);
        if (within > 0 ? from == task : from > 0) {
          if (active.data_ptr<bool>()[e]) owner[v][e] = task;
        } else {
          net.values[v].data_ptr<double>()[e] = 0;
        }
      }
    }
  }

  void turns(Net& net, std::int64_t step, std::int64_t steps) override {
    const at::NoGradGuard no_grad;
    const double trained_again = std::floor(again * static_cast<double>(steps));
    if (step == steps - static_cast<std::int64_t>(trained_again)) pack(net);
  }

  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    Net own = net;
    for (std::int64_t c = 0; other_outputs_rest && c < outputs.back().second; ++c) {
      if (task_of(c) == task) continue;
      at::Tensor kept = torch::ones({outputs.back().second}, torch::kFloat64);
      kept[c] = 0;
      at::Tensor& last = own.values[own.values.size() - 2];
      last = last * kept;
    }
    return task_loss(own, current);
  }

  void change(Tensors& gradients, const Net&, const std::vector<Rows>&) override {
    for (std::size_t v = 0; v < gradients.size(); ++v) {
      gradients[v] = gradients[v].contiguous();
      for (std::size_t e = 0; e < owner[v].size(); ++e) {
        const bool changes = packed ? owner[v][e] == task : is_free(v, e);
        if (!changes) gradients[v].data_ptr<double>()[e] = 0;
      }
    }
  }

  void stepped(const Net& before, const Tensors& gradients, const Net& after) override {
    for (std::size_t l = 0; l < earned.size(); ++l) {
      const at::Tensor moved = (after.values[2 * l] - before.values[2 * l]).detach();
      earned[l] = earned[l] + (gradients[2 * l] * moved).abs();
    }
  }

  void task_ends(const Net& net, const Rows&) override {
    Net end = net;
    for (at::Tensor& each : end.values) each = each.detach().contiguous().clone();
    if (!packed) pack(end);
    at_end = end.values;
  }

  void stage_ended(const Net& net) override {
    for (std::size_t v = 0; v < net.values.size(); ++v) {
      CAPTURE(v);
      REQUIRE(torch::equal(net.values[v], at_end[v]));
    }
  }
};

// A parameter that the strategy has of its own, as the trainer has it now.
at::Tensor own_parameter(const Trainer& trainer, const std::string& parameter) {
  for (const auto& [name, values] : trainer.save(0)) {
    if (name == "parameter/" + parameter) return values.clone();
  }
  FAIL("no parameter " << parameter);
  return {};
}

// What strategies with nets of tasks share here: outputs, and values that are owned for good.
struct TaskNets : Rule {
  Trainer& trainer;
  std::vector<std::pair<std::int64_t, std::int64_t>> outputs;
  std::int64_t task = 0;
  double lr = 0;
  explicit TaskNets(Trainer& t) : trainer(t), outputs(t.tasks(0).task_outputs) {}

  bool own_outputs() const { return outputs[0] != outputs[1]; }
  bool masks_reading() const override { return true; }
  void task_begins(const Net&) override { ++task; }
  void rate(double said) override { lr = said; }
  Rows of_task(const Rows& rows) const {
    Rows own = rows;
    const auto [first, last] = outputs[static_cast<std::size_t>(task - 1)];
    const at::Tensor among = torch::zeros_like(own.allowed);
    among.narrow(1, first, last - first).fill_(true);
    if (own_outputs()) own.allowed = own.allowed.logical_and(among);
    return own;
  }
  // Of the columns of a layer of outputs of their own, those of tasks that have ended do not move.
  void hold_outputs(at::Tensor& gradient) const {
    for (std::int64_t t = 1; t < task; ++t) {
      const auto [first, last] = outputs[static_cast<std::size_t>(t - 1)];
      gradient.narrow(-1, first, last - first).fill_(0);
    }
  }
};

struct Wsn : TaskNets {
  double share;
  Tensors scores, used, gradients_there;    // by layer
  std::map<std::int64_t, Tensors> choices;  // by task
  Wsn(Trainer& t, double c) : TaskNets(t), share(c) {}

  std::size_t layers(const Net& net) const {
    return net.values.size() / 2 - (own_outputs() ? 1 : 0);
  }
  void task_begins(const Net& net) override {
    TaskNets::task_begins(net);
    for (std::size_t l = scores.size(); l < layers(net); ++l) {
      const std::string name = trainer.model().linears()[l]->weight.name;
      scores.push_back(own_parameter(trainer, "wsn.score." + name).view(net.values[2 * l].sizes()));
      used.push_back(torch::zeros_like(net.active[2 * l]));
      const double bound = 1 / std::sqrt(static_cast<double>(net.values[2 * l].size(0)));
      CHECK(scores[l].abs().max().item<double>() < bound);
      CHECK(scores[l].abs().mean().item<double>() == Approx(bound / 2).epsilon(0.2));
    }
  }
  at::Tensor choice(const Net& net, std::size_t l) const {
    const at::Tensor sizes = scores[l].abs();
    std::vector<double> all;
    for (const at::Tensor& each : sizes.masked_select(net.active[2 * l]).split(1)) {
      all.push_back(each.item<double>());
    }
    std::sort(all.rbegin(), all.rend());
    const auto count =
        std::max<long long>(1, std::llround(share * static_cast<double>(all.size())));
    return sizes.ge(all[static_cast<std::size_t>(count - 1)]).logical_and(net.active[2 * l]);
  }
  Net chosen_from(const Net& net, const Tensors& masks) const {
    Net own = net;
    for (std::size_t l = 0; l < masks.size(); ++l) own.values[2 * l] = net.values[2 * l] * masks[l];
    return own;
  }
  Tensors choices_now(const Net& net) const {
    Tensors all;
    for (std::size_t l = 0; l < layers(net); ++l) all.push_back(choice(net, l));
    return all;
  }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    const Tensors masks = choices_now(net);
    Net there = chosen_from(net, masks);
    for (at::Tensor& each : there.values) each = each.detach().clone().requires_grad_(true);
    gradients_there = gradients_of(task_loss(there, of_task(current)), there);
    return task_loss(chosen_from(net, masks), of_task(current));
  }
  void change(Tensors& gradients, const Net& net, const std::vector<Rows>&) override {
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (i / 2 >= layers(net)) {
        hold_outputs(gradients[i]);
      } else if (i % 2 == 1) {
        gradients[i] = gradients[i] * (task == 1);
      } else {
        gradients[i] = gradients[i] * used[i / 2].logical_not();
      }
    }
  }
  void stepped(const Net& before, const Tensors&, const Net&) override {
    for (std::size_t l = 0; l < scores.size(); ++l) {
      const at::Tensor gradient =
          scores[l].sign() * before.values[2 * l].detach() * gradients_there[2 * l];
      scores[l] = scores[l] - lr * gradient;
      const std::string name = trainer.model().linears()[l]->weight.name;
      const at::Tensor now =
          own_parameter(trainer, "wsn.score." + name).view(before.values[2 * l].sizes());
      REQUIRE(torch::allclose(now, scores[l], 1e-8, 1e-11));
    }
  }
  void task_ends(const Net& net, const Rows&) override {
    choices[task] = choices_now(net);
    for (std::size_t l = 0; l < scores.size(); ++l) used[l] = used[l].logical_or(choices[task][l]);
  }
  Net net_of_task(const Net& net, std::int64_t read) const override {
    const auto found = choices.find(read);
    return chosen_from(net, found == choices.end() ? choices_now(net) : found->second);
  }
};

// Gates on the hidden units, as a factor of what they put out.
struct Hat : TaskNets {
  double lambda, most, scale = 0;
  Tensors embeddings, earlier, moved;  // by hidden layer: [tasks,units], [units], gradient [units]
  Hat(Trainer& t, double l, double m) : TaskNets(t), lambda(l), most(m) {}

  void task_begins(const Net& net) override {
    TaskNets::task_begins(net);
    for (std::size_t l = embeddings.size(); l + 1 < net.values.size() / 2; ++l) {
      const std::string name = trainer.model().linears()[l]->weight.name;
      embeddings.push_back(own_parameter(trainer, "hat.embedding." + name));
      earlier.push_back(torch::zeros({net.values[2 * l].size(1)}, torch::kFloat64));
    }
  }
  void turns(Net&, std::int64_t step, std::int64_t) override {
    const std::int64_t epoch =
        trainer.run(0).timeline.steps_per_epoch[static_cast<std::size_t>(task - 1)];
    const double share = static_cast<double>(step % epoch) / static_cast<double>(epoch - 1);
    expected_scale = (most - 1 / most) * share + 1 / most;
    REQUIRE(scale == Approx(expected_scale).epsilon(1e-12));
  }
  void decided(std::int64_t, const std::vector<double>& numbers) override { scale = numbers[0]; }
  double expected_scale = 0;

  static at::Tensor gated(const Net& net, const at::Tensor& x, const Tensors& gates) {
    at::Tensor h = x;
    for (std::size_t l = 0; l < net.values.size() / 2; ++l) {
      h = h.mm(net.values[2 * l]) + net.values[2 * l + 1];
      if (l < gates.size()) h = h.clamp_min(0) * gates[l];
    }
    return h;
  }
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    Tensors rows, gates;
    at::Tensor sum = torch::zeros({}, torch::kFloat64), all = sum.clone();
    for (std::size_t l = 0; l < embeddings.size(); ++l) {
      rows.push_back(embeddings[l][task - 1].clone().requires_grad_(true));
      gates.push_back(1 / (1 + torch::exp(-scale * rows[l])));
      sum = sum + (gates[l] * (1 - earlier[l])).sum();
      all = all + (1 - earlier[l]).sum();
    }
    const Rows own = of_task(current);
    const at::Tensor total =
        entropy_of(gated(net, own.x, gates), own, own.allowed).mean() + lambda * sum / all;
    moved.clear();
    for (const at::Tensor& each : torch::autograd::grad({total}, rows, {}, true)) {
      moved.push_back(each);
    }
    return total;
  }
  void change(Tensors& gradients, const Net& net, const std::vector<Rows>&) override {
    for (std::size_t l = 0; l < net.values.size() / 2; ++l) {
      const bool last = l == embeddings.size();
      at::Tensor &weight = gradients[2 * l], &bias = gradients[2 * l + 1];
      if (last && own_outputs()) {
        hold_outputs(weight);
        hold_outputs(bias);
        continue;
      }
      at::Tensor held = torch::ones_like(weight);
      if (l > 0) held = torch::minimum(held, earlier[l - 1].unsqueeze(1));
      if (!last) held = torch::minimum(held, earlier[l].unsqueeze(0));
      weight = weight * (1 - held);
      bias = last ? bias * (task == 1) : bias * (1 - earlier[l]);
    }
  }
  void stepped(const Net&, const Tensors&, const Net&) override {
    for (std::size_t l = 0; l < embeddings.size(); ++l) {
      const at::Tensor e = embeddings[l][task - 1];
      const at::Tensor against =
          most / scale * (torch::cosh((scale * e).clamp(-50, 50)) + 1) / (torch::cosh(e) + 1);
      embeddings[l][task - 1] = (e - lr * moved[l] * against).clamp(-6, 6);
      const std::string name = trainer.model().linears()[l]->weight.name;
      const at::Tensor now = own_parameter(trainer, "hat.embedding." + name);
      CAPTURE(l, (now - embeddings[l]).abs().max().item<double>());
      REQUIRE(torch::allclose(now, embeddings[l], 1e-7, 1e-9));
      embeddings[l] = now;  // what a hard gate amplifies is not carried on
    }
  }
  Tensors last_gates(std::int64_t read) const {
    Tensors gates;
    for (const at::Tensor& each : embeddings)
      gates.push_back(torch::sigmoid(most * each[read - 1]));
    return gates;
  }
  void task_ends(const Net&, const Rows&) override {
    const Tensors gates = last_gates(task);
    for (std::size_t l = 0; l < gates.size(); ++l)
      earlier[l] = torch::maximum(earlier[l], gates[l]);
  }
  // The gate of a unit is a factor of what reads it.
  Net net_of_task(const Net& net, std::int64_t read) const override {
    const Tensors gates = last_gates(read);
    Net own = net;
    for (std::size_t l = 0; l < gates.size(); ++l) {
      own.values[2 * l + 2] = net.values[2 * l + 2] * gates[l].unsqueeze(1);
    }
    return own;
  }
};

std::unique_ptr<Rule> rule_of(const Config& config, Trainer& trainer) {
  const std::string& name = config.text("strategy");
  const auto number = [&config](const char* option) { return config.real(option); };
  if (name == "finetune" || name == "cumulative" || name == "gdumb") {
    return std::make_unique<Rule>();
  }
  if (name == "er") {
    auto rule = std::make_unique<Er>();
    rule->by_tasks = config.text("replay_share") == "tasks";
    return rule;
  }
  if (name == "er_ace") return std::make_unique<ErAce>();
  if (name == "der") return std::make_unique<Der>(number("stability"), 0);
  if (name == "derpp") {
    return std::make_unique<Der>(number("stability"), number("replay_weight"));
  }
  if (name == "agem") return std::make_unique<Agem>();
  if (name == "ewc") return std::make_unique<Ewc>(number("stability"), false, false, 1);
  if (name == "ewc_empirical") return std::make_unique<Ewc>(number("stability"), true, false, 1);
  if (name == "ewc_online") {
    return std::make_unique<Ewc>(number("stability"), false, true, number("fisher_decay"));
  }
  if (name == "mas") return std::make_unique<Mas>(number("stability"));
  if (name == "si") return std::make_unique<Si>(number("stability"), number("si_damping"));
  if (name == "lwf") {
    return std::make_unique<Lwf>(config, trainer.tasks(0).task_outputs);
  }
  if (name == "icarl") return std::make_unique<Icarl>(trainer, number("buffer"));
  if (name == "mir") return std::make_unique<Mir>();
  if (name == "gem") return std::make_unique<Gem>(number("gem_margin"));
  if (name == "cls_er") {
    return std::make_unique<ClsEr>(number("stability"), number("plastic_updates"),
                                   number("plastic_decay"), number("stable_updates"),
                                   number("stable_decay"));
  }
  if (name == "wsn") return std::make_unique<Wsn>(trainer, number("task_density"));
  if (name == "hat") {
    return std::make_unique<Hat>(trainer, number("stability"), number("gate_scale"));
  }
  if (name == "spacenet") {
    return std::make_unique<Spacenet>(number("reserved_units"), number("task_units"),
                                      number("retrain_share"), trainer);
  }
  if (name == "packnet") {
    return std::make_unique<Packnet>(number("task_keep"), number("retrain_share"),
                                     trainer.tasks(0).task_outputs);
  }
  return nullptr;
}

class Course {
 public:
  Course(Trainer& trainer, const Config& config) : trainer_(trainer), config_(config) {
    twin_ =
        strategies().at("strategy", config.text("strategy"))({1, {config}, {trainer.tasks(0)}, {}});
    rule_ = rule_of(config, trainer);
    REQUIRE(rule_ != nullptr);
  }

  void require_stage(std::int64_t stage) {
    stage_ = stage;
    trainer_.begin_stage(stage);
    rule_->task_begins(net_of(trainer_));
    if (stage == 0) beginning_ = net_of(trainer_);
    if (config_.text("strategy") == "gdumb") {
      const Net now = net_of(trainer_);
      for (std::size_t i = 0; i < now.values.size(); ++i) {
        REQUIRE(torch::equal(now.values[i], beginning_.values[i]));
        REQUIRE(torch::equal(now.active[i], beginning_.active[i]));
      }
    }
    const std::vector<std::int64_t> train = stage_examples(stage);
    EpochSampler sampler(run_key(config_, "data"), stage, static_cast<std::int64_t>(train.size()),
                         config_.integer("batch"));
    for (std::int64_t step = 0; step < trainer_.stage_steps(stage); ++step) {
      CAPTURE(stage, step);
      std::vector<BatchRow> current;
      for (const std::int64_t each : positions(sampler, stage, step, train.size())) {
        current.push_back({train[static_cast<std::size_t>(each)]});
      }
      std::vector<std::vector<BatchRow>> replays(twin_->needs().replays.size());
      std::vector<double> numbers(static_cast<std::size_t>(twin_->needs().numbers), 0);
      const std::int64_t epoch =
          trainer_.run(0).timeline.steps_per_epoch[static_cast<std::size_t>(stage)];
      if (!numbers.empty()) twin_->numbers(0, {steps_, step, epoch}, numbers.data());
      rule_->decided(steps_, numbers);
      twin_->batch(0, steps_++, current, replays);
      const Rows own = rows_of(current);
      std::vector<Rows> others;
      for (const auto& each : replays) others.push_back(rows_of(each));
      Net before = net_of(trainer_);
      rule_->turns(before, step, trainer_.stage_steps(stage));
      const double lr = plan_replica(trainer_.run(0), stage, step).lr;
      rule_->rate(lr);
      const at::Tensor loss = rule_->loss(before, own, others);
      Tensors gradients = gradients_of(loss, before);
      rule_->change(gradients, before, others);
      trainer_.advance(stage, step, 1);
      const Net after = net_of(trainer_);
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        const at::Tensor expected = before.values[i].detach() - lr * gradients[i];
        CAPTURE(i, (after.values[i] - expected).abs().max().item<double>());
        REQUIRE(torch::allclose(after.values[i].detach(), expected, 1e-8, 1e-11));
      }
      rule_->stepped(before, gradients, after);
    }
    std::vector<BatchRow> all;
    for (const std::int64_t each : train) all.push_back({each});
    // A memory of examples is all that the twin has, and only those of A-GEM and GEM are filled
    // here.
    const std::string& strategy = config_.text("strategy");
    const bool at_ends = config_.text("buffer_rule") == "task_ends";
    if (strategy == "agem" || strategy == "gem" || at_ends) twin_->after_task(stage + 1, {train});
    rule_->task_ends(net_of(trainer_), rows_of(all));
    trainer_.end_stage(stage);
    rule_->stage_ended(net_of(trainer_));
    // What it chooses by features the twin can't see: it goes on from what the trainer's has saved.
    for (const auto& [name, values] : trainer_.save(0)) {
      if (name.rfind("strategy/icarl.", 0) == 0) twin_->load(0, name.substr(9), values);
    }
  }

  const Rule& rule() const { return *rule_; }

  // The program's counts on each task's training examples, against this net's.
  void require_accuracy() {
    const Net whole = net_of(trainer_);
    const auto rows = evaluate(trainer_, {1, "train", false, {1}});
    std::size_t compared = 0;
    for (const EvalRow& row : rows[0]) {
      const Net net = rule_->net_of_task(whole, row.task);
      const bool own_net =
          (config_.text("weights") == "dense") == (row.readout.weights.stream == "full");
      const bool masked = rule_->masks_reading() && !trainer_.tasks(0).mask_evaluation;
      if ((row.readout.masked && !trainer_.tasks(0).mask_evaluation && !masked) || !own_net) {
        continue;
      }
      ++compared;
      CAPTURE(row.task);
      std::vector<BatchRow> all;
      for (const std::int64_t each :
           trainer_.tasks(0).tasks[static_cast<std::size_t>(row.task - 1)].train) {
        all.push_back({example_of(each, row.task)});
      }
      const Rows own = rows_of(all);
      const auto [first, last] =
          trainer_.tasks(0).task_outputs[static_cast<std::size_t>(row.task - 1)];
      at::Tensor allowed = torch::ones_like(own.allowed);
      if (masked || trainer_.tasks(0).mask_evaluation) {
        allowed.fill_(false);
        allowed.narrow(1, first, last - first).fill_(true);
      }
      const at::Tensor z = rule_->reading(net, own.x).masked_fill(allowed.logical_not(), -INFINITY);
      REQUIRE(row.n_total == static_cast<std::int64_t>(all.size()));
      REQUIRE(row.n_correct == (z.argmax(1) == own.target).sum().item<std::int64_t>());
    }
    REQUIRE(compared == trainer_.tasks(0).tasks.size());
  }

 private:
  // What the stage trains on: its task, or all up to it by their places, then their tasks. Which
  // examples a balanced memory has is tested by itself (unit/plan_stages).
  std::vector<std::int64_t> stage_examples(std::int64_t stage) const {
    if (config_.text("strategy") == "gdumb") return trainer_.stages_of(0).examples(stage);
    const bool so_far = config_.text("strategy") == "cumulative";
    std::vector<std::pair<std::int64_t, std::int64_t>> all;
    for (std::int64_t t = so_far ? 0 : stage; t <= stage; ++t) {
      for (const std::int64_t each : trainer_.tasks(0).tasks[static_cast<std::size_t>(t)].train) {
        all.emplace_back(each, t + 1);
      }
    }
    if (so_far) std::sort(all.begin(), all.end());
    std::vector<std::int64_t> examples;
    for (const auto& [place, task] : all) examples.push_back(example_of(place, task));
    return examples;
  }

  // Of a step's examples within its stage: a stream's come as they are listed.
  std::vector<std::int64_t> positions(EpochSampler& sampler, std::int64_t stage, std::int64_t step,
                                      std::size_t size) const {
    if (!trainer_.tasks(0).tasks[static_cast<std::size_t>(stage)].in_order) {
      return sampler.batch(step);
    }
    const std::int64_t batch = config_.integer("batch");
    std::vector<std::int64_t> next;
    for (std::int64_t i = step * batch;
         i < std::min((step + 1) * batch, static_cast<std::int64_t>(size)); ++i) {
      next.push_back(i);
    }
    return next;
  }

  // An image under the angle of its own, by the table of a view of that angle.
  static at::Tensor turned(const at::Tensor& image, std::int64_t source,
                           const ExampleAngles& angles) {
    const auto number = static_cast<std::size_t>(angles.number[static_cast<std::size_t>(source)]);
    const InputView view = rotated_view({28, 28}, degrees_of(angles.arcs)[number]);
    const at::Tensor from =
        torch::tensor(std::vector<std::int64_t>(view.from.begin(), view.from.end()));
    const at::Tensor weight =
        torch::tensor(std::vector<double>(view.weight.begin(), view.weight.end()), torch::kFloat64);
    return (image.index_select(0, from) * weight).view({-1, view.taps}).sum(1);
  }

  Rows rows_of(const std::vector<BatchRow>& rows) const {
    Rows made;
    made.rows = rows;
    if (rows.empty()) return made;
    const TaskSequence& sequence = trainer_.tasks(0);
    const Dataset& data = trainer_.data();
    const auto n = static_cast<std::int64_t>(rows.size());
    made.target = torch::zeros({n}, torch::kInt64);
    made.allowed = torch::zeros({n, sequence.outputs}, torch::kBool);
    std::vector<at::Tensor> seen;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t example = rows[static_cast<std::size_t>(i)].example;
      const std::int64_t source = example % (std::int64_t{1} << 40);
      const auto task = static_cast<std::size_t>(example / (std::int64_t{1} << 40) - 1);
      const auto label = static_cast<std::size_t>(data.labels[source].item<std::int64_t>());
      at::Tensor x = data.inputs[source].to(torch::kFloat64) / 255;
      if (!sequence.views.empty()) {
        const std::vector<std::int32_t>& from = sequence.views[task].from;
        x = x.index_select(0, torch::tensor(std::vector<std::int64_t>(from.begin(), from.end())));
      } else if (sequence.angles) {
        x = turned(x, source, *sequence.angles);
      } else {
        REQUIRE(static_cast<std::size_t>(sequence.task_of_class[label] - 1) == task);
      }
      seen.push_back(x);
      made.target[i] =
          sequence.views.empty() ? sequence.target[label] : sequence.target_by_task[task][label];
      const auto [first, last] = trained_outputs(task);
      made.allowed[i].narrow(0, first, last - first).fill_(true);
    }
    made.x = torch::stack(seen);
    return made;
  }

  // The outputs that the loss sees of an example of a task, counted from 0.
  std::pair<std::int64_t, std::int64_t> trained_outputs(std::size_t task) const {
    const TaskSequence& sequence = trainer_.tasks(0);
    const std::string& said = config_.text("train_outputs");
    if (config_.text("scenario") == "task_il" || said == "task") return sequence.task_outputs[task];
    if (said == "seen") {
      return {0, sequence.task_outputs[static_cast<std::size_t>(stage_)].second};
    }
    return {0, sequence.outputs};
  }

  Trainer& trainer_;
  Config config_;
  std::unique_ptr<Strategy> twin_;
  std::unique_ptr<Rule> rule_;
  Net beginning_;
  std::int64_t stage_ = 0, steps_ = 0;
};

Config sequence_of(const std::string& strategy, const std::string& scenario,
                   const std::string& weights, const Settings& more = {}) {
  Settings said = {{"strategy", strategy}, {"scenario", scenario},    {"weights", weights},
                   {"tasks", "5"},         {"train_examples", "140"}, {"widths", "9,7"},
                   {"batch", "11"},        {"epochs", "2"},           {"lr", "0.2"},
                   {"momentum", "0"},      {"weight_decay", "0"},     {"clip", "0"}};
  if (weights != "dense") said["density"] = "0.4";
  if (scenario == "general_360") said.erase("tasks");
  const Part& facts = part("strategy", strategy);
  const Settings own = {{"buffer", "17"},
                        {"replay_batch", "6"},
                        {"stability", "3"},
                        {"replay_weight", "0.7"},
                        {"fisher_decay", "0.6"},
                        {"si_damping", "0.01"},
                        {"distill_temperature", "1.7"},
                        {"task_keep", "0.4"},
                        {"retrain_share", "0.4"},
                        {"gem_margin", "0.3"},
                        {"mir_candidates", "11"},
                        {"task_density", "0.4"},
                        {"gate_scale", "30"},
                        {"reserved_units", "0.25"},
                        {"plastic_updates", "0.8"},
                        {"plastic_decay", "0.9"},
                        {"stable_updates", "0.5"},
                        {"stable_decay", "0.95"}};
  for (const auto& [name, value] : own) {
    if (std::count(facts.uses.begin(), facts.uses.end(), name) != 0) said[name] = value;
  }
  for (const auto& [name, value] : more) said[name] = value;
  return small_run(said);
}

}  // namespace

TEST_CASE("each strategy's step is its formula", "[numeric]") {
  for (const auto& [strategy, factory] : strategies().all()) {
    if (strategy == "joint") continue;  // is finetune on one task
    for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
      if (strategy == "icarl" && scenario == "domain_il") continue;  // is refused
      for (const std::string weights : {"dense", "static"}) {
        DYNAMIC_SECTION(strategy << ' ' << scenario << ' ' << weights) {
          // Of tasks alike in their numbers of classes, and of 3, 3, 2 and 2.
          const Config config =
              sequence_of(strategy, scenario, weights, {{"tasks", weights == "dense" ? "5" : "4"}});
          for (const std::string storage : {"masked", "sparse"}) {
            if (weights == "dense" && storage == "sparse") continue;
            CAPTURE(storage);
            TrainerOptions options = in_double();
            if (storage == "sparse") options.storage.assign(3, Storage::kSparse);
            Trainer trainer({config}, options);
            Course course(trainer, config);
            for (std::int64_t stage = 0; stage < 3; ++stage) course.require_stage(stage);
            course.require_accuracy();
            const auto* agem = dynamic_cast<const Agem*>(&course.rule());
            if (agem != nullptr && scenario == "class_il") {
              CHECK(agem->projected > 0);
            }
            const auto* gem = dynamic_cast<const Gem*>(&course.rule());
            if (gem != nullptr && scenario == "class_il") {
              CHECK(gem->projected > 0);
            }
            const auto* mir = dynamic_cast<const Mir*>(&course.rule());
            if (mir != nullptr) {
              CHECK(mir->chose_others > 20);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("distillation that weighs as finished tasks do", "[numeric]") {
  for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
    for (const std::string outputs : {"all", "seen"}) {
      if (scenario != "class_il" && outputs == "seen") continue;
      DYNAMIC_SECTION(scenario << ' ' << outputs) {
        Settings said = {{"tasks", "4"}, {"replay_share", "tasks"}, {"distill_over", "mean"}};
        if (outputs == "seen") said["train_outputs"] = outputs;
        const Config config = sequence_of("lwf", scenario, "static", said);
        Trainer trainer({config}, in_double());
        Course course(trainer, config);
        for (std::int64_t stage = 0; stage < 3; ++stage) course.require_stage(stage);
        course.require_accuracy();
      }
    }
  }
}

TEST_CASE("replay of finished tasks alone, that weighs as they do", "[numeric]") {
  for (const std::string scenario : {"class_il", "task_il"}) {
    DYNAMIC_SECTION(scenario) {
      const Config config =
          sequence_of("er", scenario, "static",
                      {{"tasks", "4"}, {"replay_share", "tasks"}, {"buffer_rule", "task_ends"}});
      Trainer trainer({config}, in_double());
      Course course(trainer, config);
      for (std::int64_t stage = 0; stage < 3; ++stage) course.require_stage(stage);
      course.require_accuracy();
    }
  }
}

TEST_CASE("each strategy's step is its formula where outputs are trained task by task",
          "[numeric]") {
  for (const auto& [strategy, factory] : strategies().all()) {
    if (strategy == "joint") continue;  // has all tasks at once
    for (const std::string outputs : {"seen", "task"}) {
      DYNAMIC_SECTION(strategy << ' ' << outputs) {
        const Config config = sequence_of(strategy, "class_il", "static",
                                          {{"tasks", "4"}, {"train_outputs", outputs}});
        Trainer trainer({config}, in_double());
        Course course(trainer, config);
        for (std::int64_t stage = 0; stage < 3; ++stage) course.require_stage(stage);
        course.require_accuracy();
      }
    }
  }
}

// Methods that begin optimizers anew, in phases or at updates, leave alone what a strategy knows.
TEST_CASE("emptied slots are the optimizer's, not a strategy's", "[numeric]") {
  for (const std::string strategy : {"ewc", "ewc_online", "mas", "si"}) {
    for (const Settings& method : {Settings{{"weights", "acdc"}, {"density", "0.3"}},
                                   Settings{{"weights", "set"},
                                            {"density", "0.3"},
                                            {"update_slots", "all"},
                                            {"update_interval", "2"},
                                            {"update_interval_epochs", "0"}}}) {
      CAPTURE(strategy, method.at("weights"));
      Settings more = method;
      more["momentum"] = "0.5";
      more["lr"] = "0.05";
      const Config config = sequence_of(strategy, "class_il", method.at("weights"), more);
      Trainer trainer({config}, in_double());
      for (std::int64_t stage = 0; stage < 2; ++stage) {
        trainer.begin_stage(stage);
        const std::int64_t steps = trainer.stage_steps(stage);
        for (std::int64_t s = 0; s < steps; ++s) {
          trainer.advance(stage, s, 1);
          if (stage == 0) continue;
          // Of the weights that are there a good part is held all along.
          const Parameter& weight = trainer.model().linears()[0]->weight;
          const at::Tensor held = weight.slots.at(strategy + ".importance").values;
          CAPTURE(s);
          REQUIRE(held.ne(0).sum().item<std::int64_t>() > 50);
        }
        trainer.end_stage(stage);
      }
    }
  }
}

// A first step of Adam is lr for every weight with a gradient, whatever came before.
TEST_CASE("an optimizer that is reset begins each task as it began the first", "[numeric]") {
  for (const std::string said : {"keep", "reset"}) {
    CAPTURE(said);
    const Config config = sequence_of("ewc", "task_il", "dense",
                                      {{"optimizer", "adamw"},
                                       {"widths", "37,23"},
                                       {"switch_optimizer", said},
                                       {"lr", "0.001"},
                                       {"stability", "1e-6"}});
    Trainer trainer({config}, in_double());
    for (std::int64_t s = 0; s < trainer.stage_steps(0); ++s) {
      if (s == 0) trainer.begin_stage(0);
      trainer.advance(0, s, 1);
    }
    trainer.end_stage(0);
    const Parameter& weight = trainer.model().linears()[0]->weight;
    CHECK(weight.slots.at("first").values.abs().max().item<double>() > 0);
    trainer.begin_stage(1);
    const bool reset = said == "reset";
    CHECK((weight.slots.at("first").values.abs().max().item<double>() == 0) == reset);
    CHECK((weight.slots.at("second").values.abs().max().item<double>() == 0) == reset);
    // What the strategy knows stays.
    CHECK(weight.slots.at("ewc.importance").values.abs().max().item<double>() > 0);
    const Tensors before = net_of(trainer).values;
    trainer.advance(1, 0, 1);
    const at::Tensor moved = (net_of(trainer).values[0] - before[0]).detach().abs();
    const at::Tensor there = moved.masked_select(moved.gt(0));
    REQUIRE(there.numel() > 100);
    // But for gradients as small as epsilon.
    const double whole = there.sub(0.001).abs().lt(1e-5).to(torch::kFloat64).mean().item<double>();
    CAPTURE(whole);
    CHECK((reset ? whole > 0.95 : whole < 0.5));
  }
}

// What is read before the first task is the net as it starts, through whatever it is read.
TEST_CASE("averages of weights are read before training as the weights are", "[numeric]") {
  const auto begun = [](const std::string& strategy) {
    const Config config = sequence_of(strategy, "class_il", "dense");
    Trainer trainer({config}, in_double());
    std::vector<std::pair<std::int64_t, double>> all;
    const auto rows = evaluate(trainer, {0, "train", false, {1}});
    for (const EvalRow& row : rows[0]) all.emplace_back(row.n_correct, row.loss);
    return all;
  };
  const auto plain = begun("finetune");
  REQUIRE(plain.size() >= 10);
  CHECK(begun("cls_er") == plain);
}

// Passes beside a step's own run its streams, and ask nothing of the host in the middle of it.
TEST_CASE("operations are counted where a strategy looks within phases", "[numeric]") {
  for (const std::string strategy : {"cls_er", "mir", "er"}) {
    CAPTURE(strategy);
    const Config config = sequence_of(strategy, "class_il", "acdc");
    Trainer trainer({config}, in_double());
    for (std::int64_t stage = 0; stage < 2; ++stage) {
      trainer.begin_stage(stage);
      for (std::int64_t s = 0; s < trainer.stage_steps(stage); ++s) trainer.advance(stage, s, 1);
      trainer.end_stage(stage);
    }
    // At least three forward passes of eleven examples in each step, at the least density.
    const double least = 0.4 * 3 * 11 * 2 * (784 * 9) *
                         static_cast<double>(trainer.stage_steps(0) + trainer.stage_steps(1));
    CHECK(trainer.flops().training(0) > least);
  }
}

// Exact Fisher information is a forward pass and, for each output that the task's examples are read
// with, one back and one of squares.
TEST_CASE("importances cost by the outputs of the task that they are taken of", "[numeric]") {
  const Config config =
      sequence_of("ewc", "task_il", "dense",
                  {{"tasks", "4"}, {"task_classes", "2,5,1,2"}, {"fisher_examples", "10"}});
  Trainer trainer({config}, in_double());
  std::vector<double> cost;
  for (std::int64_t stage = 0; stage < 4; ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t s = 0; s < trainer.stage_steps(stage); ++s) trainer.advance(stage, s, 1);
    const double before = trainer.flops().training(0);
    trainer.end_stage(stage);
    cost.push_back(trainer.flops().training(0) - before);
  }
  CHECK(cost[0] > 0);
  CHECK(cost[1] == Approx(cost[0] * (1 + 2 * 5) / (1 + 2 * 2)).epsilon(1e-9));
  CHECK(cost[2] == Approx(cost[0] * (1 + 2 * 1) / (1 + 2 * 2)).epsilon(1e-9));
  CHECK(cost[3] == 0);  // nothing comes after the last
}

// The second gradient of such a step is of the same loss: what enters a memory enters after it.
TEST_CASE("a memory of outputs is not written before all gradients of its step are taken",
          "[numeric]") {
  const auto trained = [](const std::string& weights, const Settings& more) {
    const Config config = sequence_of("der", "class_il", weights, more);
    Trainer trainer({config}, in_double());
    for (std::int64_t stage = 0; stage < 3; ++stage) {
      trainer.begin_stage(stage);
      for (std::int64_t s = 0; s < trainer.stage_steps(stage); ++s) trainer.advance(stage, s, 1);
      trainer.end_stage(stage);
    }
    return net_of(trainer).values;
  };
  // At a radius of nothing SAM is plain training; a buffer that is replayed whole shows it.
  const Settings whole = {{"buffer", "6"}, {"replay_batch", "6"}};
  Settings sam = whole;
  sam["radius"] = "1e-300";
  const Tensors plain = trained("dense", whole), perturbed = trained("sam", sam);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    CAPTURE(i);
    CHECK(torch::allclose(plain[i], perturbed[i], 1e-9, 1e-12));
  }
}

// What drops go by is the gradient of the loss, in either storage.
TEST_CASE("strategies that change gradients leave masks the same in both storages", "[numeric]") {
  for (const std::string strategy : {"ewc_online", "mas", "si", "agem", "gem", "cls_er", "mir"}) {
    CAPTURE(strategy);
    const Config config = sequence_of(strategy, "class_il", "mest",
                                      {{"update_interval", "2"}, {"update_interval_epochs", "0"}});
    TrainerOptions options = in_double();
    Trainer masked({config}, options);
    options.storage.assign(3, Storage::kSparse);
    Trainer sparse({config}, options);
    for (Trainer* each : {&masked, &sparse}) {
      for (std::int64_t stage = 0; stage < 3; ++stage) {
        each->begin_stage(stage);
        for (std::int64_t s = 0; s < each->stage_steps(stage); ++s) each->advance(stage, s, 1);
        each->end_stage(stage);
      }
    }
    const Net a = net_of(masked), b = net_of(sparse);
    for (std::size_t i = 0; i < a.values.size(); ++i) {
      CAPTURE(i);
      REQUIRE(torch::equal(a.active[i], b.active[i]));
      CHECK(torch::allclose(a.values[i], b.values[i], 1e-8, 1e-10));
    }
  }
}

TEST_CASE("shares that are alike for all tasks, kept at each task's end alone", "[numeric]") {
  const auto [strategy, share] = GENERATE(
      table<std::string, std::string>({{"packnet", "task_keep"}, {"spacenet", "reserved_units"}}));
  for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
    CAPTURE(strategy, scenario);
    const Config config = sequence_of(strategy, scenario, "static",
                                      {{share, "0"}, {"retrain_share", "0"}, {"tasks", "5"}});
    Trainer trainer({config}, in_double());
    Course course(trainer, config);
    for (std::int64_t stage = 0; stage < 5; ++stage) course.require_stage(stage);
    course.require_accuracy();
  }
}

TEST_CASE("tasks that train within units drawn for them and read no others", "[numeric]") {
  for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
    for (const std::string weights : {"dense", "static"}) {
      for (const std::string again : {"0", "0.4"}) {
        for (const std::string storage : {"masked", "sparse"}) {
          if (weights == "dense" && storage == "sparse") continue;
          CAPTURE(scenario, weights, again, storage);
          const Config config = sequence_of("spacenet", scenario, weights,
                                            {{"widths", "19,13"},
                                             {"task_units", "0.3"},
                                             {"reserved_units", again == "0" ? "0.15" : "0"},
                                             {"retrain_share", again}});
          TrainerOptions options = in_double();
          if (storage == "sparse") options.storage.assign(3, Storage::kSparse);
          Trainer trainer({config}, options);
          Course course(trainer, config);
          for (std::int64_t stage = 0; stage < 5; ++stage) course.require_stage(stage);
          course.require_accuracy();
        }
      }
    }
  }
}

// Whatever moves the others, and in whichever storage: read through its own net, a finished task
// has the same right answers after each later one, and its weights are the same to the bit.
TEST_CASE("what a task owns stays as it was", "[numeric]") {
  const std::string strategy = GENERATE("packnet", "wsn");
  CAPTURE(strategy);
  std::size_t served = 0;
  for (const Part& method : parts_of("weights")) {
    for (const std::string storage : {"masked", "sparse"}) {
      for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
        Settings more = {{"momentum", "0.9"},      {"weight_decay", "0.01"},
                         {"lr", "0.05"},           {"storage", storage},
                         {"update_interval", "3"}, {"update_interval_epochs", "0"}};
        std::erase_if(more, [&](const auto& said) {
          return option(said.first).of_part && said.first.rfind("update", 0) == 0 &&
                 std::count(method.uses.begin(), method.uses.end(), said.first) == 0;
        });
        std::optional<Config> config;
        try {
          config = sequence_of(strategy, scenario, method.name, more);
          RunCheck("cpu").check(*config);
        } catch (const ConfigError&) {
          continue;
        }
        CAPTURE(method.name, storage, scenario);
        TrainerOptions options = in_double();
        if (storage == "sparse") options.storage.assign(3, Storage::kSparse);
        Trainer trainer({*config}, options);
        std::map<std::string, std::int64_t> correct;  // by task and read-out, as it was learned
        std::map<std::string, std::map<std::int64_t, double>> owned;
        for (std::int64_t stage = 0; stage < 4; ++stage) {
          trainer.begin_stage(stage);
          const std::int64_t steps = trainer.stage_steps(stage);
          for (std::int64_t s = 0; s < steps; ++s) trainer.advance(stage, s, 1);
          trainer.end_stage(stage);
          const auto rows = evaluate(trainer, {stage + 1, "train", false, {1}});
          for (const EvalRow& row : rows[0]) {
            if (row.task > stage + 1) continue;
            const std::string read = std::to_string(row.task) + row.readout.weights.stream;
            CAPTURE(stage, read);
            CHECK(row.readout.net == "task");
            const auto [found, first] = correct.emplace(read, row.n_correct);
            REQUIRE(first == (row.task == stage + 1));
            REQUIRE(found->second == row.n_correct);
          }
          for (const Linear* layer : trainer.model().linears()) {
            const Parameter& weight = layer->weight;
            if (layer->connections == nullptr) continue;  // exempt
            const at::Tensor owner = weight.slots.at(strategy + ".owner").values;
            const std::vector<std::int64_t> stored = layer->connections->active_set(0).positions();
            std::map<std::int64_t, double> now;
            const bool dense = layer->connections->is_dense();
            for (std::size_t i = 0; i < stored.size(); ++i) {
              const std::int64_t at = dense ? stored[i] : static_cast<std::int64_t>(i);
              if (owner[at].item<double>() <= 0) continue;
              now[stored[i]] = weight.flat()[at].item<double>();
            }
            REQUIRE(static_cast<std::int64_t>(now.size()) ==
                    owner.gt(0).sum().item<std::int64_t>());
            // A choice by scores may be the last task's again.
            const bool more_is_owned = now.size() > owned[weight.name].size();
            REQUIRE((more_is_owned || (strategy == "wsn" && stage > 0)));
            for (const auto& [position, value] : owned[weight.name]) {
              REQUIRE(now.at(position) == value);
            }
            owned[weight.name] = now;
          }
        }
        ++served;
      }
    }
  }
  CHECK(served > (strategy == "wsn" ? 25u : 50u));
}

// Whatever moves the others, and in whichever storage: at the same inputs a finished task's hidden
// units, and its outputs where it has some of its own, compute the same to the bit after each later
// task, in each stream that the method has.
TEST_CASE("what reserved units and their task's outputs compute stays the same to the bit",
          "[numeric]") {
  const std::string within = GENERATE("0", "0.4");
  CAPTURE(within);
  std::set<std::string> served;
  for (const Part& method : parts_of("weights")) {
    for (const std::string storage : {"masked", "sparse"}) {
      for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
        Settings more = {
            {"momentum", "0.9"},  {"weight_decay", "0.01"}, {"lr", "0.05"},
            {"storage", storage}, {"update_interval", "3"}, {"update_interval_epochs", "0"},
            {"widths", "19,13"},  {"grow_init", "normal"},  {"task_units", within}};
        if (method.name == "set") more["retrain_share"] = "0";
        std::erase_if(more, [&](const auto& said) {
          return option(said.first).of_part && said.first != "retrain_share" &&
                 (said.first.rfind("update", 0) == 0 || said.first.rfind("grow", 0) == 0) &&
                 std::count(method.uses.begin(), method.uses.end(), said.first) == 0;
        });
        std::optional<Config> config;
        try {
          config = sequence_of("spacenet", scenario, method.name, more);
          RunCheck("cpu").check(*config);
        } catch (const ConfigError&) {
          continue;
        }
        CAPTURE(method.name, storage, scenario);
        TrainerOptions options;
        if (storage == "sparse") options.storage.assign(3, Storage::kSparse);
        Trainer trainer({*config}, options);
        const std::vector<Linear*> layers = trainer.model().linears();
        std::vector<std::int64_t> examples;
        for (std::int64_t i = 0; i < 24; ++i) {
          examples.push_back(trainer.tasks(0).tasks[static_cast<std::size_t>(i % 5)].train[i / 5]);
        }
        const at::Tensor x = trainer.batches().make({examples}, 24, OutputsOf::kAll).x;
        const bool full_too = layers[0]->connections->active_flags().defined();
        const auto computed = [&] {  // by stream, then layer, [n,out]
          std::vector<at::Tensor> all;
          for (const auto wanted : {StreamsWanted::kSparse, StreamsWanted::kFull}) {
            if (wanted == StreamsWanted::kFull && !full_too) continue;
            Context context;
            context.plans.weights.wanted = wanted;
            context.observe_product = [&all](const Linear&, const at::Tensor&,
                                             const at::Tensor& y) {
              all.push_back(y.detach()[0].clone());
            };
            trainer.model().forward(x, context);
          }
          return all;
        };
        std::vector<std::pair<std::size_t, std::int64_t>> fixed;  // product and unit
        std::vector<at::Tensor> kept;                             // what they computed
        for (std::int64_t stage = 0; stage < 4; ++stage) {
          trainer.begin_stage(stage);
          const std::int64_t steps = trainer.stage_steps(stage);
          for (std::int64_t s = 0; s < steps; ++s) {
            trainer.advance(stage, s, 1);
            if (s % 3 != 0 || fixed.empty()) continue;
            const std::vector<at::Tensor> now = computed();
            CAPTURE(stage, s);
            for (std::size_t i = 0; i < fixed.size(); ++i) {
              const auto [product, unit] = fixed[i];
              CAPTURE(product, unit);
              REQUIRE(torch::equal(now[product].select(1, unit), kept[i]));
            }
          }
          trainer.end_stage(stage);
          const std::vector<at::Tensor> now = computed();
          std::size_t moving = 0;
          const auto fix = [&](std::size_t layer, std::int64_t unit) {
            for (std::size_t p = layer; p < now.size(); p += layers.size()) {
              fixed.emplace_back(p, unit);
              kept.push_back(now[p].select(1, unit).clone());
              moving += kept.back().max().item<float>() > kept.back().min().item<float>();
            }
          };
          for (const auto& [name, values] : trainer.save(0)) {
            if (name.rfind("strategy/spacenet.units", 0) != 0) continue;
            for (std::int64_t u = 0; u < values.numel(); ++u) {
              if (values[u].item<double>() == static_cast<double>(stage + 1)) {
                fix(static_cast<std::size_t>(name.back() - '0'), u);
              }
            }
          }
          REQUIRE(moving > 2);
          if (scenario == "domain_il") continue;
          const auto [first, last] = trainer.tasks(0).task_outputs[static_cast<std::size_t>(stage)];
          for (std::int64_t c = first; c < last; ++c) fix(2, c);
        }
        served.insert(method.name + " " + storage);
      }
    }
  }
  CHECK(served.size() > 12);
  for (const char* each : {"static masked", "static sparse", "set masked", "set sparse",
                           "rigl masked", "rigl sparse", "dense masked", "alternate masked"}) {
    CAPTURE(each);
    CHECK(served.count(each) == 1);
  }
}

TEST_CASE("what is replayed, pulled and held is the same in tasks of permuted inputs",
          "[numeric]") {
  for (const std::string strategy :
       {"finetune", "er", "derpp", "agem", "gem", "cls_er", "mir", "ewc", "mas", "lwf", "icarl",
        "packnet", "wsn", "hat", "spacenet"}) {
    for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
      if (strategy == "icarl" && scenario == "domain_il") continue;  // is refused
      DYNAMIC_SECTION(strategy << ' ' << scenario) {
        const Config config = sequence_of(strategy, scenario, "static",
                                          {{"tasks_by", "permutation"},
                                           {"tasks", "3"},
                                           {"train_examples", "60"},
                                           {"epochs", "1"}});
        Trainer trainer({config}, in_double());
        Course course(trainer, config);
        for (std::int64_t stage = 0; stage < 3; ++stage) course.require_stage(stage);
        course.require_accuracy();
      }
    }
  }
}

TEST_CASE("what is replayed in a stream keeps the angle under which it was shown", "[numeric]") {
  for (const std::string strategy : {"finetune", "er", "er_ace", "der", "derpp", "mir", "cls_er"}) {
    for (const std::string weights : {"dense", "static"}) {
      DYNAMIC_SECTION(strategy << ' ' << weights) {
        const Config config =
            sequence_of(strategy, "general_360", weights,
                        {{"epochs", "1"}, {"pair_rounds", "2"}, {"pair_classes", "8"}});
        Trainer trainer({config}, in_double());
        REQUIRE(trainer.stages() == 1);
        Course course(trainer, config);
        course.require_stage(0);
        course.require_accuracy();
      }
    }
  }
}

}  // namespace tandem::test::train_strategies_numeric
