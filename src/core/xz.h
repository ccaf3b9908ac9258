// Compression as the program xz does it, so that what is written here opens with it anywhere.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// The strongest setting; 64-bit check sums. The same bytes for the same input.
std::string xz_compress(std::string_view bytes);
// DataError, which names `path`, where the bytes are no whole .xz file.
std::string xz_decompress(std::string_view bytes, const std::string& path);

}  // namespace tandem
