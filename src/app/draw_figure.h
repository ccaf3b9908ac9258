// Figures are drawn by gnuplot, a program of its own.
#pragma once

#include <string>

#include "analysis/figure.h"

namespace tandem {

// gnuplot's file. Throws ConfigError where it is not on the PATH, which says that `csv` can be
// written without it.
std::string gnuplot_program(const std::string& csv);

// The bytes of the figure, in the format that the ending of `out` names; nothing is left on the
// disk. Throws ConfigError with what gnuplot said where it drew nothing.
std::string drawn_by(const std::string& gnuplot, const Figure& figure, const std::string& out);

}  // namespace tandem
