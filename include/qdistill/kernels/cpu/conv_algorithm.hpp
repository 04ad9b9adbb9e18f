/// Which algorithm a convolution runs with.
///
///   direct     implicit product (conv.hpp, conv_data.hpp, conv_weights.hpp): every shape
///   Winograd   F(4x4, 3x3) and F(2x2, 5x5) (conv_winograd.hpp, conv_winograd_weights.hpp): float, 3 x 3 or 5 x 5, no
///              stride, dilation or groups, and enough channels and tiles to pay for the transforms
///
/// The choice depends on the shape alone, the number of images included, never on the number of threads, nor on whether
/// the weights come prepared.
#pragma once

#include <atomic>
#include <type_traits>

#include "qdistill/kernels/cpu/conv_shape.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// fast: Winograd where it pays. exact: the direct sum always, for tests and comparisons.
enum class ConvMode { fast, exact };

namespace detail {

inline std::atomic<ConvMode>& conv_mode_setting() noexcept {
  static std::atomic<ConvMode> mode{ConvMode::fast};
  return mode;
}

}  // namespace detail

/// The mode of all convolutions of the program that start from now on; fast unless set.
inline ConvMode conv_mode() noexcept { return detail::conv_mode_setting().load(std::memory_order_relaxed); }
inline void set_conv_mode(ConvMode mode) noexcept {
  detail::conv_mode_setting().store(mode, std::memory_order_relaxed);
}

namespace kernels {

enum class ConvAlgorithm { direct, winograd };
enum class ConvPass { forward, data, weights };

/// Element types that Winograd is compiled for.
#if defined(__GNUC__)
template <class T>
inline constexpr bool winograd_scalar = std::is_same_v<T, float>;
#else
template <class T>
inline constexpr bool winograd_scalar = false;
#endif

/// Tiles of outputs that Winograd cuts all images into; for kernels of 3 x 3 and 5 x 5.
inline Index winograd_tiles(const Conv2dShape& s) noexcept {
  const Index m = 7 - s.KH;
  return s.N * ((s.out_h() + m - 1) / m) * ((s.out_w() + m - 1) / m);
}

/// The algorithm for `s` with elements of type T. Forward and to the data, Winograd needs as many tiles as fill the
/// vectors of the product; to the weights, whose sums run over the tiles, as many as pay for 36 such sums.
template <class T>
ConvAlgorithm conv_algorithm(const Conv2dShape& s, ConvPass pass = ConvPass::forward) noexcept {
  if constexpr (winograd_scalar<T>) {
    if (conv_mode() == ConvMode::exact) return ConvAlgorithm::direct;
    const bool plain = s.stride_h == 1 && s.stride_w == 1 && s.dil_h == 1 && s.dil_w == 1 && s.groups == 1;
    if (!plain || s.KH != s.KW || (s.KH != 3 && s.KH != 5) || s.pad_h >= s.KH || s.pad_w >= s.KW)
      return ConvAlgorithm::direct;
    const Index least = pass == ConvPass::weights ? 128 : s.C * s.O > 65536 ? 64 : 16;
    if (s.C >= 32 && s.O >= 24 && winograd_tiles(s) >= least) return ConvAlgorithm::winograd;
  }
  (void)s, (void)pass;
  return ConvAlgorithm::direct;
}

}  // namespace kernels

}  // namespace qdistill::inline QDISTILL_ABI
