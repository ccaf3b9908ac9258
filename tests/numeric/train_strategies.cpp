// The formula of each strategy, written out once more with plain tensors and autograd in double
// precision: what one step makes of the weights, at every step of a sequence of tasks. The rows
// that a step takes are asked of a second object of the strategy; everything else is this file's
// own.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <memory>

#include "config/seeds.h"
#include "continual/strategy.h"
#include "data/example.h"
#include "data/sampler.h"
#include "eval/evaluate.h"
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
  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>& replays) override {
    at::Tensor sum = entropy_of(net.outputs(current.x), current, current.allowed).sum();
    const Rows& replay = replays[0];
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

void add(Tensors& sums, const Tensors& terms, double factor) {
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (sums.size() <= i) sums.push_back(torch::zeros_like(terms[i]));
    sums[i] = sums[i] + factor * terms[i];
  }
}

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
  bool heads;
  std::int64_t head;  // its outputs
  bool shared;
  std::unique_ptr<Net> old;
  int tasks = 0;  // that have ended
  Lwf(double l, double t, const std::string& scenario, std::int64_t h)
      : lambda(l),
        temperature(t),
        heads(scenario == "task_il"),
        head(h),
        shared(scenario == "domain_il") {}

  at::Tensor loss(const Net& net, const Rows& current, const std::vector<Rows>&) override {
    at::Tensor sum = task_loss(net, current);
    if (tasks == 0) return sum;
    const at::Tensor was = old->outputs(current.x).detach(), now = net.outputs(current.x);
    const auto distance = [&](std::int64_t first, std::int64_t count) {
      const at::Tensor p = torch::softmax(was.narrow(1, first, count) / temperature, 1);
      const at::Tensor q = torch::log_softmax(now.narrow(1, first, count) / temperature, 1);
      return -(p * q).sum(1).mean();
    };
    if (!heads) return sum + lambda * (shared ? tasks : 1) * distance(0, now.size(1));
    for (int t = 0; t < tasks; ++t) sum = sum + lambda * distance(head * t, head);
    return sum;
  }
  void task_ends(const Net& net, const Rows&) override {
    old = std::make_unique<Net>(net);
    ++tasks;
  }
};

std::unique_ptr<Rule> rule_of(const Config& config) {
  const std::string& name = config.text("strategy");
  const auto number = [&config](const char* option) { return config.real(option); };
  if (name == "finetune" || name == "cumulative" || name == "gdumb") {
    return std::make_unique<Rule>();
  }
  if (name == "er") return std::make_unique<Er>();
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
    return std::make_unique<Lwf>(number("stability"), number("distill_temperature"),
                                 config.text("scenario"),
                                 config.text("tasks_by") == "classes" ? 2 : 10);
  }
  return nullptr;
}

class Course {
 public:
  Course(Trainer& trainer, const Config& config) : trainer_(trainer), config_(config) {
    twin_ =
        strategies().at("strategy", config.text("strategy"))({1, {config}, {trainer.tasks(0)}, {}});
    rule_ = rule_of(config);
    REQUIRE(rule_ != nullptr);
  }

  void require_stage(std::int64_t stage) {
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
      for (const std::int64_t each : sampler.batch(step)) {
        current.push_back({train[static_cast<std::size_t>(each)]});
      }
      std::vector<std::vector<BatchRow>> replays(twin_->needs().replays.size());
      twin_->batch(0, steps_++, current, replays);
      const Rows own = rows_of(current);
      std::vector<Rows> others;
      for (const auto& each : replays) others.push_back(rows_of(each));
      const Net before = net_of(trainer_);
      const at::Tensor loss = rule_->loss(before, own, others);
      Tensors gradients = gradients_of(loss, before);
      rule_->change(gradients, before, others);
      const double lr = plan_replica(trainer_.run(0), stage, step).lr;
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
    // A memory of examples is all that the twin has, and only A-GEM's is filled here.
    if (config_.text("strategy") == "agem") twin_->after_task(stage + 1, {train});
    rule_->task_ends(net_of(trainer_), rows_of(all));
    trainer_.end_stage(stage);
  }

  const Rule& rule() const { return *rule_; }

  // The program's counts on each task's training examples, against this net's.
  void require_accuracy() {
    const Net net = net_of(trainer_);
    const auto rows = evaluate(trainer_, {1, "train", false, {1}});
    for (const EvalRow& row : rows[0]) {
      const bool own_net =
          (config_.text("weights") == "dense") == (row.readout.weights.stream == "full");
      if (row.readout.masked || !own_net) continue;
      CAPTURE(row.task);
      std::vector<BatchRow> all;
      for (const std::int64_t each :
           trainer_.tasks(0).tasks[static_cast<std::size_t>(row.task - 1)].train) {
        all.push_back({example_of(each, row.task)});
      }
      const Rows own = rows_of(all);
      const at::Tensor z = net.outputs(own.x).masked_fill(own.allowed.logical_not(), -INFINITY);
      REQUIRE(row.n_total == static_cast<std::int64_t>(all.size()));
      REQUIRE(row.n_correct == (z.argmax(1) == own.target).sum().item<std::int64_t>());
    }
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
      } else {
        REQUIRE(static_cast<std::size_t>(sequence.task_of_class[label] - 1) == task);
      }
      seen.push_back(x);
      made.target[i] =
          sequence.views.empty() ? sequence.target[label] : sequence.target_by_task[task][label];
      const auto [first, last] = sequence.mask_training
                                     ? sequence.task_outputs[task]
                                     : std::pair<std::int64_t, std::int64_t>{0, sequence.outputs};
      made.allowed[i].narrow(0, first, last - first).fill_(true);
    }
    made.x = torch::stack(seen);
    return made;
  }

  Trainer& trainer_;
  Config config_;
  std::unique_ptr<Strategy> twin_;
  std::unique_ptr<Rule> rule_;
  Net beginning_;
  std::int64_t steps_ = 0;
};

Config sequence_of(const std::string& strategy, const std::string& scenario,
                   const std::string& weights, const Settings& more = {}) {
  Settings said = {{"strategy", strategy}, {"scenario", scenario},    {"weights", weights},
                   {"tasks", "5"},         {"train_examples", "140"}, {"widths", "9,7"},
                   {"batch", "11"},        {"epochs", "2"},           {"lr", "0.2"},
                   {"momentum", "0"},      {"weight_decay", "0"},     {"clip", "0"}};
  if (weights != "dense") said["density"] = "0.4";
  const Part& facts = part("strategy", strategy);
  const Settings own = {{"buffer", "17"},
                        {"replay_batch", "6"},
                        {"stability", "3"},
                        {"replay_weight", "0.7"},
                        {"fisher_decay", "0.6"},
                        {"si_damping", "0.01"},
                        {"distill_temperature", "1.7"}};
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
      for (const std::string weights : {"dense", "static"}) {
        DYNAMIC_SECTION(strategy << ' ' << scenario << ' ' << weights) {
          const Config config = sequence_of(strategy, scenario, weights);
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
          }
        }
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
  for (const std::string strategy : {"ewc_online", "mas", "si", "agem"}) {
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

TEST_CASE("what is replayed, pulled and held is the same in tasks of permuted inputs",
          "[numeric]") {
  for (const std::string strategy : {"finetune", "er", "derpp", "agem", "ewc", "mas", "lwf"}) {
    for (const std::string scenario : {"class_il", "task_il", "domain_il"}) {
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

}  // namespace tandem::test::train_strategies_numeric
