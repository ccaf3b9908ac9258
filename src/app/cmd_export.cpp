// `tandem export`: the final weights of a finished run (app/final_net.h) as a safetensors file, one
// tensor per parameter and per buffer of the model (what a net needs to be read beside its
// weights). Weights of layers are [in,out], or [out,in] with --layout torch; the metadata's
// `layout` says which. A layer that was stored sparsely is written dense as well; where that would
// be very large, as NAME.values [n] and NAME.indices [2,n], in the order of the layout. NAME.mask
// beside a layer's weights says which of them the read-out's mask has, zeros too, so that a run
// that begins with the file (--init-from) can go on from it.
#include <fmt/format.h>

#include <filesystem>

#include "app/command.h"
#include "app/execute.h"
#include "app/final_net.h"
#include "config/command_line.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "data/stored_tensor.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "store/store.h"

namespace tandem {
namespace {

const Option kReadOut = {.name = "read_out",
                         .type = OptionType::kChoice,
                         .default_value = "full",
                         .neutral = "full",
                         .help = "all weights, or those within the trained masks",
                         .choices = {"full", "sparse"}};
const Option kExportOut =
    text_option("out", "file to write, NAME.safetensors; default RUN-READ_OUT.safetensors here");
const Option kLayout = {.name = "layout",
                        .type = OptionType::kChoice,
                        .default_value = "tandem",
                        .neutral = "tandem",
                        .help =
                            "weights of layers as [in,out] (tandem) or as torch.nn.Linear has "
                            "them, [out,in] (torch); the file's metadata says it",
                        .choices = {"tandem", "torch"}};

const Option kTask = {
    .name = "task",
    .type = OptionType::kInt,
    .default_value = "0",
    .neutral = "0",
    .help =
        "the net of this task, of a run that has one for each (packnet, wsn, hat); "
        "0: the net as it was trained last",
    .minimum = 0};

// Refuses a name that says another format; a device or a pipe has none.
void expect_ending(const std::string& out) {
  if (out.empty() || is_special_file(out)) return;
  if (std::filesystem::path(out).extension() == ".safetensors") return;
  throw ConfigError(out + ": weights are written as NAME.safetensors");
}

ExitCode run_export(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kReadOut, kExportOut, kLayout, kTask});
  if (parsed.positionals.size() != 1) throw ConfigError("tandem export needs one run's id");
  expect_ending(extra_value(parsed, kExportOut));
  const std::string database = database_of(parsed.settings);
  const RunRecord record = StoreReader(database).find_run(parsed.positionals.front());
  const std::string read_out = extra_value(parsed, kReadOut);
  const bool sparse = read_out == "sparse", torch_layout = extra_value(parsed, kLayout) == "torch";
  const std::string task = extra_value(parsed, kTask);
  const NamedTensors written =
      final_net(database, record, {.sparse = sparse, .torch_layout = torch_layout, .task = task});
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : written) views.push_back(view_of(name, tensor));
  std::string out = extra_value(parsed, kExportOut);
  if (out.empty()) {
    out =
        short_id(record.id) + "-" + read_out + (task == "0" ? "" : "-task" + task) + ".safetensors";
  }
  const TensorMetadata metadata = {{"run", record.id},
                                   {"read_out", read_out},
                                   {"task", task},
                                   {"layout", torch_layout ? kTorchLayout : kTandemLayout},
                                   {"config", record.canonical}};
  OutputFiles files;
  files.add(out, [&](FileSink& sink) { write_safetensors(sink, views, metadata); });
  files.commit();
  fmt::print("{} written: {} tensors of run {}, {} read-out\n", out, views.size(),
             short_id(record.id), read_out);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "export",
     .summary = "write a finished run's weights as a safetensors file",
     .usage = "export RUN [--read-out full|sparse] [--task N] [--layout tandem|torch] "
              "[--out FILE] [--db PATH]",
     .options = {kReadOut, kExportOut, kLayout, kTask},
     .run = run_export});

}  // namespace
}  // namespace tandem
