// Nested masks and alignment that stays within layers: steps of the trainer against the same steps
// written out in double, what the masks hold, how they are drawn, kept and charged.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "support/step_support.h"
#include "topology/masked_connections.h"
#include "train/trainer.h"

namespace tandem::test::train_nested_numeric {

using namespace tandem::test;

namespace {

const char* const kShares = "1,0.5,0.2";

// Of layer l: how many of the nested masks hold each position, [in,out].
at::Tensor depth_of(Trainer& trainer, std::size_t l, std::int64_t r = 0) {
  const Linear& layer = *trainer.model().linears()[l];
  const auto& masked = dynamic_cast<const MaskedConnections&>(*layer.connections);
  return masked.nested_depth()[r].view({layer.inputs(), layer.outputs()});
}

at::Tensor weight_of(Trainer& trainer, std::size_t l, std::int64_t r = 0) {
  return trainer.model().linears()[l]->weight.value[r].detach().clone();
}

// Counts, nesting and rank of the masks that were just chosen.
void require_nested(Trainer& trainer, std::int64_t r, const std::vector<double>& shares) {
  const Start& start = trainer.run(r).policies.weights.start;
  for (std::size_t l = 0; l < trainer.layers().size(); ++l) {
    CAPTURE(l);
    const Linear& layer = *trainer.model().linears()[l];
    if (layer.connections == nullptr) continue;
    const at::Tensor depth = depth_of(trainer, l, r), w = weight_of(trainer, l, r).abs();
    const at::Tensor active = layer.connections->dense_flags()[r].view_as(depth);
    REQUIRE(torch::equal(depth.gt(0), active.ne(0)));
    REQUIRE(depth.max().item<std::int64_t>() <= static_cast<std::int64_t>(shares.size()));
    for (std::size_t i = 1; i < shares.size(); ++i) {
      CAPTURE(i);
      const auto budgets = spread_budget(trainer.layers(), start, start.density * shares[i]);
      const auto own = static_cast<std::int64_t>(i);
      const at::Tensor inside = depth.gt(own), beside = depth.eq(own);
      REQUIRE(inside.sum().item<std::int64_t>() ==
              std::min(budgets[l].active, layer.connections->active(r)));
      REQUIRE(beside.any().item<bool>());
      REQUIRE(w.masked_select(inside).min().item<double>() >=
              w.masked_select(beside).max().item<double>());
    }
  }
}

struct Step {
  std::vector<at::Tensor> weights, gradients, masks;  // of each layer before the step
  double loss = 0, alignment = 0;
  std::vector<std::int64_t> full;  // per layer, whether its full stream runs
};

// The step of replica r by plain operations.
Step written_out(Trainer& trainer, std::int64_t r, std::int64_t step) {
  const Policies& policies = trainer.run(r).policies.weights;
  const ReplicaPlan plan = plan_replica(trainer.run(r), 0, step);
  const Batch batch = batch_at(trainer, step);
  const std::vector<Linear*> layers = trainer.model().linears();
  const bool layered = policies.schedule.draws_per_layer(), nests = !policies.sets.nested.empty();
  Step out;
  std::vector<at::Tensor> leaves;
  at::Tensor h = batch.x[r], alignment = torch::zeros({}, torch::kFloat64);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const at::Tensor w = weight_of(trainer, l, r).requires_grad_(true);
    const at::Tensor flags = nests ? depth_of(trainer, l, r).gt(plan.nested)
                                   : layers[l]->connections->dense_flags()[r].view_as(w).ne(0);
    const at::Tensor mask = flags.to(torch::kFloat64);
    const at::Tensor bias = layers[l]->bias.value[r].detach();
    const auto streams = [&](const at::Tensor& x) {
      return std::pair(torch::matmul(x, w) + bias, torch::matmul(x, w * mask) + bias);
    };
    const auto [full, sparse] = streams(h);
    const auto [a, b] = streams(policies.alignment.detached ? h.detach() : h);
    alignment =
        alignment + torch::smooth_l1_loss(a, b.detach()) + torch::smooth_l1_loss(b, a.detach());
    const bool runs_full =
        layered ? (plan.levels.weights.full_layers >> l & 1) != 0 : plan.levels.weights.full;
    const at::Tensor z = runs_full ? full : sparse;
    h = l + 1 < layers.size() ? torch::relu(z) : z;
    leaves.push_back(w);
    out.weights.push_back(w.detach());
    out.masks.push_back(flags);
    out.full.push_back(runs_full);
  }
  const at::Tensor task = torch::cross_entropy_loss(h, batch.target[r]);
  const at::Tensor aligned =
      plan.levels.weights.alpha / static_cast<double>(layers.size()) * alignment;
  out.gradients = torch::autograd::grad({task + aligned}, leaves);
  out.loss = task.item<double>();
  out.alignment = aligned.item<double>();
  return out;
}

// Every step of every replica of a group against the step written out.
void require_as_written(const std::vector<Config>& configs) {
  Trainer trainer(configs, in_double());
  trainer.begin_stage(0);
  const auto replicas = static_cast<std::int64_t>(configs.size());
  std::set<std::pair<std::int64_t, bool>> seen;  // draw, stream
  for (std::int64_t s = 0; s < 8; ++s) {
    std::vector<Step> steps;
    for (std::int64_t r = 0; r < replicas; ++r) {
      steps.push_back(written_out(trainer, r, s));
    }
    trainer.clear_losses(std::vector<char>(configs.size(), 1));
    trainer.advance(0, s, 1);
    for (std::int64_t r = 0; r < replicas; ++r) {
      CAPTURE(s, r);
      const Step& step = steps[static_cast<std::size_t>(r)];
      const ReplicaPlan plan = plan_replica(trainer.run(r), 0, s);
      seen.insert({plan.nested, plan.levels.weights.full});
      REQUIRE(trainer.state(r).loss_sum == Approx(step.loss).epsilon(1e-12));
      REQUIRE(trainer.state(r).alignment_sum == Approx(step.alignment).epsilon(1e-12));
      for (std::size_t l = 0; l < step.weights.size(); ++l) {
        CAPTURE(l, plan.nested, step.full[l]);
        const at::Tensor now = weight_of(trainer, l, r);
        const at::Tensor moved = (step.weights[l] - now) / plan.lr;
        REQUIRE(torch::allclose(moved, step.gradients[l], 1e-8, 1e-12));
        if (plan.levels.weights.alpha > 0 || step.full[l]) continue;
        // S is the mask in use, bit for bit.
        const at::Tensor still = now.eq(step.weights[l]);
        REQUIRE(still.logical_or(step.masks[l]).all().item<bool>());
        REQUIRE_FALSE(still.logical_and(step.masks[l]).all().item<bool>());
      }
    }
  }
  REQUIRE(seen.size() > 2);
}

std::vector<Config> three_of(Settings said) {
  std::vector<Config> configs;
  for (const char* seed : {"1", "2", "3"}) {
    said["seed"] = seed;
    configs.push_back(plain_run(said));
  }
  return configs;
}

}  // namespace

