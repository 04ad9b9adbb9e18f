/// Matrix products by PyTorch's rules for vectors, matrices and batches of them.
#pragma once

#include "qdistill/kernels/cpu/gemm.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// A factor as a batch of matrices. Its elements are read where they lie if each matrix, or its transpose, has dense
/// rows, else from a packed copy.
template <class T>
struct MatrixBatch {
  Tensor<T> data;  ///< without graph
  Index rows = 1, cols = 1;
  Shape batch;
  Strides batch_strides;
  bool transposed = false;
  Index row_stride = 1;  ///< of the matrix as stored

  MatrixBatch(const Tensor<T>& x, bool vector_is_row) : data(x.detach()) {
    const int r = x.rank();
    rows = r > 1 ? x.shape()[r - 2] : vector_is_row ? 1 : x.shape()[0];
    cols = r > 1 ? x.shape()[r - 1] : vector_is_row ? x.shape()[0] : 1;
    for (int d = 0; d + 2 < r; ++d) batch.push_back(x.shape()[d]);
    if (!lay_out()) data = pack(x), lay_out();
  }

 private:
  bool lay_out() {
    const int r = data.rank();
    const Strides& s = data.strides();
    batch_strides = {};
    for (int d = 0; d + 2 < r; ++d) batch_strides.push_back(s[d]);
    const Index down = r > 1 ? s[r - 2] : rows == 1 ? cols : s[0], right = r > 1 ? s[r - 1] : rows == 1 ? s[0] : 1;
    if ((cols == 1 || right == 1) && (rows == 1 || down >= cols)) {
      transposed = false, row_stride = rows == 1 ? cols : down;
      return true;
    }
    if ((rows == 1 || down == 1) && (cols == 1 || right >= rows)) {
      transposed = true, row_stride = cols == 1 ? rows : right;
      return true;
    }
    return rows == 0 || cols == 0;
  }
};

/// One side of a product inside a batch: where its matrices begin and how they are read.
template <class T>
struct MatrixRef {
  const T* data;
  bool transposed;
  Index row_stride;
  Strides batch_strides;
};

/// For each index of `batch`: c (M x N, row-major, strides c_strides over the batch) (=|+=) op(a) op(b). A stride of 0
/// in `c_strides` sums over that dim, in order.
template <class D, class T>
void batched_product(D dev, const Shape& batch, Index M, Index N, Index K, const MatrixRef<T>& a, const MatrixRef<T>& b,
                     T* c, const Strides& c_strides, Write write) {
  // One loop over the last dim of the batch, in gemm_batched where its products are independent; the dims before it
  // are walked here.
  const int rank = batch.rank();
  const Index inner = rank > 0 ? batch[rank - 1] : 1, total = batch.numel();
  const auto step = [&](const Strides& s) { return rank > 0 ? s[rank - 1] : 0; };
  const bool summed = inner > 1 && step(c_strides) == 0;
  Index index[max_rank] = {};
  for (Index done = 0; done < total; done += inner) {
    Index at_a = 0, at_b = 0, at_c = 0;
    bool first = true;
    for (int d = 0; d + 1 < rank; ++d) {
      at_a += index[d] * a.batch_strides[d], at_b += index[d] * b.batch_strides[d], at_c += index[d] * c_strides[d];
      first = first && (index[d] == 0 || c_strides[d] != 0);
    }
    const Write mode = first ? write : Write::add;
    if (summed) {
      for (Index i = 0; i < inner; ++i)
        kernels::gemm(dev, a.transposed, b.transposed, M, N, K, a.data + at_a + i * step(a.batch_strides), a.row_stride,
                      b.data + at_b + i * step(b.batch_strides), b.row_stride, c + at_c, N,
                      kernels::Epilogue<T>{nullptr, nullptr, false, i == 0 ? mode : Write::add});
    } else {
      kernels::gemm_batched(dev, a.transposed, b.transposed, inner, M, N, K, a.data + at_a, a.row_stride,
                            step(a.batch_strides), b.data + at_b, b.row_stride, step(b.batch_strides), c + at_c, N,
                            step(c_strides), kernels::Epilogue<T>{nullptr, nullptr, false, mode});
    }
    for (int d = rank - 2; d >= 0; --d) {
      if (++index[d] < batch[d]) break;
      index[d] = 0;
    }
  }
}

/// Batch dims that both factors and the product can be walked by, merged where all of them run on.
struct BatchPlan {
  Shape batch;
  Strides a, b, da, db, y;

