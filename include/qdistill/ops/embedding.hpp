/// Embedding: rows of a table by index.
#pragma once

#include <optional>

#include "qdistill/ops/index.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// y[.., :] = weight[indices[..], :].  weight (V, D), indices of any shape, y (indices' shape, D). The row
/// `padding_idx` (negative from the end) is read like any other but receives no gradient.  Throws ShapeError, and
/// ValueError for an index outside [0, V).
template <class T>
Tensor<T> embedding(const Tensor<T>& weight, const Tensor<Index>& indices, std::optional<Index> padding_idx = {}) {
  const char* const op = "embedding";
  detail::check_defined(op, weight), detail::check_defined(op, indices);
  check<ShapeError>(weight.rank() == 2, op, "got weight ", weight.shape(), ", expected (V, D)");
  const Index rows = weight.shape()[0], width = weight.shape()[1];
  Index skipped = -1;
  if (padding_idx) {
    check(*padding_idx >= -rows && *padding_idx < rows, op, "got padding_idx ", *padding_idx, ", expected it in [",
          -rows, ", ", rows, ")");
    skipped = *padding_idx < 0 ? *padding_idx + rows : *padding_idx;
  }
  const Tensor<Index> id = detail::dense(indices);
  detail::check_indices(op, id, rows);
  const Index count = id.numel();
  Shape shape = indices.shape();
  shape.push_back(width);
  const Tensor<T> table = weight.contiguous() ? weight.detach() : detail::pack(weight);
  Tensor<T> y = Tensor<T>::empty(shape, weight.device());
  on_device(weight.device(), [&](auto dev) {
    kernels::take_rows(dev, 1, rows, width, id.data(), count, table.data(), y.data(), T(1), Write::set);
  });
  return record(op, y, inputs(weight),
                [index = save(id), rows, width, count, skipped](const Tensor<T>& dy, Gradients<T>& dx) {
                  if (dx[0].mode() == Write::set) fill_elements(dx[0].data(), rows * width, T(0));
                  on_device(dy.device(), [&](auto dev) {
                    kernels::add_rows(dev, 1, rows, width, index.data(), count, dy.data(), dx[0].data(), T(1), skipped);
                  });
                });
}

}  // namespace qdistill::inline QDISTILL_ABI
