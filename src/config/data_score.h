// How results on a data set are told: as the accuracy of classes, or, of bytes, as the loss in bits
// per byte. Declared where the data set is registered, for views, tables and figures, which see no
// data.
#pragma once

#include <string>
#include <vector>

namespace tandem {

// For static registration in a data set's file. A second declaration is our own mistake:
// std::logic_error.
bool declare_told_in_bits(const std::string& data);
bool told_in_bits(const std::string& data);
std::vector<std::string> data_told_in_bits();  // sorted

}  // namespace tandem