  /// The strides of a and b count their elements as they lie, those of da, db and y the elements of row-major tensors
  /// whose matrices hold a_size, b_size and y_size elements.
  BatchPlan(const Shape& shape, const Shape& a_batch, const Strides& a_strides, Index a_size, const Shape& b_batch,
            const Strides& b_strides, Index b_size, Index y_size) {
    const auto dense = [&](const Shape& own, Index size) {
      Strides s = row_major(own);
      for (int d = 0; d < s.rank(); ++d) s[d] *= size;
      return broadcast_strides(own, s, shape);
    };
    const Strides from[] = {broadcast_strides(a_batch, a_strides, shape), broadcast_strides(b_batch, b_strides, shape),
                            dense(a_batch, a_size), dense(b_batch, b_size), dense(shape, y_size)};
    Strides* const to[] = {&a, &b, &da, &db, &y};
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      const int last = batch.rank() - 1;
      bool runs_on = last >= 0;
      for (int i = 0; runs_on && i < 5; ++i) runs_on = (*to[i])[last] == from[i][d] * shape[d];
      if (runs_on) batch[last] *= shape[d];
      else batch.push_back(shape[d]);
      for (int i = 0; i < 5; ++i) {
        if (runs_on) (*to[i])[last] = from[i][d];
        else to[i]->push_back(from[i][d]);
      }
    }
  }
};

}  // namespace detail

/// Product of two vectors (a scalar), matrix and vector, matrices, or batches of matrices (..., M, K) and (..., K, N),
/// whose batch dims broadcast. A vector on the left is a row, on the right a column, and its dim disappears.
///   dL/da = dL/dy b^T,  dL/db = a^T dL/dy,  summed over the batch dims in which the factor was repeated.
/// Throws ShapeError.
template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  detail::check_defined("matmul", a), detail::check_defined("matmul", b);
  check<ShapeError>(a.rank() > 0 && b.rank() > 0, "matmul", "got ", a.shape(), " and ", b.shape(),
                    ", expected at least one dim in each");
  if (b.rank() <= 2 && a.rank() > 2) {  // the rows of all matrices form one
    const Index K = a.shape()[a.rank() - 1];
    Shape shape = a.shape();
    Index rows = 1;
    for (int d = 0; d + 1 < a.rank(); ++d) rows *= shape[d];
    check<ShapeError>(K == b.shape()[0], "matmul", "got ", a.shape(), " and ", b.shape(),
                      ", expected (..., M, K) and (K, N) or (K)");
    if (b.rank() == 1) shape.erase(a.rank() - 1);
    else shape[a.rank() - 1] = b.shape()[1];
    return reshape(matmul(reshape(a, {rows, K}), b), shape);
  }
  const detail::MatrixBatch<T> left(a, true), right(b, false);
  const Index M = left.rows, K = left.cols, N = right.cols;
  check<ShapeError>(K == right.rows, "matmul", "got ", a.shape(), " and ", b.shape(),
                    ", expected (..., M, K) and (..., K, N)");
  Shape shape = broadcast("matmul", left.batch, right.batch);
  const detail::BatchPlan plan(shape, left.batch, left.batch_strides, M * K, right.batch, right.batch_strides, K * N,
                               M * N);
  if (a.rank() > 1) shape.push_back(M);
  if (b.rank() > 1) shape.push_back(N);
  Tensor<T> y = Tensor<T>::empty(shape, a.device());
  on_device(a.device(), [&](auto dev) {
    detail::batched_product<decltype(dev), T>(
        dev, plan.batch, M, N, K, {left.data.data(), left.transposed, left.row_stride, plan.a},
        {right.data.data(), right.transposed, right.row_stride, plan.b}, y.data(), plan.y, Write::set);
  });
  const bool left_transposed = left.transposed, right_transposed = right.transposed;
  const Index left_stride = left.row_stride, right_stride = right.row_stride;
  return record("matmul", y, inputs(a, b),
                [a = b.requires_grad() ? save(left.data) : Saved<T>{},
                 b = a.requires_grad() ? save(right.data) : Saved<T>{}, left_transposed, right_transposed, left_stride,
                 right_stride, plan, M, N, K](const Tensor<T>& dy, Gradients<T>& dx) {
                  const detail::MatrixRef<T> g{dy.data(), false, N, plan.y};
                  for (int i = 0; i < 2; ++i)
                    if (dx[i].wanted() && plan.batch.numel() == 0 && dx[i].mode() == Write::set)
                      fill_elements(dx[i].data(), dx[i].shape().numel(), T(0));
                  on_device(dy.device(), [&](auto dev) {
                    if (dx[0].wanted())
                      detail::batched_product<decltype(dev), T>(dev, plan.batch, M, K, N, g,
                                                                {b.data(), !right_transposed, right_stride, plan.b},
                                                                dx[0].data(), plan.da, dx[0].mode());
                    if (dx[1].wanted())
                      detail::batched_product<decltype(dev), T>(dev, plan.batch, K, N, M,
                                                                {a.data(), !left_transposed, left_stride, plan.a}, g,
                                                                dx[1].data(), plan.db, dx[1].mode());
                  });
                });
}

}  // namespace qdistill::inline QDISTILL_ABI
