// `tandem doctor`: what this program is, what it found on this machine, and what is missing.
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <cstdlib>
#include <thread>

#include "app/command.h"
#include "config/command_line.h"
#include "config/part.h"
#include "cuda/plugin.h"
#include "data/content.h"
#include "data/dataset.h"
#include "jobs/break_even.h"
#include "store/store.h"

namespace tandem {
namespace {

void line(const std::string& name, const std::string& value) {
  fmt::print("{:<12} {}\n", name, value);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "not set" : value;
}

void versions() {
  line("version", version_text());
  line("torch", std::string(TORCH_VERSION) + (at::hasMKL() ? ", with MKL" : ", without MKL"));
  const StoreFacts store = store_facts();
  line("sqlite", fmt::format("{}, journal mode {}", store.sqlite_version, store.journal_mode));
  if (!store.note.empty()) line("", store.note);
}

void devices() {
  const PluginStatus& plugin = load_cuda_plugin();
  line("cuda", (plugin.loaded ? "plug-in loaded: " : "not available: ") + plugin.message);
  if (plugin.loaded)
    line("", fmt::format("{} GPU(s) visible", at::hasCUDA() ? at::getNumGPUs() : 0));
  line("processor",
       fmt::format("{} cores, {}", std::thread::hardware_concurrency(), at::get_cpu_capability()));
  line("threads", "one per worker; MKL_CBWR=AUTO,STRICT is set for each");
}

constexpr std::size_t kShownBreakEvens = 8;

void break_evens() {
  const BreakEven measured;
  const std::string file = measured.file().empty() ? "no file" : measured.file();
  line("break-even", measured.remembered().empty()
                         ? "none measured yet (" + file + ")"
                         : "density below which a layer's step is faster sparse (" + file + ")");
  std::size_t shown = 0;
  for (const auto& [shape, density] : measured.remembered()) {
    if (shown++ == kShownBreakEvens) break;
    line("", fmt::format("{}: {}", shape, density));
  }
  if (shown > kShownBreakEvens) {
    line("", fmt::format("and {} more", measured.remembered().size() - kShownBreakEvens));
  }
}

std::string files_text(const Dataset& data) {
  std::int64_t bytes = 0;
  for (const auto& file : data.files) bytes += file.bytes;
  if (data.files.empty()) return "made by the program";
  const std::string first = data.files.front().path;
  return fmt::format("{} file{} in {}, {:.1f} MB", data.files.size(),
                     data.files.size() == 1 ? "" : "s", first.substr(0, first.rfind('/')),
                     static_cast<double>(bytes) / 1e6);
}

void data_sets(const Settings& said) {
  line("TANDEM_DATA", variable("TANDEM_DATA"));
  for (const auto& part : parts_of("data")) {
    Settings settings = said;
    settings["data"] = part.name;
    try {
      const Config config = Config::resolve(settings, false);
      line(part.name, has_content(config) ? files_text(*load_dataset(config)) : "generated");
    } catch (const Error& error) {
      line(part.name, std::string("not found: ") + error.what());
    }
  }
}

ExitCode run_doctor(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  if (!parsed.positionals.empty()) throw ConfigError("tandem doctor takes no arguments");
  versions();
  devices();
  break_evens();
  data_sets(parsed.settings);
  return kExitDone;
}

TANDEM_REGISTERED =
    declare_command({.name = "doctor",
                     .summary = "say what this program is and what it found on this machine",
                     .usage = "doctor [--data-dir FOLDER]",
                     .run = run_doctor});

}  // namespace
}  // namespace tandem
