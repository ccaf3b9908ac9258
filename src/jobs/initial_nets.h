// The nets that runs begin with (option init_from): checked before anything runs, read by the
// worker that begins a run, and kept in its checkpoint where they are asked for later on. A run
// that goes on from a checkpoint does not need its file.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "config/config.h"
#include "jobs/checkpoint.h"
#include "nn/initial_net.h"
#include "plan/group.h"

namespace tandem {

// What a checkpoint calls the bytes of a run's net, after the run's id.
inline constexpr char kInitialTensor[] = "/initial";

// Throws ConfigError or DataError for the first run that its file can't begin: it can't be read, or
// is not of the net that the run trains. Warns where the file's net was trained with other options
// of the model. Runs without a file pass. Reads the runs' data sets.
void check_initial_nets(const std::vector<Config>& runs);

// The net of each run of a group that begins, or, where it goes on from a checkpoint, that this one
// holds; null where a run needs none.
std::vector<std::shared_ptr<const InitialNet>> initial_nets(
    const GroupSpec& spec, const std::optional<Checkpoint>& resumed);

// Says of a group that begins which tensors came from files, and which did not.
void log_initial_nets(const GroupSpec& spec,
                      const std::vector<std::shared_ptr<const InitialNet>>& nets, Model& model);

}  // namespace tandem
