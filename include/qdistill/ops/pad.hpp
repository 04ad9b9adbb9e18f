/// Padding with a constant.
#pragma once

#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// x with widths[0] elements of `value` before and widths[1] after its last dim, widths[2], widths[3] around the one
/// before it, and so on, as in PyTorch; a negative width crops.  dL/dx = the part of dL/dy that comes from x.
/// Throws ShapeError for an odd number of widths, more than two per dim, or a dim cropped below 0.
template <class T>
Tensor<T> pad(const Tensor<T>& x, std::span<const Index> widths, T value = T(0)) {
  detail::check_defined("pad", x);
  check<ShapeError>(widths.size() % 2 == 0 && static_cast<int>(widths.size() / 2) <= x.rank(), "pad", "got widths ",
                    widths, " for shape ", x.shape(), ", expected two for each padded dim, the last dim first");
  Shape shape = x.shape(), kept = x.shape();
  const Strides dense = row_major(x.shape());
  Shape first_in = x.shape(), first_out = x.shape();  // where the kept part begins in x and in y
  for (int d = 0; d < x.rank(); ++d) {
    const std::size_t pair = static_cast<std::size_t>(x.rank() - 1 - d);
    const Index before = 2 * pair < widths.size() ? widths[2 * pair] : 0;
    const Index after = 2 * pair < widths.size() ? widths[2 * pair + 1] : 0;
    constexpr Index most = Index{1} << 60;
    check<ShapeError>(
        before <= most && before >= -most && after <= most && after >= -most && x.shape()[d] + before + after >= 0,
        "pad", "got widths ", before, " and ", after, " for dim ", d, " of shape ", x.shape(),
        ", expected a size of at least 0 to remain");
    shape[d] += before + after;
    first_in[d] = before < 0 ? -before : 0, first_out[d] = before > 0 ? before : 0;
    const Index end_in = x.shape()[d] + (after < 0 ? after : 0);
    kept[d] = end_in > first_in[d] ? end_in - first_in[d] : 0;
  }
  Tensor<T> y = Tensor<T>::full(shape, value, x.device());
  Index from = 0, from_dense = 0, to = 0;
  for (int d = 0; d < x.rank() && kept.numel() > 0; ++d)
    from += first_in[d] * x.strides()[d], from_dense += first_in[d] * dense[d], to += first_out[d] * y.strides()[d];
  on_device(x.device(), [&](auto dev) {
    kernels::copy_strided(dev, kept, x.data() + from, x.strides(), y.data() + to, y.strides(), Write::set);
  });
  return detail::record_view("pad", y, x,
                             [kept, strides = y.strides(), dense, from_dense, to](const Tensor<T>& dy, auto& dx) {
                               detail::add_region(dy.window(kept, strides, to), dx[0], dense, from_dense);
                             });
}
template <class T>
Tensor<T> pad(const Tensor<T>& x, std::initializer_list<Index> widths, T value = T(0)) {
  return pad(x, std::span<const Index>(widths.begin(), widths.size()), value);
}

}  // namespace qdistill::inline QDISTILL_ABI
