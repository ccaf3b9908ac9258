// `tandem export`: the final weights of a finished run as a safetensors file, one tensor per
// parameter. The sparse read-out is the parameters with zeros outside of the trained masks (bit i %
// 8 of byte i / 8 is position i). A layer that was stored sparsely (inputs, outputs, positions) is
// written dense as well, [in,out]; where that would be very large, as NAME.values [n] and
// NAME.indices [2,n], input and output of each.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "store/store.h"
#include "train/teacher.h"

namespace tandem {
namespace {

const Option kReadOut = {.name = "read_out",
                         .type = OptionType::kChoice,
                         .default_value = "full",
                         .neutral = "full",
                         .help = "all weights, or those within the trained masks",
                         .choices = {"full", "sparse"}};
const Option kExportOut = {.name = "out",
                           .type = OptionType::kText,
                           .default_value = "",
                           .neutral = "",
                           .help =
                               "file to write, NAME.safetensors; default "
                               "RUN-READ_OUT.safetensors here"};

// The part of a checkpoint's names that lies below "RUN/KIND/".
std::map<std::string, at::Tensor> tensors_of(const Checkpoint& checkpoint,
                                             const std::string& prefix) {
  std::map<std::string, at::Tensor> found;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.rfind(prefix, 0) == 0) found.emplace(name.substr(prefix.size()), tensor);
  }
  return found;
}

void zero_outside(const at::Tensor& tensor, const at::Tensor& mask, const std::string& name) {
  const auto positions = static_cast<std::size_t>(tensor.numel());
  const std::size_t bytes = (positions + 7) / 8, own = static_cast<std::size_t>(mask.numel());
  if (own != bytes && own != 2 * bytes) {  // a superset's bits follow the mask's
    throw StoreError(fmt::format("the mask of {} has {} bytes, {} positions need {}", name, own,
                                 positions, bytes));
  }
  const auto* bits = static_cast<const unsigned char*>(mask.const_data_ptr());
  auto* values = static_cast<char*>(tensor.mutable_data_ptr());
  const std::size_t size = tensor.element_size();
  for (std::size_t i = 0; i < positions; ++i) {
    if ((bits[i / 8] >> (i % 8) & 1) == 0) std::memset(values + i * size, 0, size);
  }
}

// Positions of a layer that is still written dense: half a gigabyte of floats.
constexpr std::int64_t kMostDense = std::int64_t{1} << 27;

// A sparse layer's connections as saved.
struct Listed {
  const std::int64_t* numbers;
  std::int64_t count;
  explicit Listed(const at::Tensor& saved)
      : numbers(saved.const_data_ptr<std::int64_t>()), count(saved.numel() - 2) {}
  std::int64_t inputs() const { return numbers[0]; }
  std::int64_t outputs() const { return numbers[1]; }
  std::int64_t position(std::int64_t i) const { return numbers[2 + i]; }
};

std::vector<std::pair<std::string, at::Tensor>> written_as(const std::string& name,
                                                           const at::Tensor& values,
                                                           const at::Tensor& saved) {
  if (saved.numel() < 2) {
    throw StoreError("the connections of " + name +
                     " lack their shape; use the program that wrote them, or train anew");
  }
  const Listed connections(saved);
  bool sound =
      connections.count == values.numel() && connections.inputs() > 0 && connections.outputs() > 0;
  const std::int64_t inputs = connections.inputs(), outputs = connections.outputs();
  for (std::int64_t i = 0; sound && i < connections.count; ++i) {
    sound = connections.position(i) >= 0 && connections.position(i) / outputs < inputs;
  }
  if (!sound) {
    throw StoreError(
        fmt::format("the {} values of {} don't fit its connections of {} inputs and "
                    "{} outputs; use the program that wrote them, or train anew",
                    values.numel(), name, inputs, outputs));
  }
  if (inputs * outputs <= kMostDense) {
    const at::Tensor dense = torch::zeros({inputs * outputs}, values.options());
    const std::size_t size = values.element_size();
    const auto* from = static_cast<const char*>(values.const_data_ptr());
    auto* to = static_cast<char*>(dense.mutable_data_ptr());
    for (std::int64_t i = 0; i < connections.count; ++i) {
      std::memcpy(to + static_cast<std::size_t>(connections.position(i)) * size,
                  from + static_cast<std::size_t>(i) * size, size);
    }
    return {{name, dense.view({inputs, outputs})}};
  }
  const at::Tensor indices = torch::empty({2, connections.count}, torch::kLong);
  auto* ends = indices.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < connections.count; ++i) {
    ends[i] = connections.position(i) / outputs;
    ends[connections.count + i] = connections.position(i) % outputs;
  }
  return {{name + ".values", values}, {name + ".indices", indices}};
}

