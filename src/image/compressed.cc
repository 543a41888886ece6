#include "image/compressed.h"

#include <fmt/core.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <memory>

namespace qd::image {
namespace {

struct FreeDeflate {
  void operator()(libdeflate_decompressor* d) const { libdeflate_free_decompressor(d); }
};
struct FreeZstd {
  void operator()(ZSTD_DCtx* d) const { ZSTD_freeDCtx(d); }
};

// zlib accepts a stream that goes on although the cluster is full. libdeflate is much faster, but wants to see the
// stream's end. So zlib decides where libdeflate has doubts.
bool inflate_slowly(std::span<const std::byte> from, std::span<std::byte> into) {
  z_stream stream{};
  if (inflateInit2(&stream, -15) != Z_OK) return false;
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(into.data());
  stream.avail_out = static_cast<uInt>(into.size());
  const int status = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return (status == Z_STREAM_END || status == Z_BUF_ERROR) && stream.avail_out == 0;
}

Result<void> inflate_cluster(std::span<const std::byte> from, std::span<std::byte> into) {
  thread_local const std::unique_ptr<libdeflate_decompressor, FreeDeflate> decompressor(
      libdeflate_alloc_decompressor());
  std::size_t consumed = 0, produced = 0;
  const auto status = libdeflate_deflate_decompress_ex(decompressor.get(), from.data(), from.size(), into.data(),
                                                       into.size(), &consumed, &produced);
  if (status == LIBDEFLATE_SUCCESS && produced == into.size()) return {};
  if (inflate_slowly(from, into)) return {};
  if (status == LIBDEFLATE_SUCCESS) {
    return fail(EIO, fmt::format("the stream ends after {} of {} bytes", produced, into.size()));
  }
  return fail(EIO, "no valid deflate stream");
}

Result<void> unzstd_cluster(std::span<const std::byte> from, std::span<std::byte> into) {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeZstd> context(ZSTD_createDCtx());
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  ZSTD_inBuffer in{from.data(), from.size(), 0};
  ZSTD_outBuffer out{into.data(), into.size(), 0};
  while (out.pos < out.size) {
    const std::size_t before_in = in.pos, before_out = out.pos;
    const std::size_t status = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(status)) return fail(EIO, fmt::format("no valid zstd stream ({})", ZSTD_getErrorName(status)));
    if (in.pos == before_in && out.pos == before_out) {
      return fail(EIO, fmt::format("the stream ends after {} of {} bytes", out.pos, out.size));
    }
  }
  return {};
}

}  // namespace

Result<void> decompress(const Image& image, std::uint64_t l2_entry, std::span<std::byte> into) {
  const format::CompressedRange range = image.geometry->compressed(l2_entry);
  thread_local std::vector<std::byte> from;
  from.resize(range.bytes);
  auto read = image.file().read(range.offset.value, from);
  if (!read) return tl::make_unexpected(read.error());
  return image.header.compression_type == 1 ? unzstd_cluster(from, into) : inflate_cluster(from, into);
}

}  // namespace qd::image