TEST_CASE("nested masks hold the largest weights of the mask and are chosen at each update",
          "[numeric]") {
  for (const Settings& more : {Settings{}, Settings{{"density", "1"}, {"budget", "uniform"}},
                               Settings{{"exempt", "layer2"}}, Settings{{"weights", "ssa"}}}) {
    CAPTURE(more);
    Settings said = {
        {"weights", "alternate"}, {"weights_nested", kShares}, {"refresh_interval", "3"}};
    for (const auto& [name, value] : more) said[name] = value;
    Settings other = said;
    other["seed"] = "2";
    Trainer trainer({plain_run(said), plain_run(other)}, in_double());
    trainer.begin_stage(0);
    const std::vector<double> shares = {1, 0.5, 0.2};
    const auto require_all = [&] {
      for (const std::int64_t r : {0, 1}) require_nested(trainer, r, shares);
    };
    require_all();
    int updates = 0, changed = 0;
    for (std::int64_t s = 0; s < 8; ++s) {
      const at::Tensor before = depth_of(trainer, 0).clone();
      const bool updated = trainer.advance(0, s, 1).updated[0] != 0;
      updates += updated;
      changed += !torch::equal(before, depth_of(trainer, 0));
      if (updated) {
        require_all();
      } else {
        REQUIRE(torch::equal(before, depth_of(trainer, 0)));
      }
    }
    REQUIRE(updates == 2);
    REQUIRE(changed == 2);
  }
}

TEST_CASE("steps with nested masks are the steps written out", "[numeric]") {
  const Settings nested = {{"weights_nested", kShares}, {"refresh_interval", "3"}};
  for (const char* draw : {"step", "layer"}) {
    CAPTURE(draw);
    Settings said = nested;
    said["weights"] = "alternate";
    said["weights_draw"] = draw;
    require_as_written({plain_run(said)});
    require_as_written(three_of(said));  // streams of both kinds in one product
    said["weights"] = "ssa";
    said["weights_alpha"] = "3";
    require_as_written({plain_run(said)});
    said["weights_align_every"] = "2";
    require_as_written(three_of(said));
  }
}

