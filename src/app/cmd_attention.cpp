// `tandem attention`: one head's attention over one validation sequence, of a finished run: the
// full stream's weights and the blocks that the sparse one reads, as a picture and its numbers as
// CSV. The net is that of `tandem export`: all weights, or those within the masks of the sparse
// read-out.
#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "analysis/attention_map.h"
#include "app/command.h"
#include "app/draw_figure.h"
#include "app/execute.h"
#include "app/final_net.h"
#include "config/command_line.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"
#include "data/tensor.h"
#include "nn/attention/view.h"
#include "nn/outline.h"
#include "store/store.h"
#include "train/trainer.h"

namespace tandem {
namespace {

// A map is drawn of so many tokens at most: it has a number for each pair of them.
constexpr std::int64_t kMostMapTokens = 1024;

const Option kMapOut =
    text_option("out",
                "file to draw, .svg or .png; its numbers go to the same name with .csv, or alone "
                "where that is said. Default: RUN-layerN-headN.svg here");

Option map_place(const std::string& name, const std::string& help) {
  return {.name = name,
          .type = OptionType::kInt,
          .default_value = "0",
          .neutral = "0",
          .help = help,
          .minimum = 0};
}
const Option kMapLayer = map_place("layer", "which layer, from 0");
const Option kMapHead = map_place("head", "which of its query heads, from 0");
const Option kMapSequence = map_place("sequence", "which sequence of the validation split, from 0");
const Option kMapTokens = map_place("tokens", "only the first so many tokens of it; 0: all");
const Option kMapReadOut = {.name = "read_out",
                            .type = OptionType::kChoice,
                            .default_value = "full",
                            .neutral = "full",
                            .help = "all weights, or those within the trained masks",
                            .choices = {"full", "sparse"}};

std::int64_t said_place(const ParsedArguments& parsed, const Option& option) {
  return *parse_integer(extra_value(parsed, option));
}

void expect_below(const char* option, std::int64_t said, std::int64_t count, const char* things,
                  const RunRecord& run) {
  if (said < count) return;
  throw ConfigError(fmt::format("--{} {}: run {} has {} {}, counted from 0; give at most {}",
                                option, said, short_id(run.id), count, things, count - 1));
}

// Weights are dense here, whatever the run stored.
void put_weights(Model& model, const NamedTensors& tensors, const RunRecord& run) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  for (Parameter* parameter : model.parameters()) {
    const auto found = by_name.find(parameter->name);
    if (found == by_name.end()) {
      throw StoreError(
          fmt::format("the final weights of run {} lack {}", short_id(run.id), parameter->name));
    }
    parameter->value.copy_(found->second.view(parameter->value.sizes()));
  }
}

struct MapPlace {
  std::int64_t layer, head, sequence, tokens;
};

AttentionMap map_of(const RunRecord& run, const Config& config, const NamedTensors& net,
                    const MapPlace& place) {
  TrainerOptions options;
  if (config.text("dtype") == "float64") options.dtype = torch::kFloat64;
  Trainer trainer({config}, options);
  Model& model = trainer.model();
  put_weights(model, net, run);
  const std::vector<std::int64_t>& all = trainer.data().validation;
  expect_below("sequence", place.sequence, static_cast<std::int64_t>(all.size()),
               "sequences of validation", run);
  const Batch batch =
      trainer.batches().make({{all[static_cast<std::size_t>(place.sequence)]}}, 1, OutputsOf::kAll);
  const std::int64_t whole = batch.x.size(2);
  const std::int64_t tokens = place.tokens == 0 ? whole : std::min(place.tokens, whole);
  if (tokens > kMostMapTokens) {
    throw ConfigError(
        fmt::format("a sequence of {} tokens has too many pairs for a map: --tokens {} "
                    "shows the first of them",
                    tokens, kMostMapTokens));
  }
  const at::Tensor x = batch.x.slice(2, 0, tokens).contiguous();
  AttentionMap map;
  map.run = short_id(run.id);
  map.tokens = tokens;
  map.title =
      fmt::format("{} (attention {}, weights {}): layer {}, head {}", map.run,
                  config.text("attention"), config.text("weights"), place.layer, place.head);
  const at::Tensor symbols = x.flatten().to(torch::kCPU, torch::kInt64).contiguous();
  map.symbols.assign(symbols.data_ptr<std::int64_t>(), symbols.data_ptr<std::int64_t>() + tokens);
  const at::NoGradGuard no_grad;
  Context context;  // both levels run in full: the weights are those of the read-out
  std::int64_t layer = 0;
  context.observe_attention = [&](const std::string&, const AttentionView& view) {
    if (layer++ != place.layer) return;
    const std::int64_t heads = view.q.size(3);
    expect_below("head", place.head, heads, "query heads", run);
    map.block_size = view.block_size;
    const at::Tensor queries = torch::arange(tokens);
    const at::Tensor chosen = view.chosen(queries);  // [1,1,L,T,NB]
    const at::Tensor weights =
        view.weights(queries)[0][0][place.head].to(torch::kDouble).contiguous();
    const at::Tensor own =
        chosen[0][0][place.head * chosen.size(2) / heads].to(torch::kUInt8).contiguous();
    map.weights.assign(weights.data_ptr<double>(), weights.data_ptr<double>() + weights.numel());
    map.chosen.assign(own.data_ptr<std::uint8_t>(), own.data_ptr<std::uint8_t>() + own.numel());
  };
  model.forward(x, context);
  expect_below("layer", place.layer, layer, "layers of attention", run);
  return map;
}

ExitCode draw_attention(const Arguments& args) {
  const ParsedArguments parsed =
      parse_arguments(args, {kMapOut, kMapLayer, kMapHead, kMapSequence, kMapTokens, kMapReadOut});
  if (parsed.positionals.size() != 1) throw ConfigError("tandem attention needs one run's id");
  const MapPlace place{said_place(parsed, kMapLayer), said_place(parsed, kMapHead),
                       said_place(parsed, kMapSequence), said_place(parsed, kMapTokens)};
  const std::string database = database_of(parsed.settings);
  const RunRecord run = StoreReader(database).find_run(parsed.positionals.front());
  std::string out = extra_value(parsed, kMapOut);
  if (out.empty()) {
    out = fmt::format("{}-layer{}-head{}.svg", short_id(run.id), place.layer, place.head);
  }
  const std::string csv = std::filesystem::path(out).replace_extension(".csv").string();
  const bool draws = out != csv;
  if (draws) gnuplot_script({}, out);  // refuses a wrong ending before any work
  const std::string gnuplot = draws ? gnuplot_program(csv) : "";
  Settings values = Config::from_canonical(run.canonical).values();
  for (const auto& [name, value] : parsed.settings) values[name] = value;
  values["device"] = "cpu";  // and so no products that are rounded as a GPU does
  values["tf32"] = "false";
  values["storage"] = "masked";
  const Config config = Config::resolve(values, false);
  if (!outline_of(config).attention) {
    throw ConfigError(fmt::format("run {} has no attention to show: its model is {}",
                                  short_id(run.id), config.text("model")));
  }
  const NamedTensors net =
      final_net(database, run, {.sparse = extra_value(parsed, kMapReadOut) == "sparse"});
  const Figure figure = attention_map_figure(map_of(run, config, net, place));
  OutputFiles files;
  if (draws) files.add(out, drawn_by(gnuplot, figure, out));
  files.add(csv, figure.csv);
  files.commit();
  fmt::print("{} written: {} of run {}\n", draws ? out + " and " + csv : csv, figure.summary,
             short_id(run.id));
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "attention",
     .summary = "draw what a head of a finished run attends to, and the blocks that it chooses",
     .usage = "attention RUN [--layer N] [--head N] [--sequence N] [--tokens N] "
              "[--read-out full|sparse] [--out FILE] [--db PATH]",
     .text = "Left the weights of full attention, a row for each query; right the blocks of keys "
             "that the query chooses in the sparse\nstream. gnuplot draws (Debian: gnuplot-nox).",
     .options = {kMapOut, kMapLayer, kMapHead, kMapSequence, kMapTokens, kMapReadOut},
     .run = draw_attention});

}  // namespace
}  // namespace tandem
