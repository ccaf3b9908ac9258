#include "core/xz.h"

#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <stdexcept>

#include "core/error.h"

namespace tandem {
namespace {

constexpr std::uint32_t kDepth = 32;
constexpr std::size_t kLeastDictionary = 4096, kMostDictionary = std::size_t{1} << 26;  // bytes

const auto* bytes_of(std::string_view text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

}  // namespace

std::string xz_compress(std::string_view bytes, XzEffort effort) {
  lzma_options_lzma options;
  const bool quick = effort == XzEffort::kQuick;
  if (lzma_lzma_preset(&options, quick ? 1 : 9 | LZMA_PRESET_EXTREME)) {
    throw std::logic_error("liblzma does not know one of its settings");
  }
  // The strongest setting follows 512 earlier places of each match; results are rows that are
  // nearly alike, where that takes four times as long and makes nothing smaller.
  if (!quick) options.depth = kDepth;
  // A dictionary beyond the text finds nothing more and takes ten times its size in memory.
  options.dict_size = static_cast<std::uint32_t>(
      std::clamp(std::bit_ceil(bytes.size()), kLeastDictionary, kMostDictionary));
  std::array<lzma_filter, 2> filters = {lzma_filter{LZMA_FILTER_LZMA2, &options},
                                        lzma_filter{LZMA_VLI_UNKNOWN, nullptr}};
  std::string packed(lzma_stream_buffer_bound(bytes.size()), '\0');
  std::size_t size = 0;
  const lzma_ret code = lzma_stream_buffer_encode(
      filters.data(), LZMA_CHECK_CRC64, nullptr, bytes_of(bytes), bytes.size(),
      reinterpret_cast<std::uint8_t*>(packed.data()), &size, packed.size());
  if (code == LZMA_MEM_ERROR) throw std::bad_alloc();
  if (code != LZMA_OK) {
    throw std::logic_error(fmt::format("liblzma can't compress: code {}", static_cast<int>(code)));
  }
  packed.resize(size);
  return packed;
}

std::string xz_decompress(std::string_view bytes, const std::string& path) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK)
    throw std::bad_alloc();
  struct End {
    lzma_stream* stream;
    ~End() { lzma_end(stream); }
  } end{&stream};
  stream.next_in = bytes_of(bytes);
  stream.avail_in = bytes.size();
  std::string text;
  std::array<char, 1 << 16> piece;
  for (lzma_ret code = LZMA_OK; code != LZMA_STREAM_END;) {
    stream.next_out = reinterpret_cast<std::uint8_t*>(piece.data());
    stream.avail_out = piece.size();
    code = lzma_code(&stream, LZMA_FINISH);
    if (code != LZMA_OK && code != LZMA_STREAM_END) {
      throw DataError(
          fmt::format("{}: expected a whole file of xz, found a damaged or cut one "
                      "(liblzma code {}). Get it again",
                      path, static_cast<int>(code)));
    }
    text.append(piece.data(), piece.size() - stream.avail_out);
  }
  return text;
}

}  // namespace tandem
