// Options of the two levels. Budgets are read by every method, since each may be pruned or given
// fewer blocks at read-out; the rest is read only by the parts that list it in their `uses`.
#include "config/options.h"

namespace tandem {
namespace {

using enum OptionType;

std::vector<Option> budget_options() {
  return {
      {.name = "density",
       .type = kReal,
       .default_value = "0.1",
       .neutral = "1",
       .help = "kept share of the weights, exempt layers left out",
       .minimum = 0,
       .maximum = 1,
       .per_replica = true},
      {.name = "budget",
       .type = kChoice,
       .default_value = "er",
       .neutral = "er",
       .help = "how density is spread over layers",
       .choices = {"uniform", "er", "erk"}},
      {.name = "exempt",
       .type = kText,
       .default_value = "",
       .neutral = "",
       .help = "names of layers that stay dense, joined by ','"},
  };
}

std::vector<Option> drop_and_grow_options() {
  return {
      {.name = "drop_fraction",
       .type = kReal,
       .default_value = "0.3",
       .neutral = "-1",
       .help = "share of a layer's active weights dropped by the first update",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "drop_schedule",
       .type = kChoice,
       .default_value = "cosine",
       .neutral = "none",
       .help = "drop_fraction over training",
       .choices = {"constant", "cosine", "linear"},
       .of_part = true},
      {.name = "update_interval",
       .type = kInt,
       .default_value = "100",
       .neutral = "-1",
       .help = "time between topology updates",
       .unit = "steps",
       .minimum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "update_interval_epochs",
       .type = kReal,
       .default_value = "0",
       .neutral = "-1",
       .help = "the same in epochs; 0: update_interval decides",
       .unit = "epochs",
       .minimum = 0,
       .of_part = true},
      {.name = "update_end",
       .type = kReal,
       .default_value = "0.75",
       .neutral = "-1",
       .help = "share of training after which the topology stays",
       .minimum = 0,
       .maximum = 1,
       .of_part = true},
      {.name = "drop_rule",
       .type = kChoice,
       .default_value = "magnitude",
       .neutral = "none",
       .help = "drop the smallest, or the smallest of each sign (SET)",
       .choices = {"magnitude", "set_signed"},
       .of_part = true},
      {.name = "grow_init",
       .type = kChoice,
       .default_value = "zero",
       .neutral = "none",
       .help = "value of a newborn weight: 0, or a draw from N(0, 0.1^2)",
       .choices = {"zero", "normal"},
       .of_part = true},
      {.name = "update_order",
       .type = kChoice,
       .default_value = "step_then_update",
       .neutral = "none",
       .help = "a topology update follows a step or stands in its place",
       .choices = {"step_then_update", "update_instead"},
       .of_part = true},
      {.name = "regrow_dropped",
       .type = kChoice,
       .default_value = "keep",
       .neutral = "none",
       .help = "value of a weight that is dropped and grown by one update",
       .choices = {"keep", "zero"},
       .of_part = true},
  };
}

std::vector<Option> prune_options() {
  return {
      {.name = "prune_begin",
       .type = kReal,
       .default_value = "0",
       .neutral = "-1",
       .help = "share of training where gradual pruning begins",
       .minimum = 0,
       .maximum = 1,
       .of_part = true},
      {.name = "prune_end",
       .type = kReal,
       .default_value = "0.75",
       .neutral = "-1",
       .help = "share of training where it reaches density",
       .minimum = 0,
       .maximum = 1,
       .of_part = true},
      {.name = "prune_interval",
       .type = kInt,
       .default_value = "100",
       .neutral = "-1",
       .help = "time between prunings",
       .unit = "steps",
       .minimum = 1,
       .of_part = true},
  };
}

std::vector<Option> dormant_options() {
  return {
      {.name = "refresh_interval",
       .type = kInt,
       .default_value = "100",
       .neutral = "-1",
       .help = "time between rankings of all weights, dormant ones too",
       .unit = "steps",
       .minimum = 1,
       .of_part = true},
      {.name = "dormant_decay",
       .type = kReal,
       .default_value = "0",
       .neutral = "-1",
       .help = "share that a dormant weight loses per step, beside weight_decay",
       .minimum = 0,
       .maximum = 1,
       .of_part = true},
      {.name = "dormant_decay_when",
       .type = kChoice,
       .default_value = "sparse",
       .neutral = "none",
       .help = "steps on which dormant_decay acts",
       .choices = {"sparse", "always"},
       .of_part = true},
      {.name = "dormant_decay_lr_scaled",
       .type = kFlag,
       .default_value = "false",
       .neutral = "false",
       .help = "dormant_decay is multiplied by the learning rate",
       .of_part = true},
  };
}

// Schedule and alignment, alike for both levels.
std::vector<Option> stream_options(const std::string& level) {
  return {
      {.name = level + "_p",
       .type = kReal,
       .default_value = "0.5",
       .neutral = "-1",
       .help = "probability that the full stream runs",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = level + "_alpha",
       .type = kReal,
       .default_value = "10",
       .neutral = "-1",
       .help = "weight of alignment in the loss",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
      {.name = level + "_alpha_warmup",
       .type = kInt,
       .default_value = "0",
       .neutral = "-1",
       .help = "linear warm-up of alpha",
       .unit = "steps",
       .minimum = 0,
       .of_part = true},
      {.name = level + "_lambda_full",
       .type = kReal,
       .default_value = "1",
       .neutral = "-1",
       .help = "pulls the full stream toward the sparse one",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
      {.name = level + "_lambda_sparse",
       .type = kReal,
       .default_value = "1",
       .neutral = "-1",
       .help = "pulls the sparse stream toward the full one",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
  };
}

std::vector<Option> weights_alignment_options() {
  return {
      {.name = "weights_distance",
       .type = kChoice,
       .default_value = "smooth_l1",
       .neutral = "none",
       .help = "distance of the streams' outputs",
       .choices = {"smooth_l1", "mse", "relative_mse", "logit_kl"},
       .of_part = true},
      {.name = "weights_site",
       .type = kChoice,
       .default_value = "pre",
       .neutral = "none",
       .help = "where outputs are compared: before or after the activation, or logits only",
       .choices = {"pre", "post", "logits"},
       .of_part = true},
      {.name = "weights_counterpart",
       .type = kChoice,
       .default_value = "local",
       .neutral = "none",
       .help = "the other stream starts from the same layer input, or from the network's input",
       .choices = {"local", "propagated"},
       .of_part = true},
  };
}

std::vector<Option> attention_only_options() {
  return {
      {.name = "attention_distance",
       .type = kChoice,
       .default_value = "smooth_l1",
       .neutral = "none",
       .help = "distance of the streams' outputs",
       .choices = {"smooth_l1", "mse", "relative_mse"},
       .of_part = true},
      {.name = "attention_gate_in_loss",
       .type = kFlag,
       .default_value = "false",
       .neutral = "false",
       .help = "outputs are compared after the head gate, not before it",
       .of_part = true},
      {.name = "attention_selector",
       .type = kChoice,
       .default_value = "group",
       .neutral = "none",
       .help = "blocks are chosen per group of heads or per head",
       .choices = {"group", "head"},
       .of_part = true},
      {.name = "attention_forced_first",
       .type = kFlag,
       .default_value = "false",
       .neutral = "false",
       .help = "the first block is always chosen",
       .of_part = true},
      {.name = "attention_selector_score",
       .type = kChoice,
       .default_value = "softmax",
       .neutral = "none",
       .help = "blocks are ranked by softmax over pooled keys or by product",
       .choices = {"softmax", "dot"},
       .of_part = true},
  };
}

}  // namespace

std::vector<Option> level_options() {
  std::vector<Option> options;
  const auto append = [&](const char* group, std::vector<Option> added) {
    for (auto& each : added) {
      each.group = group;
      options.push_back(std::move(each));
    }
  };
  append("weights level", budget_options());
  append("weights level", drop_and_grow_options());
  append("weights level", prune_options());
  append("weights level", stream_options("weights"));
  append("weights level", weights_alignment_options());
  append("weights level", dormant_options());
  append("attention level", stream_options("attention"));
  append("attention level", attention_only_options());
  return options;
}

}  // namespace tandem
