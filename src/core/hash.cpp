// SHA-256 through OpenSSL's EVP interface.
#include "core/hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/error.h"

namespace tandem {
namespace {

void start(evp_md_ctx_st* context) {
  if (EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL offers no SHA-256");
  }
}

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) { start(context_.get()); }

Sha256& Sha256::update(const void* data, std::size_t size_bytes) {
  if (EVP_DigestUpdate(context_.get(), data, size_bytes) != 1) {
    throw std::runtime_error("OpenSSL failed to update a SHA-256");
  }
  return *this;
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_.get(), digest.data(), &size) != 1) {
    throw std::runtime_error("OpenSSL failed to finish a SHA-256");
  }
  start(context_.get());
  return to_hex(digest.data(), size);
}

std::string sha256(std::string_view bytes) { return Sha256().update(bytes).finish(); }

std::string sha256_file(const std::string& path) {
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (!file) {
    throw DataError(fmt::format("cannot open {} to hash it: {}; check the path and its permissions",
                                path, std::strerror(errno)));
  }
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  std::size_t got = 0;
  while ((got = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0) {
    hash.update(buffer.data(), got);
  }
  if (std::ferror(file.get()) != 0) {
    throw DataError(fmt::format("cannot read {} to hash it: {}; a regular file was expected", path,
                                std::strerror(errno)));
  }
  return hash.finish();
}

std::string to_hex(const void* data, std::size_t size_bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::string hex;
  hex.reserve(2 * size_bytes);
  for (std::size_t i = 0; i < size_bytes; ++i) {
    hex += kDigits[bytes[i] >> 4];
    hex += kDigits[bytes[i] & 15];
  }
  return hex;
}

}  // namespace tandem
