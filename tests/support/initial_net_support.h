// Files of nets that runs begin with, written from what a run has left, without the program's own
// export.
#pragma once

#include <catch2/catch.hpp>

#include "core/files.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "data/stored_tensor.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "support/train_support.h"
#include "topology/saved_topology.h"

namespace tandem::test {

using TensorsByName = std::map<std::string, at::Tensor>;

// Returns the SHA-256 of the file.
inline std::string write_net(const std::string& path, const TensorsByName& tensors,
                             const TensorMetadata& metadata = {}) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(view_of(name, tensor));
  write_safetensors(path, views, metadata);
  return sha256_file(path);
}

// The settings with a file that is there.
inline Settings with_net(Settings said, const std::string& path) {
  said["init_from"] = path;
  said["init_hash"] = sha256_file(path);
  said["init_net"] = "given";
  return said;
}

// Trains runs together and returns what each has at its end: parameters, layers [in,out] whatever
// their storage, and NAME.mask, bool [in,out], where it has masks.
inline std::vector<TensorsByName> trained_nets(const std::vector<Config>& runs) {
  const TemporaryFolder folder;
  GroupSpec spec;
  spec.runs = runs;
  spec.checkpoint_folder = folder / "group";
  MemorySink sink;
  REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
  std::vector<TensorsByName> nets;
  for (const Config& run : runs) {
    const auto kept = load_checkpoint(folder / ("final/" + run.id()));
    REQUIRE(kept);
    const TensorsByName all(kept->tensors.begin(), kept->tensors.end());
    TensorsByName& net = nets.emplace_back();
    for (const auto& [name, values] : all) {
      const std::string prefix = run.id() + "/parameter/";
      if (name.rfind(prefix, 0) != 0) continue;
      const std::string own = name.substr(prefix.size());
      const auto saved = all.find(run.id() + "/mask/" + own);
      if (saved == all.end()) {
        net[own] = values;
        continue;
      }
      const auto shape = SavedTopology::shape_in(saved->second);
      REQUIRE(shape);
      const SavedTopology topology =
          SavedTopology::load(saved->second, own, shape->first, shape->second);
      const at::Tensor mask = torch::zeros({shape->first * shape->second}, torch::kBool);
      for (const std::int64_t p : topology.mask.positions()) mask.data_ptr<bool>()[p] = true;
      at::Tensor dense = values.reshape({-1});
      if (topology.listed) {
        const auto& stored = topology.superset.known() ? topology.superset : topology.mask;
        dense = torch::zeros({mask.numel()}, values.options())
                    .index_copy_(0, torch::tensor(stored.positions(), torch::kLong), values);
      }
      net[own] = dense.view({shape->first, shape->second}).contiguous();
      net[own + ".mask"] = mask.view({shape->first, shape->second});
    }
  }
  return nets;
}

inline TensorsByName trained_net(const Config& run) { return trained_nets({run}).front(); }

}  // namespace tandem::test
