// Grid files: INI text that expands to runs.
//
//   name = tandem               ; optional, defaults to the file's name
//   weights = dense, rigl, ssa  ; a list is an axis
//   seed = 1..5                 ; a range of integers is an axis (1..9:2 steps by 2)
//   density = 0.1
//   [when weights=rigl, density=0.1]
//   lr = 0.05                   ; settings (also axes) for some runs only
//   [exclude]
//   weights = dense             ; a conjunction: runs that match all lines of it are left out
//   density = 0.05              ; a list here means "any of"; several [exclude] may stand
//   [tune]                      ; axes chosen per method on validation (see config/grid_tune.h)
//   trials = 16                 ; so many points for each method
//   lr = 0.01 .. 1              ; drawn log-uniformly; lists are axes here too
//   [tune weights=ssa]          ; axes that only some runs have
//   weights_alpha = 0.1 .. 100
//   [table accuracy]            ; how `tandem table` prints this grid: rows, columns, metric, ...
//   rows = weights
//
// '#' and ';' start comments. In a condition '|' gives alternatives: [when weights=rigl|set].
// Sections apply in file order and see what earlier ones set. A setting that a run's parts don't
// read is dropped from that run; one that no run reads is an error, and so is a section that no run
// meets, unless an override took its runs away.
// A comma list inside an option of list type is one value: write widths = 400,400 and an axis of
// lists as widths = {400,400}, {100,100}. Braces make one value of a text with commas too.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/grid_tune.h"

namespace tandem {

struct TableSpec {
  std::string name;
  Settings settings;
};

struct Grid {
  std::string name;
  std::string file;
  std::string text;  // as read
  // In file order, without those whose id came before; given() has what was said for each.
  std::vector<Config> runs;
  Tuning tune;
  std::vector<TableSpec> tables;
  // Fills in what the content of a run's files says of it, of a trial that is made of the grid's
  // runs; empty: there is nothing to fill in.
  std::function<Config(const Config&)> completed = {};
};

// Throws ConfigError naming file, line and the nearest valid name. `overrides` are command-line
// settings that replace the file's (an axis too).
Grid read_grid(const std::string& path, const Settings& overrides = {},
               const ConfigTables& tables = program_tables());
Grid parse_grid(const std::string& text, const std::string& file, const Settings& overrides = {},
                const ConfigTables& tables = program_tables());

}  // namespace tandem
