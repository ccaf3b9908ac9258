// RigL that also learns from a dense net of its own (Hinton et al. 2015, arXiv 1503.02531): a twin
// with all weights, the same seeds and the same batches is trained beside it, and its outputs are
// targets of the sparse net. A control for methods whose two streams share their weights: here they
// don't. The ledger charges the twin.
#include "config/option.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option({.name = "teacher_alpha",
                                    .type = OptionType::kReal,
                                    .default_value = "1",
                                    .neutral = "-1",
                                    .help = "weight of distillation from the dense twin",
                                    .minimum = 0,
                                    .of_part = true,
                                    .per_replica = true,
                                    .group = "weights level"});
TANDEM_REGISTERED =
    declare_option({.name = "teacher_temperature",
                    .type = OptionType::kReal,
                    .default_value = "1",
                    .neutral = "-1",
                    .help = "temperature T of that distillation, whose loss is multiplied by T^2",
                    .minimum = 0.01,
                    .of_part = true,
                    .group = "weights level"});

Policies rigl_teacher(const Config& config) {
  Policies policies = rigl_weights(config);
  policies.teacher.alpha = config.real("teacher_alpha");
  policies.teacher.temperature = config.real("teacher_temperature");
  return policies;
}

TANDEM_REGISTERED =
    weights_methods().add({.kind = "weights",
                           .name = "rigl_teacher",
                           .summary = "RigL with distillation from a dense net trained beside it",
                           .cite = "arXiv:1503.02531",
                           .revision = 2,
                           .defaults = rigl_defaults(),
                           .uses = drop_and_grow_options({"teacher_alpha", "teacher_temperature"}),
                           .file = __FILE__},
                          rigl_teacher);

}  // namespace
}  // namespace tandem
