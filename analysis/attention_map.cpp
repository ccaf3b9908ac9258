#include "analysis/attention_map.h"

#include <fmt/format.h>

#include "core/text.h"

namespace tandem {
namespace {

constexpr int kMapSide = 420, kMapLeft = 85, kMapTop = 60, kMapBottom = 65, kMapGap = 155,
              kMapRight = 40;  // pixels
constexpr double kLeastWeight = 1e-3;

std::size_t map_index(std::int64_t row, std::int64_t columns, std::int64_t column) {
  return static_cast<std::size_t>(row * columns + column);
}

std::int64_t blocks_of(const AttentionMap& map) {
  return (map.tokens + map.block_size - 1) / map.block_size;
}

std::string csv_of(const AttentionMap& map) {
  std::string csv = "run,query,key,query_token,key_token,weight,chosen\n";
  for (std::int64_t t = 0; t < map.tokens; ++t) {
    for (std::int64_t j = 0; j <= t; ++j) {
      csv +=
          fmt::format("{},{},{},{},{},{:.6g},{}\n", map.run, t, j, map.symbols[map_index(0, 0, t)],
                      map.symbols[map_index(0, 0, j)], map.weights[map_index(t, map.tokens, j)],
                      map.chosen[map_index(t, blocks_of(map), j / map.block_size)]);
    }
  }
  return csv;
}

// Margins of panel 0 or 1, with its title.
std::string map_panel(int i, const std::string& title, int width, int height) {
  const int left = kMapLeft + i * (kMapSide + kMapGap);
  const auto x = [width](int pixels) { return static_cast<double>(pixels) / width; };
  const auto y = [height](int pixels) { return 1 - static_cast<double>(pixels) / height; };
  return fmt::format(
      "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\n"
      "set bmargin at screen {:.4f}\nset title {} noenhanced\n",
      x(left), x(left + kMapSide), y(kMapTop), y(kMapTop + kMapSide), quoted(title));
}

// A grid of numbers, a row for each query.
template <class Number>
std::string matrix_block(const std::string& name, std::int64_t rows, std::int64_t columns,
                         const Number& number) {
  std::string text = "$" + name + " << EOD\n";
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t j = 0; j < columns; ++j)
      text += number(t, j) + (j + 1 < columns ? " " : "\n");
  }
  return text + "EOD\n";
}

}  // namespace

Figure attention_map_figure(const AttentionMap& map) {
  const std::int64_t tokens = map.tokens, blocks = blocks_of(map);
  Figure figure;
  figure.csv = csv_of(map);
  figure.width = kMapLeft + 2 * kMapSide + kMapGap + kMapRight;
  figure.height = kMapTop + kMapSide + kMapBottom;
  figure.summary = fmt::format("{} queries and keys", tokens);
  const std::string weights =
      matrix_block("weights", tokens, tokens, [&](std::int64_t t, std::int64_t j) {
        if (j > t) return std::string("NaN");
        return fmt::format("{:.4g}", std::max(kLeastWeight, map.weights[map_index(t, tokens, j)]));
      });
  const std::string chosen =
      matrix_block("chosen", tokens, blocks, [&](std::int64_t t, std::int64_t b) {
        if (b * map.block_size > t) return std::string("NaN");
        return std::string(map.chosen[map_index(t, blocks, b)] != 0 ? "1" : "0");
      });
  figure.script =
      weights + chosen +
      fmt::format(
          "set multiplot\nset tics nomirror out\nunset key\nset xlabel 'key'\nset ylabel 'query'\n"
          "set xrange [-0.5:{0}.5]\nset yrange [{0}.5:-0.5]\n",
          tokens - 1) +
      map_panel(0, map.title, figure.width, figure.height) +
      fmt::format(
          "set palette defined (0 '#ffffff', 1 '#bcd7ea', 2 '#0072B2', 3 '#00243a')\n"
          "set logscale cb\nset cbrange [{}:1]\nset format cb '%g'\n"
          "plot $weights matrix with image\n",
          real_to_text(kLeastWeight)) +
      map_panel(1, fmt::format("blocks of {} that are chosen", map.block_size), figure.width,
                figure.height) +
      fmt::format(
          "unset logscale cb\nunset colorbox\nset cbrange [0:1]\n"
          "set palette defined (0 '#eeeeee', 1 '#D55E00')\nunset ylabel\n"
          "plot $chosen matrix using (($1 + 0.5) * {} - 0.5):2:3 with image\nunset multiplot\n",
          map.block_size);
  return figure;
}

}  // namespace tandem