TEST_CASE("a pull that stays within layers is that of an input taken as constant", "[numeric]") {
  const Settings said = {{"weights", "ssa"}, {"weights_alpha", "3"}, {"weights_detach", "true"}};
  for (const Settings& more :
       {Settings{}, Settings{{"weights_nested", kShares}}, Settings{{"weights_draw", "layer"}},
        Settings{{"weights_align_every", "2"}}}) {
    CAPTURE(more);
    Settings all = said;
    all.insert(more.begin(), more.end());
    // Without nested masks the draw is always the first: three runs see more of the streams.
    Trainer trainer(three_of(all), in_double());
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < 8; ++s) {
      std::vector<Step> steps;
      for (std::int64_t r = 0; r < 3; ++r) steps.push_back(written_out(trainer, r, s));
      trainer.advance(0, s, 1);
      for (std::int64_t r = 0; r < 3; ++r) {
        const double lr = plan_replica(trainer.run(r), 0, s).lr;
        for (std::size_t l = 0; l < 3; ++l) {
          CAPTURE(s, r, l);
          const Step& step = steps[static_cast<std::size_t>(r)];
          REQUIRE(torch::allclose((step.weights[l] - weight_of(trainer, l, r)) / lr,
                                  step.gradients[l], 1e-8, 1e-12));
        }
      }
    }
  }
}

TEST_CASE("nested masks are drawn uniformly, by the run's own seed and nothing else", "[numeric]") {
  const auto schedule = [](const Settings& said) {
    const Config config = small_run(said);
    return RunSchedule(config, policies_of(config), make_timeline(config, {300}));
  };
  const Settings said = {{"weights", "alternate"}, {"steps", "6000"}};
  Settings nested = said, other;
  nested["weights_nested"] = "1,0.5,0.25,0.1";
  other = nested;
  other["seed_streams"] = "2";
  const RunSchedule plain = schedule(said), own = schedule(nested), another = schedule(other);
  std::vector<int> counts(4, 0), on_full(4, 0);
  int same = 0, full = 0;
  for (std::int64_t s = 0; s < 6000; ++s) {
    const ReplicaPlan plan = plan_replica(own, 0, s);
    REQUIRE(plan.levels.weights.full ==
            plan_replica(plain, 0, s).levels.weights.full);  // nothing shifts
    REQUIRE(plan_replica(plain, 0, s).nested == 0);
    REQUIRE(plan.nested == plan_replica(own, 0, s).nested);
    const auto draw = static_cast<std::size_t>(plan.nested);
    ++counts.at(draw);
    on_full.at(draw) += plan.levels.weights.full;
    full += plan.levels.weights.full;
    same += plan.nested == plan_replica(another, 0, s).nested;
  }
  double chi2 = 0;
  for (const int count : counts) chi2 += (count - 1500.0) * (count - 1500.0) / 1500.0;
  CHECK(chi2 < 16.3);  // 0.1% of three degrees of freedom
  for (const int count : on_full) CHECK(count == Approx(full / 4.0).epsilon(0.12));
  CHECK(same == Approx(1500).epsilon(0.1));
}

TEST_CASE("nested masks come back from a checkpoint as they were chosen", "[numeric]") {
  for (const char* density : {"0.2", "1"}) {
    CAPTURE(density);
    const Config config = plain_run({{"weights", "alternate"},
                                     {"weights_nested", kShares},
                                     {"density", density},
                                     {"budget", "uniform"},
                                     {"lr", "0.5"},
                                     {"refresh_interval", "3"}});
    Trainer trainer({config}, in_double()), resumed({config}, in_double());
    for (Trainer* each : {&trainer, &resumed}) each->begin_stage(0);
    for (std::int64_t s = 0; s < 5; ++s) trainer.advance(0, s, 1);
    resumed.load(0, trainer.save(0));
    for (std::size_t l = 0; l < 3; ++l) {
      REQUIRE(torch::equal(depth_of(resumed, l), depth_of(trainer, l)));
    }
    // Weights have moved since the last choice: a choice now would be another.
    std::vector<std::int64_t> counts;
    for (const std::int64_t i : {0, 1, 2}) {
      counts.push_back(depth_of(trainer, 0).gt(i).sum().item<std::int64_t>());
    }
    const at::Tensor kept = depth_of(trainer, 0).clone();
    trainer.model().linears()[0]->connections->choose_nested(
        {1}, {{counts[0]}, {counts[1]}, {counts[2]}});
    REQUIRE_FALSE(torch::equal(kept, depth_of(trainer, 0)));
  }
}

