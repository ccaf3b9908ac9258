// Compression as the program xz does it, so that what is written here opens with it anywhere.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// 64-bit check sums; the same bytes for the same input. kQuick tells soon how large it is about.
enum class XzEffort { kStrongest, kQuick };
std::string xz_compress(std::string_view bytes, XzEffort effort = XzEffort::kStrongest);
// DataError, which names `path`, where the bytes are no whole .xz file.
std::string xz_decompress(std::string_view bytes, const std::string& path);

}  // namespace tandem