Checkpoint final_checkpoint(const std::string& database, const RunRecord& run) {
  const std::string folder = final_folder(database, run.id);
  auto checkpoint = load_checkpoint(folder);
  if (checkpoint) return std::move(*checkpoint);
  throw StoreError(
      fmt::format("run {} ({}) has no final weights in {}: they are kept beside the database once "
                  "a run is done",
                  short_id(run.id), run.state, folder));
}

// Refuses a name that says another format; a device or a pipe has none.
void expect_ending(const std::string& out) {
  if (out.empty() || is_special_file(out)) return;
  if (std::filesystem::path(out).extension() == ".safetensors") return;
  throw ConfigError(out + ": weights are written as NAME.safetensors");
}

ExitCode run_export(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kReadOut, kExportOut});
  if (parsed.positionals.size() != 1) throw ConfigError("tandem export needs one run's id");
  expect_ending(extra_value(parsed, kExportOut));
  const std::string database = database_of(parsed.settings);
  const RunRecord record = StoreReader(database).find_run(parsed.positionals.front());
  const std::string read_out = extra_value(parsed, kReadOut);
  const Checkpoint checkpoint = final_checkpoint(database, record);
  const auto parameters = tensors_of(checkpoint, record.id + "/parameter/");
  const auto masks = tensors_of(checkpoint, record.id + "/mask/");
  if (read_out == "sparse" && masks.empty()) {
    throw ConfigError("run " + short_id(record.id) +
                      " has no masks, its weights method is dense: export --read-out full");
  }
  std::vector<std::pair<std::string, at::Tensor>> written;
  for (const auto& [name, tensor] : parameters) {
    if (is_teachers(name)) continue;
    const auto mask = masks.find(name);
    if (mask != masks.end() && mask->second.scalar_type() == torch::kLong) {
      for (auto& [own, values] : written_as(name, tensor, mask->second)) {
        written.emplace_back(own, values);
      }
      continue;
    }
    if (read_out == "sparse" && mask != masks.end()) zero_outside(tensor, mask->second, name);
    written.emplace_back(name, tensor);
  }
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : written) views.push_back(view_of(name, tensor));
  std::string out = extra_value(parsed, kExportOut);
  if (out.empty()) out = short_id(record.id) + "-" + read_out + ".safetensors";
  const auto folder = std::filesystem::path(out).parent_path();
  if (!folder.empty()) ensure_folder(folder.string());
  write_safetensors(out, views,
                    {{"run", record.id}, {"read_out", read_out}, {"config", record.canonical}});
  fmt::print("{} written: {} tensors of run {}, {} read-out\n", out, views.size(),
             short_id(record.id), read_out);
  return kExitDone;
}

TANDEM_REGISTERED =
    declare_command({.name = "export",
                     .summary = "write a finished run's weights as a safetensors file",
                     .usage = "export RUN [--read-out full|sparse] [--out FILE] [--db PATH]",
                     .options = {kReadOut, kExportOut},
                     .run = run_export});

}  // namespace
}  // namespace tandem