TEST_CASE("a checkpoint without the nested masks of its config is refused", "[numeric]") {
  const Settings said = {{"weights", "alternate"}};
  Settings nested = said, more = said;
  nested["weights_nested"] = "1,0.5";
  more["weights_nested"] = kShares;
  Trainer plain({plain_run(said)}, {}), two({plain_run(nested)}, {}), three({plain_run(more)}, {});
  REQUIRE_THROWS_AS(two.load(0, plain.save(0)), StoreError);
  REQUIRE_THROWS_AS(two.load(0, three.save(0)), StoreError);
  two.load(0, two.save(0));
}

TEST_CASE("nested masks and pulls within layers are charged as they are used", "[numeric]") {
  const std::vector<Settings> all = {
      {{"weights", "alternate"}},
      {{"weights", "alternate"}, {"weights_draw", "layer"}},
      {{"weights", "ssa"}},
      {{"weights", "ssa"}, {"weights_detach", "true"}, {"weights_align_every", "2"}},
      {{"weights", "ssa"}, {"weights_detach", "true"}, {"weights_draw", "layer"}}};
  for (Settings said : all) {
    for (const char* shares : {"", kShares}) {
      CAPTURE(said, shares);
      said["weights_nested"] = shares;
      said["refresh_interval"] = "3";
      said["exempt"] = "layer2";
      const Config config = plain_run(said);
      Trainer trainer({config}, {});
      trainer.begin_stage(0);
      const Policies& policies = trainer.run(0).policies.weights;
      double expected = 0;
      for (std::int64_t s = 0; s < 8; ++s) {
        const ReplicaPlan plan = plan_replica(trainer.run(0), 0, s);
        const bool layered = policies.schedule.draws_per_layer(),
                   both = plan.levels.weights.alpha > 0;
        for (std::size_t l = 0; l < 3; ++l) {
          const Linear& layer = *trainer.model().linears()[l];
          const bool nests = layer.connections != nullptr && !policies.sets.nested.empty();
          const auto full = static_cast<double>(layer.inputs() * layer.outputs());
          const double sparse = nests ? depth_of(trainer, l).gt(plan.nested).sum().item<double>()
                                : layer.connections == nullptr
                                    ? full
                                    : static_cast<double>(layer.connections->active(0));
          const bool runs_full =
              layered ? (plan.levels.weights.full_layers >> l & 1) != 0 : plan.levels.weights.full;
          const double running = runs_full ? full : sparse, other = full + sparse - running;
          expected +=
              2 * 32 * (3 * running + (both ? policies.alignment.detached ? 2 : 3 : 0) * other);
        }
        trainer.advance(0, s, 1);
      }
      REQUIRE(trainer.flops().training(0) == Approx(expected).epsilon(1e-12));
    }
  }
}

TEST_CASE("nested masks and pulls within layers are refused where they can't be", "[numeric]") {
  const auto refused = [](const Settings& said, const std::string& word) {
    CAPTURE(said);
    REQUIRE_THROWS_WITH(policies_of(small_run(said), Level::kWeights), Catch::Contains(word));
  };
  for (const char* shares :
       {"0.5", "1,0.5,0.5", "1,0.2,0.5", "1,0.5,0", "1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2"}) {
    refused({{"weights", "alternate"}, {"weights_nested", shares}}, shares);
  }
  const Settings nested = {{"weights", "ssa"}, {"weights_nested", kShares}};
  const auto with = [](Settings said, const char* option, const char* value) {
    said[option] = value;
    return said;
  };
  refused(with(nested, "superset_density", "0.5"), "superset-density");
  refused(with(nested, "granularity", "block"), "granularity");
  refused(with(nested, "mask_source", "gradient"), "mask-source");
  const Settings local = {{"weights", "ssa"}, {"weights_detach", "true"}};
  refused(with(local, "weights_counterpart", "propagated"), "propagated");
  Settings logits = with(local, "weights_counterpart", "propagated");
  refused(with(logits, "weights_site", "logits"), "logits");
  REQUIRE(policies_of(small_run(nested), Level::kWeights).sets.nested ==
          std::vector<double>{1, 0.5, 0.2});
  REQUIRE(policies_of(small_run(local), Level::kWeights).alignment.detached);
}

}  // namespace tandem::test::train_nested_numeric
