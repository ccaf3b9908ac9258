// The engine-wide options. `neutral` is a promise: it never changes once released, whatever happens
// to the default. Where a default may be argued about, neutral is a value that no run can have (-1,
// "none"), so that the canonical form of a run that reads the option always holds it.
#include "config/options.h"

namespace tandem {
namespace {

using enum OptionType;
constexpr auto kProgram = OptionScope::kProgram;

void append(std::vector<Option>& to, const std::string& group, std::vector<Option> options) {
  for (auto& each : options) {
    each.group = group;
    to.push_back(std::move(each));
  }
}

std::vector<Option> selection_options() {
  const auto select = [](const char* name, const char* value, const char* help) {
    return Option{name, kChoice, value, "none", help};
  };
  return {
      select("data", "fashion_mnist", "data set"),
      select("model", "mlp", "network"),
      select("optimizer", "sgd", "optimizer"),
      select("scenario", "single", "sequence of tasks"),
      select("strategy", "finetune", "what fights forgetting"),
      select("weights", "dense", "method at the weights level"),
      select("attention", "full", "method at the attention level"),
  };
}

std::vector<Option> seed_options() {
  std::vector<Option> options = {{.name = "seed",
                                  .type = kInt,
                                  .default_value = "1",
                                  .neutral = "-1",
                                  .help = "seed of every stream that has none of its own",
                                  .minimum = 0,
                                  .per_replica = true}};
  const std::pair<const char*, const char*> streams[] = {
      {"seed_data", "order of examples; -1: from seed"},
      {"seed_classes", "order of classes over tasks, permutations and angles; -1: from seed"},
      {"seed_init", "initial weights; -1: from seed"},
      {"seed_topology", "random masks and random growth; -1: from seed"},
      {"seed_streams", "draws of the running stream; -1: from seed"}};
  for (const auto& [name, help] : streams) {
    options.push_back({.name = name,
                       .type = kInt,
                       .default_value = "-1",
                       .neutral = "-1",
                       .help = help,
                       .minimum = -1,
                       .per_replica = true});
  }
  return options;
}

std::vector<Option> data_options() {
  return {
      {.name = "data_dir",
       .type = kText,
       .default_value = "",
       .neutral = "",
       .help = "folder of data files, read or refused; empty: $TANDEM_DATA is searched, then what "
               "the system has installed",
       .scope = kProgram,
       .of_part = true},
      {.name = "data_hash",
       .type = kText,
       .default_value = "",
       .neutral = "",
       .help =
           "SHA-256 of what is read from the data's files, which every command finds out; empty: "
           "the content that the data set is known by. Say it where a machine lacks the files",
       .of_part = true},
      {.name = "corpus",
       .type = kText,
       .default_value = "",
       .neutral = "",
       .help = "files or folders of a byte corpus, joined by ','; empty: the default corpus",
       .of_part = true},
      {.name = "normalize",
       .type = kChoice,
       .default_value = "raw",
       .neutral = "raw",
       .help = "pixels in [0,1], with mean 0 and deviation 1 over the training set, or by "
               "pixel_mean and pixel_deviation",
       .choices = {"raw", "standardized", "constants"},
       .of_part = true},
      {.name = "pixel_mean",
       .type = kReal,
       .default_value = "0",
       .neutral = "0",
       .help = "of pixels in [0,1], which constants subtract",
       .minimum = 0,
       .maximum = 1,
       .of_part = true},
      {.name = "pixel_deviation",
       .type = kReal,
       .default_value = "1",
       .neutral = "1",
       .help = "of pixels in [0,1], by which constants divide",
       .minimum = 0.001,
       .maximum = 1000,
       .of_part = true},
      {.name = "pad_to",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "put images in the middle of black ones of so many pixels a side; 0: as they are",
       .unit = "pixels",
       .minimum = 0,
       .maximum = 4096,
       .of_part = true},
      {.name = "image_size",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "make images of one's own so many pixels high and wide; 0: as they are, all alike",
       .unit = "pixels",
       .minimum = 0,
       .maximum = 4096,
       .of_part = true},
      {.name = "test_share",
       .type = kReal,
       .default_value = "0.2",
       .neutral = "0.2",
       .help = "share of images of one's own that are the test split, where they have none",
       .minimum = 0.001,
       .maximum = 0.9,
       .of_part = true},
      {.name = "validation",
       .type = kReal,
       .default_value = "0.1",
       .neutral = "0",
       .help = "share of an image set's training examples kept for validation (of a byte corpus "
               "it is 5%)",
       .minimum = 0,
       .maximum = 0.9,
       .of_part = true},
      {.name = "train_examples",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "train on so many examples only; 0: all",
       .unit = "examples",
       .minimum = 0,
       .of_part = true},
      {.name = "final",
       .type = kFlag,
       .default_value = "false",
       .neutral = "false",
       .help = "write test rows; for the last runs, after every choice is made"},
  };
}

std::vector<Option> continual_options() {
  return {
      {.name = "tasks",
       .type = kInt,
       .default_value = "5",
       .neutral = "0",
       .help = "number of tasks",
       .minimum = 1,
       .of_part = true},
      {.name = "tasks_by",
       .type = kChoice,
       .default_value = "classes",
       .neutral = "classes",
       .help = "what tells tasks apart: classes are split among them, or each has all and sees the "
               "inputs permuted (the first as they are) or rotated, by seed_classes",
       .choices = {"classes", "permutation", "rotation"},
       .of_part = true},
      {.name = "rotation_degrees",
       .type = kReal,
       .default_value = "180",
       .neutral = "180",
       .help = "rotated tasks: each angle is uniform from 0 to this",
       .unit = "degrees",
       .minimum = 0,
       .maximum = 360,
       .of_part = true},
      {.name = "class_order",
       .type = kChoice,
       .default_value = "natural",
       .neutral = "none",
       .help = "order of classes over tasks; random: by seed_classes",
       .choices = {"natural", "random"},
       .of_part = true},
      {.name = "online",
       .type = kFlag,
       .default_value = "false",
       .neutral = "false",
       .help = "each example of a task is seen once, whatever steps and epochs say",
       .of_part = true},
      {.name = "buffer",
       .type = kInt,
       .default_value = "500",
       .neutral = "0",
       .help = "examples that a strategy keeps",
       .unit = "examples",
       .minimum = 1,
       .of_part = true},
      {.name = "buffer_rule",
       .type = kChoice,
       .default_value = "reservoir",
       .neutral = "reservoir",
       .help =
           "which examples the buffer keeps: a uniform sample of all that were seen, the latest "
           "of each class, or as many of each class as the stream allows (a class is a task's "
           "own where tasks share them)",
       .choices = {"reservoir", "ring", "balanced"},
       .of_part = true},
      {.name = "replay_batch",
       .type = kInt,
       .default_value = "0",
       .neutral = "-1",
       .help = "examples of the buffer that a step takes; 0: as many as batch",
       .unit = "examples",
       .minimum = 0,
       .of_part = true},
      {.name = "replay_weight",
       .type = kReal,
       .default_value = "1",
       .neutral = "0",
       .help = "what the labels of replayed examples count in the loss beside those of current "
               "ones (DER++'s beta)",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
      {.name = "stability",
       .type = kReal,
       .default_value = "1",
       .neutral = "0",
       .help =
           "weight of the term that holds on to earlier tasks: lambda of EWC, MAS and LwF, c of "
           "SI, alpha of DER",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
      {.name = "distill_temperature",
       .type = kReal,
       .default_value = "2",
       .neutral = "0",
       .help = "temperature at which LwF compares outputs",
       .minimum = 0.01,
       .of_part = true,
       .per_replica = true},
      {.name = "task_keep",
       .type = kReal,
       .default_value = "0.5",
       .neutral = "-1",
       .help =
           "share of each layer's free weights that a task keeps for itself; 0: shares that are "
           "alike for all tasks",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "retrain_share",
       .type = kReal,
       .default_value = "0.333",
       .neutral = "-1",
       .help = "share of a task's steps that are taken with the weights that it keeps alone",
       .minimum = 0,
       .maximum = 0.99,
       .of_part = true,
       .per_replica = true},
      {.name = "gem_margin",
       .type = kReal,
       .default_value = "0.5",
       .neutral = "-1",
       .help = "how far inside of the cone GEM's projected gradients are (its gamma)",
       .minimum = 0,
       .of_part = true,
       .per_replica = true},
      {.name = "plastic_updates",
       .type = kReal,
       .default_value = "0.9",
       .neutral = "-1",
       .help = "probability that a step updates CLS-ER's plastic average",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "plastic_decay",
       .type = kReal,
       .default_value = "0.999",
       .neutral = "-1",
       .help = "what the plastic average keeps at an update",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "stable_updates",
       .type = kReal,
       .default_value = "0.7",
       .neutral = "-1",
       .help = "probability that a step updates CLS-ER's stable average",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "stable_decay",
       .type = kReal,
       .default_value = "0.999",
       .neutral = "-1",
       .help = "what the stable average keeps at an update",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "fisher_examples",
       .type = kInt,
       .default_value = "0",
       .neutral = "-1",
       .help = "examples of a task that importances are taken over; 0: all",
       .unit = "examples",
       .minimum = 0,
       .of_part = true},
      {.name = "fisher_decay",
       .type = kReal,
       .default_value = "1",
       .neutral = "0",
       .help = "what earlier tasks' Fisher information is multiplied with at each task's end "
               "(online EWC's gamma)",
       .minimum = 0,
       .maximum = 1,
       .of_part = true,
       .per_replica = true},
      {.name = "si_damping",
       .type = kReal,
       .default_value = "0.1",
       .neutral = "0",
       .help = "xi of SI, which keeps the importance of a weight that hardly moved finite",
       .minimum = 1e-12,
       .of_part = true,
       .per_replica = true},
  };
}

std::vector<Option> evaluation_options() {
  return {
      {.name = "eval_every",
       .type = kReal,
       .default_value = "0",
       .neutral = "0",
       .help = "evaluate so often on validation; 0: after each task only",
       .unit = "epochs",
       .minimum = 0,
       .maximum = kMostEpochs},
      {.name = "eval_after_switch",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help =
           "in the first 100 steps of each task after the first evaluate so often on validation "
           "(stability_gap_100); 0: as eval_every says",
       .unit = "steps",
       .minimum = 0,
       .maximum = 100},
      {.name = "probe_every",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "measure probes so often; 0: never",
       .unit = "steps",
       .minimum = 0,
       .maximum = kMostSteps,
       .stretches = true},
      {.name = "topology_log_steps",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "log the first topology update in so many steps, and the run's last; probes of the "
               "topology see those alone. 0: all updates, but of masks that are chosen anew at "
               "every step the first in 100",
       .unit = "steps",
       .minimum = 0,
       .maximum = kMostSteps,
       .per_replica = true},
      {.name = "curve",
       .type = kFlag,
       .default_value = "true",
       .neutral = "true",
       .help = "evaluate the end of training at several budgets"},
      {.name = "tuned_for",
       .type = kChoice,
       .default_value = "own",
       .neutral = "own",
       .help = "the read-out in which a grid's [tune] chooses; own: the mean over the streams that "
               "the method trains",
       .choices = {"own", "full", "sparse"},
       .per_replica = true},
  };
}

std::vector<Option> program_options() {
  return {
      {.name = "db",
       .type = kText,
       .default_value = "results/tandem.sqlite",
       .neutral = "results/tandem.sqlite",
       .help = "results database",
       .scope = kProgram},
      {.name = "device",
       .type = kChoice,
       .default_value = "auto",
       .neutral = "auto",
       .help =
           "where tensors live; auto: a GPU where the plug-in finds one, else the CPU; cuda:all: "
           "jobs take the machine's GPUs in turn",
       .choices = {"auto", "cpu", "cuda", "cuda:all"},
       .scope = kProgram},
      {.name = "jobs",
       .type = kInt,
       .default_value = "0",
       .neutral = "0",
       .help = "worker processes; 0: one per core, or one per GPU in use",
       .minimum = 0,
       .maximum = kMostJobs,
       .scope = kProgram},
      {.name = "checkpoint_every_s",
       .type = kReal,
       .default_value = "60",
       .neutral = "60",
       .help = "time between checkpoints",
       .unit = "s",
       .minimum = 0,
       .scope = kProgram},
      {.name = "log_level",
       .type = kChoice,
       .default_value = "info",
       .neutral = "info",
       .help = "least severity of what is logged to standard error",
       .choices = {"debug", "info", "warn", "off"},
       .scope = kProgram},
  };
}

}  // namespace

std::vector<Option> engine_options() {
  std::vector<Option> options;
  append(options, "selection", selection_options());
  append(options, "seeds", seed_options());
  for (auto& each : training_options()) options.push_back(std::move(each));
  for (auto& each : level_options()) options.push_back(std::move(each));
  append(options, "data", data_options());
  append(options, "continual learning", continual_options());
  append(options, "evaluation", evaluation_options());
  append(options, "program", program_options());
  return options;
}

}  // namespace tandem
